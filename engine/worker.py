"""The child process that executes one run: `python -m engine.worker RUN_DIRECTORY`."""

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import pyarrow as pa

from data.files import read_json
from engine.errors import UserError
from engine.events import read_events
from engine.run import Run, Stopped, write_manifest
from engine.studies import STUDIES

OUT_OF_SPACE = "The disk is full; free some space or lower n_tokens, then resume the run."


def main() -> int:
    directory = Path(sys.argv[1])
    record = read_json(directory / "config.json")
    study = STUDIES[record["study"]]
    run = Run(directory, study.Config(**record["config"]))

    def stop(signum: int, frame: FrameType | None) -> None:
        run.should_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run.event("state", state="running", pid=os.getpid())
    run.progress(0, 1, "loading libraries")
    try:
        run.device = _prepare_torch()
        study.train(run)
        run.write_table("metrics", metrics_table(directory))
        write_manifest(directory)
    except Stopped:
        run.event("state", state="stopped")
        return 0
    except UserError as error:
        run.event("state", state="failed", error=str(error))
        return 1
    except OSError as error:
        traceback.print_exc()
        run.event("state", state="failed", error=OUT_OF_SPACE if error.errno == 28 else f"{error}.")
        return 1
    except Exception as error:
        traceback.print_exc()
        run.event("state", state="failed", error=f"{type(error).__name__}: {error}"[:500])
        return 1
    run.event("state", state="done")
    return 0


def _prepare_torch() -> str:
    import torch

    torch.set_num_threads(max(1, len(os.sched_getaffinity(0))))
    torch.use_deterministic_algorithms(True, warn_only=True)
    return "cuda" if torch.cuda.is_available() else "cpu"


def metrics_table(directory: Path) -> pa.Table:
    """The logged scalars, the last value of each (step, seed, name); timings are left out, so bytes repeat."""
    values: dict[tuple[int, int | None, str], float] = {}
    for row in read_events(directory / "events.jsonl", 0)[0]:
        if row["kind"] == "log":
            for name, value in row.items():
                if name not in ("t", "kind", "step", "seed") and not name.endswith("_per_second"):
                    values[row["step"], row["seed"], name] = value
    keys = sorted(values, key=lambda key: (key[0], -1 if key[1] is None else key[1], key[2]))
    steps, seeds, names = ([key[part] for key in keys] for part in range(3))
    return pa.table({"step": steps, "seed": seeds, "name": names, "value": [values[key] for key in keys]})


if __name__ == "__main__":
    sys.exit(main())
