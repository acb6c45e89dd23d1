"""On PYTHONPATH this refuses every connection that leaves the machine and notes it in $BLOCKED_LOG."""

import os
import socket

_connect, _lookup = socket.socket.connect, socket.getaddrinfo
_LOCAL = ("127.", "::1", "localhost", "0.0.0.0")


def _refuse(target: object) -> None:
    with open(os.environ["BLOCKED_LOG"], "a") as log:
        log.write(f"{target}\n")
    raise OSError(f"the network is cut: {target}")


def _local(host: object) -> bool:
    return host is None or str(host).startswith(_LOCAL) or str(host) == socket.gethostname()


def connect(self: socket.socket, address: object) -> None:
    if isinstance(address, tuple) and not _local(address[0]):
        _refuse(address)
    _connect(self, address)  # type: ignore[arg-type]


def getaddrinfo(host: object, *args: object, **options: object) -> object:
    if not _local(host):
        _refuse(host)
    return _lookup(host, *args, **options)  # type: ignore[arg-type]


socket.socket.connect = connect  # type: ignore[method-assign, assignment]
socket.getaddrinfo = getaddrinfo  # type: ignore[assignment]
