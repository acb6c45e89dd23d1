"""SAEs that go on from trained ones: a run's own, or a folder another tool saved."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.files import sha256_file
from data.paths import state_dir
from engine.errors import UserError
from engine.studies.sae_consistency.config import TOPK_LIKE, Config

if TYPE_CHECKING:
    from torch import Tensor

    from engine.sae_formats.common import Checkpoint
    from engine.studies.sae_consistency.source import Source


def start_folders(config: Config, seeds: Sequence[int]) -> dict[int, Path]:
    """The folder each seed starts from; none without `start_from`. Raises UserError."""
    if not config.start_from:
        return {}
    if config.start_from.startswith("run:"):
        run = config.start_from.removeprefix("run:")
        folders = [state_dir() / "runs" / run / "saes" / f"seed-{seed}" for seed in seeds]
        for seed, folder in zip(seeds, folders, strict=True):
            if not run.isalnum() or not folder.is_dir():
                raise UserError(
                    "start_from", f"run {run} has no finished SAE of seed {seed}; choose its seeds."
                )
    else:
        folders = [Path(part.strip()).expanduser() for part in config.start_from.split(",")]
        if len(folders) != len(seeds):
            raise UserError(
                "start_from", f"{len(folders)} folders for {len(seeds)} seeds; give one folder per seed."
            )
    return dict(zip(seeds, folders, strict=True))


def start_identity(config: Config, seeds: Sequence[int]) -> str:
    """A fingerprint of the files a config starts from; empty without any. Raises UserError."""
    digest = hashlib.sha256()
    folders = start_folders(config, seeds)
    for folder in folders.values():
        if not folder.is_dir():
            raise UserError("start_from", f"{folder} is not a folder; name one that holds a saved SAE.")
        for file in sorted(path for path in folder.iterdir() if path.is_file()):
            digest.update(f"{file.name} {sha256_file(file)}\n".encode())
    return digest.hexdigest()[:16] if folders else ""


def starting_tensors(
    config: Config, seeds: Sequence[int], source: "Source"
) -> "dict[int, dict[str, Tensor]]":
    """Each seed's tensors in the units of the source's scaled vectors. Raises UserError."""
    from engine.sae_formats.reading import read_checkpoint

    folders = start_folders(config, seeds)
    return {
        seed: _fitted(config, read_checkpoint(folder), source.train.d_in, source.scale)
        for seed, folder in folders.items()
    }


def _fitted(config: Config, found: "Checkpoint", d_in: int, scale: float) -> "dict[str, Tensor]":
    from engine.sae_formats.common import rescaled

    if found.architecture != config.architecture:
        raise UserError(
            "architecture",
            f"{config.architecture} is set and start_from holds {found.architecture}; set that.",
        )
    if (found.d_sae, found.d_in) != (config.d_sae, d_in):
        raise UserError(
            "d_sae",
            f"start_from holds {found.d_sae} latents of width {found.d_in}, the run {config.d_sae} of width {d_in}; "
            "set d_sae and the hook point to match.",
        )
    tensors = rescaled(found.tensors, 1 / scale)
    if config.decoder_norm == "unit":
        _normalise(tensors, config.architecture)
    return {name: value.contiguous() for name, value in tensors.items()}


def _normalise(tensors: "dict[str, Tensor]", architecture: str) -> None:
    """Bring decoder rows to norm 1 and let the latents carry the norm, in place."""
    norms = tensors["decoder"].norm(dim=1)
    if architecture in TOPK_LIKE and bool((norms / norms.mean() - 1).abs().max() > 1e-3):
        raise UserError(
            "decoder_norm",
            "start_from has decoder rows of unequal norm, which TopK ranks by; set decoder_norm to free.",
        )
    tensors["decoder"] = tensors["decoder"] / norms[:, None]
    tensors["encoder"] = tensors["encoder"] * norms[:, None]
    for name in ("b_enc", "b_mag"):
        if name in tensors:
            tensors[name] = tensors[name] * norms
    if "threshold" in tensors:
        shared = tensors["threshold"].ndim == 0
        tensors["threshold"] = tensors["threshold"] * (norms.mean() if shared else norms)
