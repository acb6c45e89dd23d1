"""What a finished run leaves: every table of the study, and each seed's adapter."""

from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import log_softmax

from analyses.label_shift import (
    ADAPTER,
    ORACLE,
    TAU,
    balanced_weights,
    calibration,
    centred,
    divergence,
    likeness,
    sharpness,
    smoothed,
    uniform,
)
from analyses.streams import stream_seed
from engine import schema
from engine.run import Run, Stopped
from engine.studies.label_shift.arms import SCORES, Trajectory, one_parameter
from engine.studies.label_shift.backbones import Backbone
from engine.studies.label_shift.choosing import SCORES as CHOICE_SCORES
from engine.studies.label_shift.deployment import Deployment
from engine.studies.label_shift.source import Source

Floats = NDArray[np.float64]
MEAN_MARGINAL = "mean of the marginals seen"
Columns = dict[str, Any]


def write_results(run: Run, source: Source, deployments: dict[int, Deployment]) -> None:
    """Write every table. Raises Stopped when asked to stop; the rounds are kept."""
    run.progress(0, 1, "measuring")
    parts: dict[str, list[pa.Table]] = {}

    def add(name: str, columns: Columns) -> None:
        wanted = schema.run_columns(name)
        parts.setdefault(name, []).append(pa.table({key: columns[key] for key in wanted.names}).cast(wanted))

    effects: dict[int, Floats] = {}
    for seed, deployment in deployments.items():
        if run.should_stop:
            raise Stopped
        for arm, past in deployment.trajectories.items():
            add("shift_rounds", {"seed": [seed] * past.done, **_rounds(deployment, arm, past)})
            classes = _classes(past)
            add(
                "shift_classes",
                {"seed": [seed] * len(classes["class"]), "arm": [arm] * len(classes["class"]), **classes},
            )
        for name, rows in _of_seed(deployment).items():
            parts.setdefault(name, []).append(pa.Table.from_pylist(rows, schema=schema.run_columns(name)))
        mechanism = _mechanism(deployment)
        effects[seed] = mechanism["learnt"] * mechanism["spread"]
        size = deployment.n_classes
        target, cause = np.indices((size, size))
        flat = {name: np.broadcast_to(values, (size, size)).ravel() for name, values in mechanism.items()}
        add(
            "shift_mechanism",
            {"seed": [seed] * size**2, "target": target.ravel(), "source": cause.ravel(), **flat},
        )
        parts.setdefault("shift_recovery", []).append(_recovery(deployment, mechanism))
        run.write_tensors(f"adapter-{seed}", deployment.adapter.weights())
    parts["shift_data"] = [_data(source, next(iter(deployments.values())))]
    parts["shift_agreement"] = [_agreement(effects)]
    for name, tables in parts.items():
        run.write_table(name, pa.concat_tables(tables))


def _rounds(deployment: Deployment, arm: str, past: Trajectory) -> Columns:
    scores = dict(zip(SCORES, past.scores.T, strict=True))
    numbers = np.arange(past.done)
    return {
        "arm": [arm] * past.done,
        "round": numbers,
        "backbone": [deployment.backbone(number).name for number in range(past.done)],
        "swapped": numbers >= deployment.config.rounds,
        **scores,
        "excess_nll": scores["nll"] - scores["nll_oracle"],
        "excess_nll_before": scores["nll_before"] - scores["nll_oracle"],
        "kl": divergence(past.log_p, past.log_forecast),
        "shift": divergence(past.log_p, uniform(deployment.n_classes)),
        "nll_exact": pa.array(scores["nll_exact"], mask=np.isnan(scores["nll_exact"])),
    }


def _classes(past: Trajectory) -> Columns:
    rounds, n_classes = past.log_p.shape
    number, k = np.indices((rounds, n_classes))
    return {
        "round": number.ravel(),
        "class": k.ravel(),
        "p_true": np.exp(past.log_p).ravel(),
        "p_forecast": np.exp(past.log_forecast).ravel(),
        "class_accuracy": past.statistic.ravel(),
        "marginal": past.marginals.ravel(),
        "rows": past.rows.astype(np.int64).ravel(),
    }


def _of_seed(deployment: Deployment) -> dict[str, list[dict[str, Any]]]:
    backbones, curves = _backbones(deployment)
    choices, classes = _choices(deployment)
    return {
        "shift_backbones": backbones,
        "shift_calibration": curves,
        "shift_few": _few(deployment),
        "shift_choices": choices,
        "shift_choice_classes": classes,
    }


