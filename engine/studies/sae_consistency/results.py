"""What a finished run leaves: every table of the study, and the SAEs in sae-lens' format."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from analyses.streams import stream_seed
from engine import schema
from engine.errors import UserError
from engine.run import Run, Stopped
from engine.sae_formats.sae_lens import write_checkpoint
from engine.studies.sae_consistency.evaluation import Evaluation, evaluate
from engine.studies.sae_consistency.pairing import Pairing
from engine.studies.sae_consistency.source import Source

if TYPE_CHECKING:
    from analyses.ground_truth import TrueMatch
    from engine.studies.sae_consistency.training import Training

Found = dict[int, Evaluation]


def write_results(training: "Training") -> None:
    """Evaluate and match every seed; write every table of the study and the SAEs. Raises Stopped."""
    run, source = training.run, training.source
    found: Found = {}
    for done, (seed, sae) in enumerate(training.saes.items()):
        stop_if_asked(run)
        run.progress(done, len(training.saes) + 1, "evaluating")
        found[seed] = evaluate(sae, source.heldout, run.device)
    alive = {s: (e.frequency > 0) | ~training.dead(s).cpu().numpy() for s, e in found.items()}
    run.progress(len(found), len(found) + 1, "matching")
    pairing = Pairing(training.saes, found, alive, lambda: stop_if_asked(run))
    matched = _true_matches(training)
    truth = _truth(training, found, matched)
    functional = _functional(training, found, pairing)
    saes = [_sae_row(training, seed, found[seed], alive[seed]) for seed in found]
    _write(
        run,
        "saes",
        [{**row, **truth.get(row["seed"], {}), **functional.get(row["seed"], {})} for row in saes],
    )
    _write(run, "pairs", pairing.pairs)
    run.write_table("matches", pa.concat_tables(pairing.matches) if pairing.matches else empty("matches"))
    features = [_feature_table(s, e, alive[s], pairing, matched.get(s)) for s, e in found.items()]
    run.write_table("features", pa.concat_tables(features))
    _write(run, "trajectory", training.trajectory)
    _write(run, "gt_trajectory", training.gt_trajectory)
    if source.activations is not None:
        run.write_table("contexts", pa.concat_tables([_contexts(s, e, source) for s, e in found.items()]))
        _explanations(training, pairing)
    for seed in found:
        export(training, seed)
    run.progress(1, 1, "done")


def stop_if_asked(run: Run) -> None:
    """The last step was checkpointed, so a resumed run only repeats the evaluation."""
    if run.should_stop:
        raise Stopped


def _write(run: Run, name: str, rows: list[dict[str, Any]]) -> None:
    run.write_table(name, pa.Table.from_pylist(rows, schema=schema.run_columns(name)))


def empty(name: str) -> pa.Table:
    return schema.run_columns(name).empty_table()


def _sae_row(training: "Training", seed: int, found: Evaluation, alive: NDArray[np.bool_]) -> dict[str, Any]:
    config = training.config
    return {
        "seed": seed,
        "fvu": found.fvu,
        "l0": found.l0,
        "alive_share": float(alive.mean()),
        "n_alive": int(alive.sum()),
        "d_sae": config.d_sae,
        "mean_activation_norm": found.mean_norm / training.source.scale,
        "uniqueness": found.neighbours.uniqueness(),
        "n_near_duplicates": int(found.neighbours.near_duplicates().sum()),
        "mutual_coherence": found.neighbours.mutual_coherence,
        "encoder_alignment": float(found.alignment.mean()),
        "round_trip_support": found.round_trip[0],
        "round_trip_error": found.round_trip[1],
        "samples_seen": config.steps * config.batch_size,
    }


def _true_matches(training: "Training") -> "dict[int, TrueMatch]":
    """Each seed's decoder against the truth; empty outside a world."""
    if training.source.truth is None:
        return {}
    from analyses.ground_truth import true_feature_match

    truth = training.source.truth
    return {s: true_feature_match(sae.decoder.cpu().numpy(), truth) for s, sae in training.saes.items()}


def _truth(training: "Training", found: Found, matched: "dict[int, TrueMatch]") -> dict[int, dict[str, Any]]:
    """In a world: each seed's columns of `saes`, and the table `gt_features`."""
    from analyses.ground_truth import latent_f1

    source, columns, tables = training.source, {}, []
    for seed, mine in matched.items():
        assert source.true_codes is not None and source.truth is not None
        codes = found[seed].codes
        f1 = latent_f1(codes, source.true_codes[: codes.shape[0]], mine.pairs)[2]
        columns[seed] = {
            "gt_mcc_abs": mine.mcc_abs,
            "gt_mcc_signed": mine.found.mcc_signed,
            "gt_f1": float(f1.sum()) / len(source.truth),
            "gt_uniqueness": mine.uniqueness,
        }
        tables.append(_gt_table(seed, source, mine, f1))
    if tables:
        training.run.write_table("gt_features", pa.concat_tables(tables))
    return columns


