"""How much memory a run may have, whether its estimate fits in, and what to say when it ran out."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from engine import executors
from engine.studies.base import Study

BATCHES = ("batch_size", "pass_rows", "clip_batch_size")  # fields that a step's memory grows with
ROOM = 0.9  # share of a device's memory that a run may plan with
GPU, MEMORY = "the GPU", "memory"
ELSE = "choose a smaller model or dictionary, or fewer seeds."


def available() -> tuple[float, str] | None:
    """Bytes a run may have, and of what: the smallest GPU it may be given, else this machine; None on a cluster, which isn't asked.

    A torch without CUDA leaves a GPU alone.
    """
    if executors.gpus_of_cluster is not None:
        return None
    sizes = [gpu.size for gpu in executors.own_gpus() if gpu.size]
    if sizes and "+cpu" not in version("torch"):
        return min(sizes), GPU
    limit = Path("/sys/fs/cgroup/memory.max")
    given = limit.read_text().strip() if limit.exists() else "max"
    total = float(psutil.virtual_memory().total)
    return (min(total, float(given)) if given.isdigit() else total), "this machine"


def outlook(study: Study, config: Any, n_seeds: int) -> dict[str, Any]:
    """`available_bytes`, `memory_of` (what has them), and `memory_problem`: one sentence where the estimate does not fit."""
    found = available()
    if found is None:
        return {"available_bytes": None, "memory_of": None, "memory_problem": None}
    size, what = together(config, *found) if found[1] == GPU else found
    needed = study.estimate(config, n_seeds).get("memory_bytes", 0.0)
    problem = None
    if needed > ROOM * size:
        fits = batch_that_fits(study, config, n_seeds, size, 1.0)
        cure = f"{fits[0]} {fits[1]} fits, by the same estimate." if fits else ELSE
        problem = f"{fits[0] if fits else _field(config)}: about {_gb(needed)} are needed and {what} has {_gb(size)}; {cure}"
    return {"available_bytes": size, "memory_of": what, "memory_problem": problem}


def together(config: Any, size: float, what: str) -> tuple[float, str]:
    """Bytes that the GPUs of a run have, each `size`, and what to call them: its estimate is of all parts."""
    n = getattr(config, "n_gpus", 1)
    return (n * size, f"a group of {n} GPUs") if n > 1 else (size, what)


def batch_that_fits(
    study: Study, config: Any, n_seeds: int, size: float, scale: float
) -> tuple[str, int] | None:
    """A batch field and its largest half, quarter, … whose estimate, times `scale`, leaves room in `size` bytes."""
    for name in _fields(config):
        batch = getattr(config, name) // 2
        while batch >= _least(config, name):
            smaller = config.model_copy(update={name: batch})
            if scale * study.estimate(smaller, n_seeds).get("memory_bytes", 0.0) <= ROOM * size:
                return name, batch
            batch //= 2
    return None


def ran_out(study: Study, config: Any, seeds: Sequence[int], size: float, what: str) -> str:
    """One sentence for a run that was refused memory where it could have `size` bytes of `what`.

    It needed more than these, so the estimate is scaled until it says so of the run as it was.
    """
    estimate = study.estimate(config, len(seeds)).get("memory_bytes", 0.0)
    fits = batch_that_fits(study, config, len(seeds), size, max(1.0, size / estimate)) if estimate else None
    name = fits[0] if fits else _field(config)
    at = f" at {name} {getattr(config, name):,}" if name != MEMORY else ""
    if fits:
        cure = f"by the run's estimate, scaled to this, {name} {fits[1]:,} fits: launch it again with that."
    else:
        cure = f"launch it again with a smaller {name}, or {ELSE}" if at else ELSE
    return f"{name}: memory ran out{at}: {what} gave it {_gb(size)}; {cure}"


def _fields(config: Any) -> list[str]:
    return [name for name in BATCHES if name in type(config).model_fields]


def _field(config: Any) -> str:
    """What to name of a config for want of memory: its first batch field."""
    return next(iter(_fields(config)), MEMORY)


def _least(config: Any, name: str) -> int:
    """The smallest value a field admits."""
    return next(
        (int(bound.ge) for bound in type(config).model_fields[name].metadata if hasattr(bound, "ge")), 1
    )


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
