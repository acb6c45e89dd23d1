"""What a finished run leaves: held-out figures, matchings with their null, feature contexts, SAE files."""

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from analyses.matching import (
    Match,
    match,
    match_summary,
    mean_correlation_coefficient,
    random_direction_null,
)
from data.files import atomic_folder, write_json
from engine import schema
from engine.run import Run, Stopped
from engine.studies.sae_consistency.saes import Sae
from engine.studies.sae_consistency.source import RowSource, Source

if TYPE_CHECKING:
    from engine.studies.sae_consistency.training import SeedTrainer, Training

EVALUATION_BATCH = 2048
CONTEXTS = 5
SAME_FEATURE = 0.7
SUBSETS = ("all", "alive")


@dataclass(frozen=True)
class Evaluation:
    """Held-out figures of one SAE; `mean_norm` is that of the vectors it read. Per feature (d_sae): share of vectors it fires on, its mean value when it fires,
    and its `top_values`, `top_rows` (d_sae × 5)."""

    fvu: float
    l0: float
    mean_norm: float
    frequency: NDArray[np.float64]
    mean_activation: NDArray[np.float64]
    top_values: Tensor
    top_rows: Tensor


def evaluate(sae: Sae, rows: RowSource, device: str) -> Evaluation:
    """One pass over the held-out rows in batches."""
    d_sae = sae.config.d_sae
    count, total = torch.zeros(d_sae, dtype=torch.float64), torch.zeros(d_sae, dtype=torch.float64)
    top_values = torch.zeros(d_sae, CONTEXTS)
    top_rows = torch.full((d_sae, CONTEXTS), -1)
    error, norms, square = 0.0, 0.0, 0.0
    mean = torch.zeros(rows.d_in, dtype=torch.float64)
    for start in range(0, rows.n_rows, EVALUATION_BATCH):
        indices = np.arange(start, min(start + EVALUATION_BATCH, rows.n_rows))
        x = torch.from_numpy(rows.gather(indices)).to(device)
        z = sae.encode(x)
        error += float((sae.decode(z) - x).square().sum(dtype=torch.float64))
        mean += x.sum(dim=0, dtype=torch.float64).cpu()
        norms += float(x.norm(dim=1).sum(dtype=torch.float64))
        square += float(x.square().sum(dtype=torch.float64))
        count += (z > 0).sum(dim=0).cpu()
        total += z.sum(dim=0, dtype=torch.float64).cpu()
        top_values, top_rows = _merge_top(top_values, top_rows, z.cpu(), start)
    variance = square - float(mean.square().sum()) / rows.n_rows
    fired = count.numpy()
    return Evaluation(
        fvu=error / variance,
        l0=float(fired.sum() / rows.n_rows),
        mean_norm=norms / rows.n_rows,
        frequency=fired / rows.n_rows,
        mean_activation=np.divide(total.numpy(), fired, out=np.zeros(d_sae), where=fired > 0),
        top_values=top_values,
        top_rows=top_rows,
    )


def _merge_top(values: Tensor, rows: Tensor, z: Tensor, start: int) -> tuple[Tensor, Tensor]:
    found, places = z.T.topk(min(CONTEXTS, len(z)), dim=1)
    values, order = torch.cat([values, found], dim=1).topk(CONTEXTS, dim=1)
    return values, torch.cat([rows, places + start], dim=1).gather(1, order)


def write_results(run: Run, source: Source, training: "Training") -> None:
    """Evaluate and match every seed; write every table of the study and the SAEs in sae-lens' format."""
    trainers = training.trainers
    evaluations = {}
    for done, trainer in enumerate(trainers):
        _stop_if_asked(run)
        run.progress(done, len(trainers) + 1, "evaluating")
        evaluations[trainer.seed] = evaluate(trainer.sae, source.heldout, run.device)
    alive = {t.seed: (evaluations[t.seed].frequency > 0) | ~t.dead.cpu().numpy() for t in trainers}
    run.progress(len(trainers), len(trainers) + 1, "matching")
    pairs, matches, stability = _match_all(run, trainers, evaluations, alive)
    _write(run, "saes", _sae_rows(training, source, evaluations, alive))
    _write(run, "pairs", pairs)
    run.write_table("matches", pa.concat_tables(matches) if matches else _empty("matches"))
    features = [_feature_table(seed, evaluations[seed], alive[seed], stability[seed]) for seed in evaluations]
    run.write_table("features", pa.concat_tables(features))
    _write(run, "trajectory", training.trajectory)
    _write(run, "gt_trajectory", training.gt_trajectory)
    if source.contexts is not None:
        run.write_table(
            "contexts", pa.concat_tables([_contexts(s, e, source) for s, e in evaluations.items()])
        )
    for trainer in trainers:
        export(run, source, trainer)
    run.progress(1, 1, "done")


def _stop_if_asked(run: Run) -> None:
    """The last step was checkpointed, so a resumed run only repeats the evaluation."""
    if run.should_stop:
        raise Stopped


def _write(run: Run, name: str, rows: list[dict[str, Any]]) -> None:
    run.write_table(name, pa.Table.from_pylist(rows, schema=schema.run_columns(name)))


def _empty(name: str) -> pa.Table:
    return schema.run_columns(name).empty_table()


