"""Words for runs of recurrent reasoners, from their settings: the puzzles, the arm, and what sets two runs apart."""

from collections.abc import Sequence
from typing import Any

Config = dict[str, Any]
Run = dict[str, Any]
DATA = ("puzzle", "side", "clues", "search_only", "n_train", "n_validation", "n_test", "puzzle_seed")
INJECTION = {"once": "single injection", "always": "always injected", "never": "never injected"}
WEIGHTS = {"two": "two functions", "unshared": "unshared layers"}
POSITIONS = {
    "rope": "rotary positions",
    "learned": "learned positions",
    "both": "rotary and learned positions",
}


def puzzles(config: Config) -> str:
    """The kind of puzzle: "6×6 Sudoku, 14 clues"."""
    size = f"{config['side']}×{config['side']}"
    if config["puzzle"] == "maze":
        return f"{size} maze"
    hard = ", search needed" if config["search_only"] else ""
    return f"{size} Sudoku, {config['clues']} clues{hard}"


def arm(config: Config) -> str:
    """The model by what it leaves out or does differently; "SR²" when nothing."""
    if config["model"] == "feed_forward":
        layers = config["layers"]
        return f"feed-forward, {layers} layer{'s' if layers > 1 else ''}"
    if config["model"] != "sr2":
        return f"{config['model'].upper()}-like"
    parts = [] if config["alignment"] else ["no alignment"]
    parts += ["reflection only"] if config["blocks"] == 1 else []
    if config["injection"] == "blocks":
        several = config["injected_blocks"] > 1
        parts += [f"injected in {config['injected_blocks']} blocks"] if several else []
    else:
        parts.append(INJECTION[config["injection"]])
    parts += [WEIGHTS[config["weights"]]] if config["weights"] in WEIGHTS else []
    return ", ".join(parts) or "SR²"


def shape(config: Config) -> str:
    """N and M; nothing for a feed-forward model."""
    return "" if config["model"] == "feed_forward" else f"N {config['blocks']} × M {config['recurrences']}"


def budget(config: Config) -> str:
    if config["budget"] == "steps":
        return f"{config['n_steps']:,} steps"
    return f"{config['teraflops']:g} TFLOP"


def settings(config: Config) -> str:
    """A run's settings in one line."""
    parts = (puzzles(config), arm(config), shape(config), budget(config))
    return " · ".join(part for part in parts if part)


def same_puzzles(a: Run, b: Run) -> bool:
    """Whether two runs were tested on the same puzzles."""
    ignored = {"clues", "search_only"} if a["config"]["puzzle"] == "maze" else set()
    return all(a["config"][name] == b["config"][name] for name in DATA if name not in ignored)


def labels(runs: Sequence[Run]) -> list[str]:
    """Each run by its arm, and by what else sets it apart from the others here; at last by its id."""
    configs = [run["config"] for run in runs]
    found = [arm(config) for config in configs]
    for more in (shape, budget, lambda config: POSITIONS[config["positions"]], _width):
        found = _told_apart(found, [more(config) for config in configs])
    return _told_apart(found, [run["id"][:6] for run in runs])


def _width(config: Config) -> str:
    return f"width {config['d_model']}"


def _told_apart(names: list[str], more: list[str]) -> list[str]:
    """The names, those that stand for several runs lengthened by `more` where that differs among these."""
    groups: dict[str, list[str]] = {}
    for name, word in zip(names, more, strict=True):
        groups.setdefault(name, []).append(word)
    return [
        f"{name} · {word}" if word and len(set(groups[name])) > 1 else name
        for name, word in zip(names, more, strict=True)
    ]


REASONING_SETTINGS = {"sr2": settings}
