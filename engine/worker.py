"""The child process that executes the runs of a launch: `python -m engine.worker RUN_DIRECTORY …`."""

import os
import resource
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import psutil

from data.files import read_json
from engine import memory
from engine.environments import versions
from engine.errors import UserError
from engine.executors import OUT_OF_SPACE
from engine.run import Run, Stopped
from engine.tools import JOBS
from engine.worker_lock import hold

REFUSED_MEMORY = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def main() -> int:
    if os.environ.get("CONCORDANCE_LEASH"):
        threading.Thread(target=_end_with_input, daemon=True).start()
    directories = [Path(argument) for argument in sys.argv[1:]]
    locks = {} if os.environ.get("CONCORDANCE_LEASH") else {path: hold(path) for path in directories}
    runs = [_open(path) for path in directories if locks.get(path, True)]
    if not runs:
        return 0
    study = JOBS[runs[0].study]

    def stop(signum: int, frame: FrameType | None) -> None:
        for run in runs:
            run.should_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for run in runs:
        run.event("state", state="running", pid=os.getpid(), host=socket.gethostname())
        run.event("environment", python=sys.executable, packages=versions())
        run.progress(0, 1, "loading libraries")
    for run in runs[1:]:
        run.message(f"Trained together with run {runs[0].id}, whose log holds the worker's output.")
    try:
        device = prepare_torch()
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
        if _is_out_of_memory(error):
            return _end(runs, "failed", _out_of_memory(runs[0]))
        return _end(runs, "failed", f"{type(error).__name__}: {error}"[:500])
    return 0


def _end_with_input() -> None:
    """End this process when whoever holds the other end of its standard input is gone."""
    sys.stdin.buffer.read()
    os._exit(1)


def _open(directory: Path) -> Run:
    record = read_json(directory / "config.json")
    return Run(directory, JOBS[record["study"]].Config(**record["config"]))


def _end(runs: list[Run], state: str, error: str | None) -> int:
    """Report the end of every run that has not ended; the process's exit status."""
    for run in runs:
        run.end(state, error)
    return int(state == "failed")


def _is_out_of_memory(error: Exception) -> bool:
    """torch has an error of its own for its GPU allocator only; others, of the processor's, CUDA or cuBLAS, tell by their text."""
    import torch

    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or any(text in str(error) for text in REFUSED_MEMORY)


def _out_of_memory(run: Run) -> str:
    """What to do, from how much memory this process had and could have had beside others."""
    import torch

    if run.device == "cuda":
        try:
            free, whole = torch.cuda.mem_get_info()
        except RuntimeError:  # a GPU that others fill has no room even to be asked
            free, whole = 0, 0
        size = float(min(whole, free + torch.cuda.memory_reserved()))
        size, what = memory.together(run.config, size, memory.GPU)
    else:
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        size, what = float(psutil.virtual_memory().available + taken), "this machine"
        size = min(size, limit) if limit != resource.RLIM_INFINITY else size
    return memory.ran_out(JOBS[run.study], run.config, run.seeds, size, what)


def prepare_torch() -> str:
    """The device to train on, with torch set to this process's threads and to kernels that repeat their bits."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    threads = os.environ.get("CONCORDANCE_THREADS") or len(os.sched_getaffinity(0))
    torch.set_num_threads(max(1, int(threads)))
    # The same switch as use_deterministic_algorithms, which imports the compiler.
    torch.set_deterministic_debug_mode("warn")
    if not torch.cuda.is_available():
        return "cpu"
    for fused in ("flash", "mem_efficient", "cudnn"):  # their backward passes add up in no fixed order
        getattr(torch.backends.cuda, f"enable_{fused}_sdp")(False)
    return "cuda"


if __name__ == "__main__":
    sys.exit(main())