def _sae_rows(
    training: "Training",
    source: Source,
    evaluations: dict[int, Evaluation],
    alive: dict[int, NDArray[np.bool_]],
) -> list[dict[str, Any]]:
    config, rows = training.config, []
    for trainer in training.trainers:
        found, lives = evaluations[trainer.seed], alive[trainer.seed]
        decoder = trainer.sae.decoder.cpu().numpy()
        truth = source.truth
        rows.append(
            {
                "seed": trainer.seed,
                "fvu": found.fvu,
                "l0": found.l0,
                "alive_share": float(lives.mean()),
                "n_alive": int(lives.sum()),
                "d_sae": config.d_sae,
                "mean_activation_norm": found.mean_norm / source.scale,
                "gt_mcc_abs": None if truth is None else mean_correlation_coefficient(decoder, truth),
                "gt_mcc_signed": None
                if truth is None
                else mean_correlation_coefficient(decoder, truth, signed=True),
                "samples_seen": config.n_steps * config.batch_size,
            }
        )
    return rows


def _match_all(
    run: Run,
    trainers: "list[SeedTrainer]",
    evaluations: dict[int, Evaluation],
    alive: dict[int, NDArray[np.bool_]],
) -> tuple[list[dict[str, Any]], list[pa.Table], dict[int, NDArray[np.float64]]]:
    """Pair rows, matched-feature tables, and per seed the share of other seeds a feature has a match in."""
    decoders = {trainer.seed: trainer.sae.decoder.cpu().numpy() for trainer in trainers}
    pairs, tables = [], []
    stability = {seed: np.zeros(len(decoder)) for seed, decoder in decoders.items()}
    for a, b in combinations(decoders, 2):
        _stop_if_asked(run)
        for subset in SUBSETS:
            ids_a, ids_b = (np.arange(len(d)) if subset == "all" else np.flatnonzero(m) for d, m in ((decoders[a], alive[a]), (decoders[b], alive[b])))  # fmt: skip
            if not (len(ids_a) and len(ids_b)):
                continue
            found = match(decoders[a][ids_a], decoders[b][ids_b])
            size = (len(ids_a), len(ids_b))
            null = random_direction_null(decoders[a].shape[1], *size)
            first, second = ids_a[found.pairs[:, 0]], ids_b[found.pairs[:, 1]]
            pairs.append({"seed_a": a, "seed_b": b, "subset": subset, **match_summary(found, null)})
            tables.append(_match_table(a, b, subset, found, first, second, evaluations))
            if subset == "all":
                same = np.abs(found.cosine) >= SAME_FEATURE
                stability[a][first[same]] += 1 / (len(decoders) - 1)
                stability[b][second[same]] += 1 / (len(decoders) - 1)
    return pairs, tables, stability


def _match_table(
    a: int,
    b: int,
    subset: str,
    found: Match,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    evaluations: dict[int, Evaluation],
) -> pa.Table:
    n = len(first)
    columns = {
        "seed_a": np.full(n, a),
        "seed_b": np.full(n, b),
        "subset": [subset] * n,
        "rank": np.arange(n),
        "feature_a": first,
        "feature_b": second,
        "cosine": found.cosine,
        "frequency_a": evaluations[a].frequency[first],
        "frequency_b": evaluations[b].frequency[second],
    }
    return pa.table(columns).cast(schema.run_columns("matches"))


def _feature_table(
    seed: int, found: Evaluation, alive: NDArray[np.bool_], stability: NDArray[np.float64]
) -> pa.Table:
    n = len(alive)
    columns = {
        "seed": np.full(n, seed),
        "feature": np.arange(n),
        "frequency": found.frequency,
        "mean_activation": found.mean_activation,
        "alive": alive,
        "stability": stability,
    }
    return pa.table(columns).cast(schema.run_columns("features"))


def _contexts(seed: int, found: Evaluation, source: Source) -> pa.Table:
    """The held-out contexts with the largest values of every feature that fired."""
    features, ranks = torch.nonzero(found.top_values > 0, as_tuple=True)
    rows = found.top_rows[features, ranks].numpy()
    assert source.contexts is not None
    before, token, after = zip(*source.contexts(rows), strict=True) if len(rows) else ((), (), ())
    columns = {
        "seed": np.full(len(rows), seed),
        "feature": features.numpy(),
        "rank": ranks.numpy(),
        "value": found.top_values[features, ranks].numpy().astype(np.float64),
        "before": pa.array(before, pa.string()),
        "token": pa.array(token, pa.string()),
        "after": pa.array(after, pa.string()),
    }
    return pa.table(columns).cast(schema.run_columns("contexts"))


def export(run: Run, source: Source, trainer: "SeedTrainer") -> None:
    """Write `saes/seed-S` in sae-lens' format; the activation scale is folded in, so it takes raw activations."""
    sae, config, scale = trainer.sae, trainer.config, source.scale
    weights = {
        "W_enc": (sae.encoder.T * scale).contiguous(),
        "b_enc": sae.b_enc,
        "W_dec": (sae.decoder / scale).contiguous(),
        "b_dec": sae.b_dec / scale,
    }
    architecture: dict[str, dict[str, Any]] = {
        "topk": {"architecture": "topk", "k": config.k},
        "relu": {"architecture": "standard"},
    }
    settings = {
        **architecture[config.architecture],
        "d_in": source.train.d_in,
        "d_sae": config.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "metadata": {**dict(source.provenance), "init_seed": trainer.seed, "activation_scale": scale},
    }
    with atomic_folder(run.directory / "saes" / f"seed-{trainer.seed}") as folder:
        save_file(
            {name: tensor.cpu() for name, tensor in weights.items()}, folder / "sae_weights.safetensors"
        )
        write_json(folder / "cfg.json", settings)
