"""What a finished run on worlds leaves: every table, and each seed's weights."""

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from analyses.extrapolation import (
    FITTED,
    NEAREST,
    RIGHT,
    SOURCE,
    TENT,
    WORLD_ARMS,
    block_agreement,
    projection,
)
from analyses.streams import stream_seed
from data.extrapolation import RADIUS, Rows
from engine import schema
from engine.run import Run, Stopped
from engine.studies.extrapolation.objectives import Fit
from engine.studies.extrapolation.worlds import CURVE_TARGETS, WorldLearner

Row = dict[str, Any]
Worlds = dict[tuple[int, str], WorldLearner]
KEPT = 4
SOURCE_POINTS = 400
OUTER_RINGS = 2.0


class Plane:
    """The two directions of largest variance of a world's source rows."""

    def __init__(self, learner: WorldLearner) -> None:
        self.mean, self.axes = projection(learner.source.x)

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((x - self.mean) @ self.axes.T)


def write_worlds(run: Run, worlds: Worlds, pool: ThreadPoolExecutor) -> None:
    """Write every table. Raises Stopped when asked to stop; the measurements are kept."""
    rows: dict[str, list[Row]] = {}
    run.progress(0, 1, "comparing with the truth and between seeds")

    def one(item: tuple[tuple[int, str], WorldLearner]) -> dict[str, list[Row]]:
        (seed, regime), learner = item
        if run.should_stop:
            raise Stopped
        learner.freeze()
        found = {
            **_measured(learner),
            "extra_points": _points(learner),
            "extra_recovery": [_recovery(learner)],
        }
        found |= _kept(learner)
        return {
            name: [{"seed": seed, "regime": regime, **row} for row in part] for name, part in found.items()
        }

    for found in pool.map(one, worlds.items()):
        for name, part in found.items():
            rows.setdefault(name, []).extend(part)
    rows["extra_agreement"] = [] if run.config.own_world else _agreement(worlds, pool)
    rows["extra_data"] = _data(worlds)
    for name, part in rows.items():
        run.write_table(name, pa.Table.from_pylist(part, schema=schema.run_columns(name)))
    for (seed, regime), learner in worlds.items():
        run.write_tensors(f"{regime}-{seed}", dict(learner.model.state_dict()))


def _measured(learner: WorldLearner) -> dict[str, list[Row]]:
    config, n = learner.config, learner.config.n_targets
    right = (learner.answers == learner.labels[:, None]).double().mean(dim=2)
    accuracy = [
        {"arm": arm, "distance": distance, "targets": n, "accuracy": float(right[place, number])}
        for place, distance in enumerate(config.distances)
        for number, arm in enumerate(WORLD_ARMS)
    ]
    curve = [
        {
            "distance": distance,
            "changed": q,
            "targets": min(n, CURVE_TARGETS),
            "accuracy": float(learner.curve[place, number]),
        }
        for place, distance in enumerate(config.distances)
        for number, q in enumerate(learner.trims)
    ]
    held = torch.from_numpy(learner.validation.x).float(), torch.from_numpy(learner.validation.y)
    with torch.no_grad():
        _, error, _ = learner.model.losses(*held, torch.zeros(len(held[1]), learner.model.latent_size))
        known = float((learner.model.classifier(held[0]).argmax(dim=1) == held[1]).double().mean())
    size = sum(one.numel() for one in learner.model.parameters())
    model = {"parameters": size, "steps": config.steps, "accuracy": known, "reconstruction": float(error)}
    return {"extra_accuracy": accuracy, "extra_curve": curve, "extra_models": [model]}


