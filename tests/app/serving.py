"""`concordance up` for tests, pictures and benchmarks."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(port: int, **environment: str) -> Iterator[str]:
    """The app's address while the block runs; then it is interrupted and must end well."""
    command = [sys.executable, "-m", "engine.cli", "up", "--no-browser", "--port", str(port)]
    up = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
    assert up.stdout is not None
    address = f"http://127.0.0.1:{port}"
    try:
        assert any(address in line for line in iter(up.stdout.readline, ""))
        yield address
    finally:
        up.send_signal(signal.SIGINT)
        ended = up.wait(120)
    assert ended == 0
