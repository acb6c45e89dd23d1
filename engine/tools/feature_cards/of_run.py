"""The finished run that cards are made of: its record, its activations, its SAEs ready to encode."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.files import read_json
from data.paths import state_dir
from engine.errors import UserError
from engine.studies.sae_consistency.config import Config

if TYPE_CHECKING:
    from engine.activations import Activations
    from engine.run import Run
    from engine.studies.sae_consistency.saes import Sae


class _Reading:
    """A run that reports and stops as itself, under the config of another."""

    def __init__(self, run: "Run", config: Config) -> None:
        self._run, self.config = run, config

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)


def find_run(run_id: str, seeds: Sequence[int]) -> tuple[Path, Config]:
    """Directory and config of a finished run that read a language model or a run's model. Raises UserError."""
    directory = state_dir() / "runs" / run_id
    if not run_id.isalnum() or not (directory / "state.json").exists():
        raise UserError("of", f"run {run_id} does not exist; name a run of sae_consistency.")
    record = read_json(directory / "config.json")
    if record["study"] != "sae_consistency":
        raise UserError("of", f"run {run_id} is one of {record['study']}; name a run of sae_consistency.")
    state = read_json(directory / "state.json")["state"]
    if state != "done" or not (directory / "manifest.json").exists():
        raise UserError("of", f"run {run_id} is {state}; wait until it is done.")
    config = Config(**record["config"])
    if config.source != "language_model":
        raise UserError("of", f"run {run_id} learnt a synthetic world, which has no text to show.")
    unknown = sorted(set(seeds) - set(record["seeds"]))
    if unknown:
        known = ", ".join(map(str, record["seeds"]))
        raise UserError("seeds", f"run {run_id} has no seed {unknown[0]}; it has {known}.")
    return directory, config


@dataclass(frozen=True)
class OfRun:
    """`activations` were collected for the run; `saes` read them times `scale`, in the units it trained on."""

    id: str
    directory: Path
    config: Config
    activations: "Activations"
    seeds: tuple[int, ...]
    device: str

    @staticmethod
    def open(run: "Run") -> "OfRun":
        """What `run.config.of` names; collects its activations again if they were removed. Raises UserError, Stopped."""
        from engine.activations import open_activations

        directory, config = find_run(run.config.of, run.seeds)
        reading: Any = _Reading(run, config)
        return OfRun(
            run.config.of, directory, config, open_activations(reading), tuple(run.seeds), run.device
        )

    @property
    def scale(self) -> float:
        return self.activations.scale

    @property
    def hook_point(self) -> str:
        return str(self.activations.manifest["hook_point"])

    @property
    def context_size(self) -> int:
        return int(self.activations.manifest["context_size"])

    @cached_property
    def saes(self) -> "dict[int, Sae]":
        """Each seed's SAE on the run's device, for vectors of `scale` · activation. Raises UserError."""
        return {seed: self._sae(seed) for seed in self.seeds}

    def _sae(self, seed: int) -> "Sae":
        import torch

        from engine.sae_formats.common import rescaled
        from engine.sae_formats.reading import read_checkpoint
        from engine.studies.sae_consistency.saes import loaded

        found = read_checkpoint(self.directory / "saes" / f"seed-{seed}")
        if (found.architecture, found.d_sae) != (self.config.architecture, self.config.d_sae):
            raise UserError(
                "of", f"the SAE of seed {seed} is {found.architecture} of {found.d_sae} latents, its run says "
                f"{self.config.architecture} of {self.config.d_sae}; its files were changed."
            )  # fmt: skip
        with torch.no_grad():
            tensors = {k: v.to(self.device) for k, v in rescaled(found.tensors, 1 / self.scale).items()}
            return loaded(self.config, tensors, seed)

    def describe(self) -> dict[str, Any]:
        """What a card says of its origin, for tensors/cards.json."""
        manifest, config = self.activations.manifest, self.config
        shown = (
            "model", "model_label", "hook_point", "corpus", "sources", "tier", "licences", "scale", "context_size", "d_in",
        )  # fmt: skip
        return {
            "of": self.id,
            **{name: manifest[name] for name in (*shown, "row_length") if name in manifest},
            **{name: getattr(config, name) for name in ("architecture", "k", "d_sae")},
        }