def _points(learner: WorldLearner) -> list[Row]:
    """Source rows, and the manifold of every class out to a moderate distance, in the plane."""
    plane, config = Plane(learner), learner.config
    shown = learner.source
    rows = [
        {
            "kind": "source",
            "class": int(k),
            "radius": float(np.hypot(*s)),
            "place": i,
            "u": float(u),
            "v": float(v),
        }
        for i, (k, s, (u, v)) in enumerate(
            zip(shown.y[:SOURCE_POINTS], shown.s[:SOURCE_POINTS], plane(shown.x[:SOURCE_POINTS]), strict=True)
        )
    ]
    for k in range(config.n_classes):
        s, x = learner.world.manifold(k, RADIUS * (1 + OUTER_RINGS))
        rows += [
            {
                "kind": "manifold",
                "class": k,
                "radius": round(float(np.hypot(*one)), 6),
                "place": i,
                "u": float(u),
                "v": float(v),
            }
            for i, (one, (u, v)) in enumerate(zip(s, plane(x), strict=True))
        ]
    return rows


def _recovery(learner: WorldLearner) -> Row:
    """R² of s from ŝ and back within classes, on source rows that all seeds share."""
    rows, _ = learner.shared()
    latents = _encoded(learner, rows)
    truth = np.concatenate([rows.s, rows.c], axis=1) if learner.config.invariant == "continuous" else rows.s
    rng = np.random.default_rng(stream_seed("extrapolation recovery", learner.seed))
    there, back = block_agreement(rows.s, latents, rows.y, rng), block_agreement(latents, truth, rows.y, rng)
    return {"r2": there.r2, "null": there.null, "r2_back": back.r2, "null_back": back.null}


def _encoded(learner: WorldLearner, rows: Rows) -> NDArray[np.float64]:
    with torch.no_grad():
        found = learner.model.encode(torch.from_numpy(rows.x).float(), torch.from_numpy(rows.y))
    return np.asarray(found.double().numpy())


def _agreement(worlds: Worlds, pool: ThreadPoolExecutor) -> list[Row]:
    """Every pair of seeds: R² of ŝ from the other's ŝ, mean of both ways, and how often they name one class for a shared target."""
    pairs = []
    for regime in dict.fromkeys(regime for _, regime in worlds):
        mine = {seed: one for (seed, name), one in worlds.items() if name == regime}
        rows, targets = next(iter(mine.values())).shared()
        x = torch.from_numpy(targets.x).float()
        latents = {seed: _encoded(one, rows) for seed, one in mine.items()}
        answers = {seed: one.explain(RIGHT[regime], x).prediction.numpy() for seed, one in mine.items()}
        pairs += [(regime, rows.y, a, b, latents, answers) for a, b in combinations(mine, 2)]

    def one(pair: tuple[str, Any, int, int, dict[int, Any], dict[int, Any]]) -> Row:
        regime, labels, a, b, latents, answers = pair
        rng = np.random.default_rng(stream_seed("extrapolation agreement", a, b))
        found = [block_agreement(latents[to], latents[by], labels, rng) for to, by in ((a, b), (b, a))]
        r2, null = (float(np.mean([getattr(way, name) for way in found])) for name in ("r2", "null"))
        row = {"seed_a": a, "seed_b": b, "regime": regime, "r2": r2, "null": null}
        return {**row, **same_answers(answers[a], answers[b])}

    return list(pool.map(one, pairs))


def same_answers(a: NDArray[np.int64], b: NDArray[np.int64]) -> Row:
    """How often two lists of classes agree, and how often they would by their frequencies alone."""
    most = int(max(a.max(), b.max())) + 1
    shares = [np.bincount(one, minlength=most) / len(one) for one in (a, b)]
    return {"answers": float((a == b).mean()), "answers_chance": float(shares[0] @ shares[1])}


def _kept(learner: WorldLearner) -> dict[str, list[Row]]:
    """The first targets of every distance in full."""
    tables: dict[str, list[Row]] = {}
    for place, distance in enumerate(learner.config.distances):
        rows = learner.targets(place)
        part = Rows(rows.x[:KEPT], rows.y[:KEPT], rows.c[:KEPT], rows.s[:KEPT])
        for name, found in explained(learner, part, distance, place * KEPT).items():
            tables.setdefault(name, []).extend(found)
    return tables


