"""The bridge to the rest of the workbench: features of a run's SAE as bottom concepts, active or not at a token."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import UserError
from engine.run import Stopped
from engine.studies.concept_hierarchy.config import Config
from engine.studies.concept_hierarchy.source import Floats, Ints, Source, real

if TYPE_CHECKING:
    from engine.run import Run
    from engine.tools.feature_cards.of_run import OfRun

BATCH = 1024
CONTEXT_TOKENS = 8


class _OfSeed:
    """A run that reports and stops as itself, with the seed of the SAE it reads."""

    def __init__(self, run: "Run") -> None:
        self._run, self.seeds = run, [run.config.of_seed]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)


def features_identity(config: Config) -> str:
    """Identity of the run whose features are read. Raises UserError."""
    from data.files import sha256_file
    from engine.tools.feature_cards.of_run import find_run

    if not config.of:
        raise UserError("of", "name a finished run of sae_consistency whose features are searched.")
    directory, _ = find_run(config.of, [config.of_seed])
    return f"{config.of} {sha256_file(directory / 'manifest.json')[:16]}"


def open_features(run: "Run") -> Source:
    """`n_features` of the SAE on the run's held-out tokens, named f and their number in its cards.

    Held-out tokens were not used to train the SAE, and their text can be shown. Raises UserError, Stopped.
    """
    import torch

    from engine.tools.feature_cards.of_run import OfRun

    reading: Any = _OfSeed(run)
    of = OfRun.open(reading)
    with torch.no_grad():
        chosen, values = _encode(run, of)
    names = [f"f{feature}" for feature in chosen]

    def text(rows: Sequence[int], columns: Sequence[int]) -> list[str]:
        shown = of.activations.contexts(np.asarray(rows, dtype=np.int64), CONTEXT_TOKENS)
        lines = []
        for row, (before, token, after) in zip(rows, shown, strict=True):
            active = [names[j] for j in columns if values[row, j] > 0]
            lines.append(f"{before}⟦{token}⟧{after} · {', '.join(active) or 'none active'}")
        return lines

    return real(run.config, (values > 0).astype(np.int64), names, text)


def _encode(run: "Run", of: "OfRun") -> tuple[Ints, Floats]:
    """Numbers of the chosen features and their values (tokens × n_features); two passes, so memory stays small."""
    import torch

    config: Config = run.config
    sae, rows = of.saes[config.of_seed], of.activations.heldout
    counts, sums, squares = np.zeros(of.config.d_sae), np.zeros(of.config.d_sae), np.zeros(of.config.d_sae)
    chosen = np.empty(0, dtype=np.int64)
    kept: list[Floats] = []
    for stage in ("choosing features", "reading features"):
        for start in range(0, rows.n_rows, BATCH):
            if run.should_stop:
                raise Stopped
            run.progress(start, rows.n_rows, stage)
            batch = np.arange(start, min(start + BATCH, rows.n_rows))
            z = (
                sae.encode(torch.from_numpy(rows.gather(batch)).to(of.device))
                .cpu()
                .numpy()
                .astype(np.float64)
            )
            if len(chosen):
                kept.append(z[:, chosen])
            else:
                counts, sums = counts + (z > 0).sum(axis=0), sums + z.sum(axis=0)
                squares = squares + (z**2).sum(axis=0)
        if not len(chosen):
            chosen = _chosen(config, counts / rows.n_rows, squares / rows.n_rows - (sums / rows.n_rows) ** 2)
    return chosen, np.concatenate(kept)


def _chosen(config: Config, frequency: Floats, variance: Floats) -> Ints:
    """The features to read, in the order of their numbers. Raises UserError when too few of them vary."""
    varies = np.flatnonzero((frequency > 0) & (frequency < 1))
    if len(varies) < config.n_features:
        raise UserError(
            "n_features", f"only {len(varies)} features are active at some tokens; lower n_features."
        )
    rank = np.abs(frequency - 0.5) if config.chosen_by == "frequency" else -variance
    return np.sort(varies[np.argsort(rank[varies], kind="stable")[: config.n_features]])