def _backbones(deployment: Deployment) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Accuracy, loss and calibration of every candidate on test rows, classes alike; reliability of the two deployed."""
    source, rows = deployment.source, deployment.rows["test"]
    labels = source.labels[rows]
    weights = balanced_weights(labels, source.n_classes)
    scores, curves = [], []
    for place, one in enumerate(deployment.candidates):
        logits = one.logits(source.views[one.view][rows])
        both = {
            scaled: log_softmax(logits / (one.temperature if scaled else 1.0), axis=1)
            for scaled in (True, False)
        }
        found = {scaled: calibration(values, labels, weights) for scaled, values in both.items()}
        loss = {scaled: -values[np.arange(len(rows)), labels] for scaled, values in both.items()}
        scores.append(
            {
                "seed": deployment.seed,
                "backbone": one.name,
                "role": ("first", "second")[place] if place < 2 else "candidate",
                "temperature": one.temperature,
                "accuracy": float(np.average(logits.argmax(axis=1) == labels, weights=weights)),
                "nll": float(np.average(loss[True], weights=weights)),
                "nll_unscaled": float(np.average(loss[False], weights=weights)),
                "ece": found[True].error,
                "ece_unscaled": found[False].error,
            }
        )
        curves += _curves(deployment.seed, one, found) if place < 2 else []
    return scores, curves


def _curves(seed: int, backbone: Backbone, found: dict[bool, Any]) -> list[dict[str, Any]]:
    return [
        {
            "seed": seed,
            "backbone": backbone.name,
            "scaled": scaled,
            "confidence": x,
            "accuracy": y,
            "weight": w,
        }
        for scaled, curve in found.items()
        for x, y, w in zip(
            curve.confidence.tolist(), curve.accuracy.tolist(), curve.rows.tolist(), strict=True
        )
    ]


def _few(deployment: Deployment) -> list[dict[str, Any]]:
    """Forecast error after n pairs, on rounds of the oracle arm's second half, which no forecaster has seen."""
    rounds = deployment.config.rounds
    oracle = deployment.trajectories[ORACLE]
    states, wanted = oracle.statistic[rounds // 2 : rounds - 1], oracle.log_p[rounds // 2 + 1 : rounds]
    by_adapter, by_fit = (deployment.trajectories[arm].pairs(rounds) for arm in (ADAPTER, TAU))
    rows = []
    for pairs, weights in sorted(deployment.snapshots.items()):
        forecasts = {
            ADAPTER: deployment.adapter.with_weights(weights).forecast(states),
            TAU: one_parameter(sharpness(by_fit[0][:pairs], by_fit[1][:pairs]), states),
            MEAN_MARGINAL: smoothed(by_adapter[1][:pairs].sum(axis=0) * deployment.config.labels),
        }
        for method, values in forecasts.items():
            kl = float(divergence(wanted, values).mean())
            rows.append({"seed": deployment.seed, "method": method, "pairs": pairs, "kl": kl})
    return rows


def _choices(deployment: Deployment) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    choices, rows, classes = deployment.choices, [], []
    for place, number in enumerate(choices.rounds):
        for i, candidate in enumerate(deployment.candidates):
            key = {"seed": deployment.seed, "round": number, "candidate": candidate.name}
            rows.append({**key, **dict(zip(CHOICE_SCORES, choices.scores[place, i].tolist(), strict=True))})
            classes += [
                {
                    **key,
                    "class": k,
                    "class_accuracy": float(choices.statistic[place, i, k]),
                    "p_forecast": float(np.exp(choices.log_forecast[place, i, k])),
                    "p_revealed": float(np.exp(choices.log_revealed[place, i, k])),
                }
                for k in range(deployment.n_classes)
            ]
    return rows, classes


def _mechanism(deployment: Deployment) -> dict[str, Floats]:
    """The adapter's centred Jacobian at the mean S of the second half of its rounds, beside the true one (K × K each).

    `spread` (K): standard deviation of each S there; what never varied cannot have been learnt.
    """
    rounds = deployment.config.rounds
    states = deployment.trajectories[ADAPTER].statistic[rounds // 2 : rounds]
    return {
        "learnt": centred(deployment.adapter.jacobian(states.mean(axis=0))),
        "truth": centred(deployment.reaction.slope),
        "spread": states.std(axis=0),
    }


def _recovery(deployment: Deployment, mechanism: dict[str, Floats]) -> pa.Table:
    """How alike the learnt and the true effects of a usual change of S are; slope: least squares of learnt on true."""
    learnt, truth = (mechanism[name] * mechanism["spread"] for name in ("learnt", "truth"))
    rng = np.random.default_rng(stream_seed("label shift recovery null", deployment.seed))
    found = likeness(truth, learnt, rng)
    size = float((truth**2).sum())
    beta = sharpness(*deployment.trajectories[TAU].pairs(deployment.config.rounds))
    known = size > 0
    row = {
        "seed": deployment.seed,
        "correlation": found.value if known else None,
        "null": found.null_mean if known else None,
        "null_high": found.null_high if known else None,
        "slope": float((learnt * truth).sum()) / size if known else None,
        "fitted_tau": 1 / beta if beta else None,
    }
    return pa.Table.from_pylist([row], schema=schema.run_columns("shift_recovery"))


def _agreement(effects: dict[int, Floats]) -> pa.Table:
    """Every pair of seeds: how alike the mechanisms they learnt are."""
    rows = []
    for (a, one), (b, other) in combinations(effects.items(), 2):
        found = likeness(one, other, np.random.default_rng(stream_seed("label shift agreement null", a, b)))
        row = {"seed_a": a, "seed_b": b, "correlation": found.value}
        rows.append({**row, "null": found.null_mean, "null_high": found.null_high})
    return pa.Table.from_pylist(rows, schema=schema.run_columns("shift_agreement"))


def _data(source: Source, deployment: Deployment) -> pa.Table:
    rows = [
        {"class": k, "name": name, "split": split, "rows": int((source.labels[mine] == k).sum())}
        for split, mine in deployment.rows.items()
        for k, name in enumerate(source.names)
    ]
    return pa.Table.from_pylist(rows, schema=schema.run_columns("shift_data"))