def explained(
    learner: WorldLearner,
    rows: Rows,
    distance: float,
    first: int,
    changed: int | None = None,
    pull: float | None = None,
) -> dict[str, list[Row]]:
    """Rows of `extra_targets`, `extra_coordinates` and `extra_paths` for some targets (without seed and regime), numbered from `first`."""
    x = torch.from_numpy(rows.x).float()
    plane = Plane(learner)
    seen = plane(rows.x)
    fits = {arm: learner.explain(arm, x, changed, pull) for arm in FITTED}
    answers = {arm: _answered(learner, arm, x, fits) for arm in WORLD_ARMS}
    targets, coordinates, paths = [], [], []
    for i in range(len(rows)):
        for arm, (prediction, margin) in answers.items():
            targets.append(
                {
                    "target": first + i, "distance": float(distance), "label": int(rows.y[i]), "arm": arm,
                    "prediction": int(prediction[i]), "margin": float(margin[i]), "u": float(seen[i, 0]), "v": float(seen[i, 1]),
                }
            )  # fmt: skip
        for arm, fit in fits.items():
            coordinates += _coordinates(learner, first + i, i, arm, fit, rows)
            paths += _path(learner, first + i, i, arm, fit, plane, int(rows.y[i]))
    return {"extra_targets": targets, "extra_coordinates": coordinates, "extra_paths": paths}


def _answered(
    learner: WorldLearner, arm: str, x: torch.Tensor, fits: dict[str, Fit]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Class and margin of each target: by score for the two objectives, by probability for the classifier."""
    if arm in FITTED:
        best = (-fits[arm].scores).topk(2, dim=1)
        return best.indices[:, 0].numpy(), (best.values[:, 0] - best.values[:, 1]).double().numpy()
    if arm == NEAREST:
        return learner.answer(arm, x).numpy(), np.full(len(x), np.nan)
    with torch.enable_grad() if arm == TENT else torch.no_grad():
        logits = learner.tent(x) if arm == TENT else learner.model.classifier(x)
    assert arm in (SOURCE, TENT)
    best = logits.detach().softmax(dim=1).topk(2, dim=1)
    return best.indices[:, 0].numpy(), (best.values[:, 0] - best.values[:, 1]).double().numpy()


def _coordinates(learner: WorldLearner, target: int, i: int, arm: str, fit: Fit, rows: Rows) -> list[Row]:
    k = int(fit.prediction[i])
    return [
        {
            "target": target, "arm": arm, "coordinate": d, "x": float(rows.x[i, d]), "rebuilt": float(fit.rebuilt[i, k, d]),
            "left_out": bool(fit.left_out[i, k, d]), "affected": bool(learner.world.affected[d]),
        }
        for d in range(rows.x.shape[1])
    ]  # fmt: skip


def _path(
    learner: WorldLearner, target: int, i: int, arm: str, fit: Fit, plane: Plane, label: int
) -> list[Row]:
    """The way to the explanation by the predicted and by the true class."""
    rows: list[Row] = []
    for k in dict.fromkeys((int(fit.prediction[i]), label)):
        trail = fit.path[:, i, k]
        with torch.no_grad():
            made = learner.model.decode(torch.full((len(trail),), k), trail).double().numpy()
            beyond = learner.support.beyond(trail)
        for step, (u, v) in enumerate(plane(made)):
            rows.append(
                {
                    "target": target, "arm": arm, "class": k, "step": step, "u": float(u), "v": float(v),
                    "beyond": float(beyond[step]), "score": float(fit.scores[i, k]),
                }
            )  # fmt: skip
    return rows


def _data(worlds: Worlds) -> list[Row]:
    learner = next(iter(worlds.values()))
    counts = {"train": learner.source.y, "validation": learner.validation.y}
    return [
        {"class": k, "name": f"class {k}", "split": split, "rows": int((labels == k).sum())}
        for split, labels in counts.items()
        for k in range(learner.config.n_classes)
    ]