def _gt_table(seed: int, source: Source, matched: "TrueMatch", scores: NDArray[np.float64]) -> pa.Table:
    """Every true feature; without a matched latent its feature, cosine and F1 are empty."""
    assert source.world is not None
    d_gt = len(matched.latent)
    missing = matched.latent < 0
    f1 = np.zeros(d_gt)
    f1[matched.pairs[:, 1]] = scores
    columns = {
        "seed": np.full(d_gt, seed),
        "gt_feature": np.arange(d_gt),
        "gt_frequency": source.world.probabilities,
        "gt_group": source.world.groups,
        "feature": pa.array(matched.latent, mask=missing),
        "cosine": pa.array(matched.latent_cosine, mask=missing),
        "f1": pa.array(f1, mask=missing),
        "n_latents": np.bincount(matched.nearest, minlength=d_gt),
    }
    return pa.table(columns).cast(schema.run_columns("gt_features"))


def _feature_table(
    seed: int, found: Evaluation, alive: NDArray[np.bool_], pairing: Pairing, matched: "TrueMatch | None"
) -> pa.Table:
    n = len(alive)
    nearest = (pa.nulls(n, pa.int32()), pa.nulls(n, pa.float64()))
    if matched is not None:
        nearest = (pa.array(matched.nearest), pa.array(matched.nearest_cosine))
    columns = {
        "seed": np.full(n, seed),
        "feature": np.arange(n),
        "frequency": found.frequency,
        "mean_activation": found.mean_activation,
        "alive": alive,
        "stability": pairing.stability[seed],
        "max_cosine": pairing.max_cosine[seed],
        "encoder_alignment": found.alignment,
        "near_duplicate": found.neighbours.near_duplicates(),
        "gt_feature": nearest[0],
        "gt_cosine": nearest[1],
    }
    return pa.table(columns).cast(schema.run_columns("features"))


def _contexts(seed: int, found: Evaluation, source: Source) -> pa.Table:
    """The held-out contexts with the largest values of every feature that fired."""
    features, ranks = torch.nonzero(found.top_values > 0, as_tuple=True)
    rows = found.top_rows[features, ranks].numpy()
    assert source.activations is not None
    before, token, after = zip(*source.activations.contexts(rows), strict=True) if len(rows) else ((), (), ())
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


def _functional(training: "Training", found: Found, pairing: Pairing) -> dict[int, dict[str, float]]:
    """Ablations in the language model: the table `ablations`, and each seed's columns of `saes`."""
    run, config, source = training.run, training.config, training.source
    if source.activations is None or config.functional_tokens == 0 or len(found) < 2:
        return {}
    from engine.language_model import load
    from engine.studies.sae_consistency.functional import ablation_groups, ablations, held_out_windows

    run.progress(0, 1, "loading the language model")
    model = load(config.model, run.device)
    generators = {seed: np.random.default_rng(stream_seed("ablations", seed)) for seed in found}
    measured = ablations(
        model,
        source.activations.manifest["hook_point"],
        held_out_windows(source.activations, config.functional_tokens),
        training.saes,
        source.scale,
        {s: ablation_groups(pairing.stability[s], e.frequency, generators[s]) for s, e in found.items()},
        lambda: run.should_stop,
        lambda done, total: run.progress(done, total, "ablating features in the language model"),
    )
    _write(run, "ablations", measured.ablations)
    return measured.saes


def _explanations(training: "Training", pairing: Pairing) -> None:
    """How alike the top contexts of matched features are in meaning: the table `explanations`."""
    run, config = training.run, training.config
    if config.explained_pairs == 0 or not pairing.matches:
        return
    from engine.studies.sae_consistency.explaining import explanation_rows

    try:
        rows = explanation_rows(training, pairing)
    except UserError as error:
        run.message(f"Explanation agreement was left out: {error}")
        rows = []
    _write(run, "explanations", rows)


def export(training: "Training", seed: int) -> None:
    """Write `saes/seed-S` in sae-lens' format; the activation scale is folded in, so it takes raw activations."""
    config, source = training.config, training.source
    provenance = {**dict(source.provenance), "init_seed": seed, "activation_scale": source.scale}
    write_checkpoint(
        training.run.directory / "saes" / f"seed-{seed}",
        config.architecture,
        {name: tensor.cpu() for name, tensor in training.saes[seed].tensors.items()},
        k=config.k,
        scale=source.scale,
        metadata=provenance,
    )
