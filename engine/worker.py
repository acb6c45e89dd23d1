"""The child process that executes the runs of a launch: `python -m engine.worker RUN_DIRECTORY …`."""

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from data.files import read_json
from engine.environments import versions
from engine.errors import UserError
from engine.run import Run, Stopped
from engine.tools import JOBS

OUT_OF_SPACE = "The disk is full; free some space or lower n_tokens, then resume the run."


def main() -> int:
    runs = [_open(Path(argument)) for argument in sys.argv[1:]]
    study = JOBS[runs[0].study]

    def stop(signum: int, frame: FrameType | None) -> None:
        for run in runs:
            run.should_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for run in runs:
        run.event("state", state="running", pid=os.getpid())
        run.event("environment", python=sys.executable, packages=versions())
        run.progress(0, 1, "loading libraries")
    for run in runs[1:]:
        run.message(f"Trained together with run {runs[0].id}, whose log holds the worker's output.")
    try:
        device = _prepare_torch()
        for run in runs:
            run.device = device
        study.train_together(runs)
    except Stopped:
        return _end(runs, "stopped", None)
    except UserError as error:
        return _end(runs, "failed", str(error))
    except OSError as error:
        traceback.print_exc()
        return _end(runs, "failed", OUT_OF_SPACE if error.errno == 28 else f"{error}.")
    except Exception as error:
        traceback.print_exc()
        return _end(runs, "failed", f"{type(error).__name__}: {error}"[:500])
    return 0


def _open(directory: Path) -> Run:
    record = read_json(directory / "config.json")
    return Run(directory, JOBS[record["study"]].Config(**record["config"]))


def _end(runs: list[Run], state: str, error: str | None) -> int:
    """Report the end of every run that has not ended; the process's exit status."""
    for run in runs:
        run.end(state, error)
    return int(state == "failed")


def _prepare_torch() -> str:
    import torch

    torch.set_num_threads(max(1, len(os.sched_getaffinity(0))))
    torch.use_deterministic_algorithms(True, warn_only=True)
    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    sys.exit(main())
