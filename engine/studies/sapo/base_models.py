"""Base models that were trained before: the bundled one and those of finished runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.files import read_json, sha256_file
from data.paths import state_dir
from engine.errors import UserError
from engine.studies.sapo.config import Config

if TYPE_CHECKING:
    from torch import Tensor

BUNDLED = Path(__file__).resolve().parents[3] / "data" / "weights" / "sapo" / "chain-3.safetensors"
SHARED = ("task", "chain_length", "blanks", "width", "layers", "heads")


def weights_name(seed: int, arm: str) -> str:
    """The file of a run's tensors that holds a policy."""
    return f"policy-seed-{seed}-{arm}"


def base_tensors(config: Config, seed: int) -> "dict[str, Tensor]":
    """The base a seed starts from: `start_from` is "bundled" or "run:ID". Raises UserError."""
    from safetensors.torch import load_file

    if config.start_from == "bundled":
        return load_file(BUNDLED)
    return load_file(run_base(config, seed))


def run_base(config: Config, seed: int) -> Path:
    """The file of a finished run's base for a seed; a seed the run lacks takes its first. Raises UserError."""
    directory = state_dir() / "runs" / config.start_from.removeprefix("run:")
    if not config.start_from.startswith("run:") or not (directory / "manifest.json").exists():
        raise UserError("start_from", f"{config.start_from} is no finished run; write run:ID or bundled.")
    record = read_json(directory / "config.json")
    if record["study"] != "sapo":
        raise UserError("start_from", f"{config.start_from} is a run of {record['study']}, not of sapo.")
    _check_shape(config, record["config"])
    chosen = seed if seed in record["seeds"] else record["seeds"][0]
    path = directory / "tensors" / f"{weights_name(chosen, 'base')}.safetensors"
    if not path.exists():
        raise UserError("start_from", f"{config.start_from} holds no weights; it was imported.")
    return path


def _check_shape(config: Config, base: dict[str, Any]) -> None:
    """Refuse a base of another shape; the number of heads shows in no tensor. Raises UserError."""
    for name in SHARED:
        if base[name] != getattr(config, name):
            raise UserError(name, f"the base of {config.start_from} has {base[name]}; set {name} to it.")


def base_identity(config: Config, seeds: list[int]) -> str:
    """The hash of what a run starts from, part of its identity. Raises UserError."""
    if config.start_from == "bundled":
        _check_shape(config, read_json(BUNDLED.with_suffix(".json"))["config"])
        return sha256_file(BUNDLED)[:16]
    return " ".join(sha256_file(run_base(config, seed))[:16] for seed in seeds)
