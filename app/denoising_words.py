"""Words for runs of denoising language models, from their settings."""

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

Config = dict[str, Any]
TASKS = {"countdown": "Countdown", "sudoku": "4×4 Sudoku", "chain": "chain"}


def task_words(config: Config) -> str:
    """The task: "chain of 3"."""
    task = str(config["task"])
    if task == "chain":
        return f"chain of {config['chain_length']}"
    return f"{TASKS[task]}, {config['blanks']} blanks" if task == "sudoku" else TASKS[task]


def base_words(config: Config) -> str:
    """Where the base model comes from."""
    start = str(config["start_from"])
    if start.startswith("run:"):
        return f"base of run {start.removeprefix('run:')[:6]}"
    return "bundled base" if start else f"base of {config['base_steps']:,} steps"


def settings(config: Config) -> str:
    """A run's settings in one line."""
    if config["imported"]:
        names = [PurePath(path.strip()).name for path in config["imported"].split(",") if path.strip()]
        first, more = names[0].removesuffix("_generations.json"), len(names) - 1
        return f"imported {first}" + (f" and {more} more file{'s' if more > 1 else ''}" if more else "")
    arms = len([arm for arm in config["arms"].split(",") if arm.strip()])
    words = (
        f"{arms} arm{'' if arms == 1 else 's'} × {config['iterations']} iterations" if arms else "base only"
    )
    return f"{task_words(config)} · {base_words(config)} · {words}"


DENOISING_SETTINGS: dict[str, Callable[[Config], str]] = {"sapo": settings}
