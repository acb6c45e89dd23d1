"""The map job: read decoder rows, find neighbours, lay out, write `map_points`."""

import numpy as np
import pyarrow as pa

from engine.run import Run, Stopped
from engine.tools.feature_map.config import Config
from engine.tools.feature_map.dictionaries import chosen_saes, draw, shares, unit_rows

READING, COMPARING, LAYING_OUT = "reading decoders", "finding nearest neighbours", "laying out"
PREPARING = "preparing the layout (the first on a machine compiles it, about 20 s)"


def make_map(run: Run) -> None:
    """Lay out the features of the runs in `run.config`. Raises UserError, and Stopped when asked to stop."""
    config: Config = run.config
    seed = run.seeds[0]
    found = chosen_saes(config)
    counts = shares([sae.d_sae for sae in found], config.max_points)
    n = sum(counts)
    features, parts = [], []
    for done, (sae, count) in enumerate(zip(found, counts, strict=True)):
        report(run, done, len(found), READING)
        features.append(draw(sae, count, seed))
        parts.append(unit_rows(sae, features[-1]))
    rows = np.concatenate(parts)
    positions = _positions(run, rows, config, seed)
    run.write_table(
        "map_points",
        pa.table(
            {
                "of_run": np.repeat([sae.run for sae in found], counts),
                "seed": np.repeat([sae.seed for sae in found], counts),
                "feature": np.concatenate(features),
                "x": positions[:, 0].astype(np.float64),
                "y": positions[:, 1].astype(np.float64),
            }
        ),
    )
    run.message(f"{n:,} of {sum(sae.d_sae for sae in found):,} features are laid out.")


def _positions(run: Run, rows: np.ndarray, config: Config, seed: int) -> np.ndarray:
    from engine.tools.feature_map.layout import keep_compiled_code, layout
    from engine.tools.feature_map.neighbours import nearest

    neighbours = nearest(
        rows, config.n_neighbors, run.device, lambda done, n: report(run, done, n, COMPARING)
    )
    report(run, 0, 1, PREPARING)
    keep_compiled_code()
    report(run, 0, 1, PREPARING)
    return layout(rows, neighbours, seed, config.min_dist, lambda done, n: report(run, done, n, LAYING_OUT))


def report(run: Run, done: int, total: int, stage: str) -> None:
    """Show progress of a stage. Raises Stopped once the run should stop."""
    run.progress(done, total, stage)
    if run.should_stop:
        raise Stopped
