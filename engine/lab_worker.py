"""The prompt lab's child: holds a language model and SAEs and answers one request after the other.

`python -m engine.lab_worker IDLE_SECONDS`: requests and stops come as JSON lines on stdin, events leave as JSON lines
on stdout, everything else that is printed goes to stderr. It ends when stdin closes or nothing comes for IDLE_SECONDS.
"""

import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from engine.errors import UserError
from engine.run import Stopped

Emit = Callable[..., None]


class Inbox:
    """Lines of stdin: requests wait in order, a stop is known at once, and the end of stdin ends the process."""

    def __init__(self) -> None:
        self._requests: queue.Queue[dict[str, Any]] = queue.Queue()
        self._stopped: set[int] = set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if "stop" in message:
                self._stopped.add(message["stop"])
            else:
                self._requests.put(message)
        os._exit(0)

    def next(self, timeout: float) -> dict[str, Any] | None:
        try:
            return self._requests.get(timeout=timeout)
        except queue.Empty:
            return None

    def proceed(self, number: int) -> None:
        """Raises Stopped when the request is to stop."""
        if number in self._stopped:
            raise Stopped


def main() -> None:
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    inbox = Inbox()
    while (request := inbox.next(float(sys.argv[1]))) is not None:
        number = request["ask"]

        def emit(kind: str, number: int = number, **values: Any) -> None:
            events.write(json.dumps({"ask": number, "kind": kind, **values}) + "\n")

        try:
            started = time.monotonic()
            _answer(request, emit, lambda number=number: inbox.proceed(number))  # type: ignore[misc]
            emit("done", seconds=round(time.monotonic() - started, 3))
        except Stopped:
            emit("stopped")
        except UserError as error:
            emit("error", field=error.field, text=str(error))
        except Exception as error:
            traceback.print_exc()
            reason = str(error).strip().partition("\n")[0][:160] or type(error).__name__
            emit("error", field="", text=f"The lab could not compute this ({reason}); lab.log says more.")


def _answer(request: dict[str, Any], emit: Emit, proceed: Callable[[], None]) -> None:
    from data.files import read_json
    from engine.lab_session import Session, open_passes, open_sae

    manifest = read_json(Path(request["activations"]) / "manifest.json")
    emit("status", text="Loading the model")
    passes = open_passes(manifest["model"], manifest["hook_point"])
    passes.interrupt = proceed
    proceed()
    sae = open_sae(Path(request["sae"]), passes.model.device)
    Session(passes, sae, manifest, request, emit).run()


if __name__ == "__main__":
    main()
