"""What a trained run leaves: tables, and the weights of every policy."""

from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from analyses.sapo import order_agreement
from analyses.streams import stream_seed
from engine import schema
from engine.run import Run
from engine.studies.sapo.base_models import weights_name
from engine.studies.sapo.evaluation import Evaluation
from engine.studies.sapo.learner import Learner

Row = dict[str, Any]
TABLES = (
    "sapo_arms",
    "sapo_curve",
    "sapo_steps",
    "sapo_rollouts",
    "sapo_tokens",
    "sapo_branches",
    "sapo_spans",
    "sapo_agreement",
)


def write_results(run: Run, learners: list[Learner], evaluations: dict[tuple[int, str], Evaluation]) -> None:
    """Write every table in the order of seeds and arms, and the weights under tensors/."""
    rows: dict[str, list[Row]] = {name: [] for name in TABLES}
    for learner in learners:
        for arm in learner.stages:
            found = evaluations[learner.seed, arm].rows
            for name, part in found.items():
                rows[name] += part
            rows["sapo_arms"][-1] |= _training(learner, arm)
            for name, part in learner.last.get(arm, {}).items():
                rows[name] += [{"seed": learner.seed, "arm": arm, **row} for row in part]
            run.write_tensors(weights_name(learner.seed, arm), learner.ends[arm])
        rows["sapo_curve"] += learner.curve
    rows["sapo_agreement"] = _agreement(run, learners, evaluations)
    write_rows(run, rows)


def write_rows(run: Run, rows: dict[str, list[Row]]) -> None:
    """Write rows as Parquet in the declared types."""
    for name, part in rows.items():
        columns = schema.run_columns(name)
        run.write_table(name, pa.Table.from_pylist(part, schema=columns))


def _training(learner: Learner, arm: str) -> Row:
    """How a policy came about: its model, iterations, forward passes of its rollouts, and the share of groups that taught it."""
    shares = [row["informative"] for row in learner.curve if row["arm"] == arm and row["split"] == "training"]
    return {
        "iterations": learner.iterations[arm],
        "passes": learner.passes.get(arm, 0),
        "group_size": learner.sizes.get(arm),
        "informative": float(np.mean(shares)) if shares else None,
        "source": learner.policies.source,
    }


def _agreement(
    run: Run, learners: list[Learner], evaluations: dict[tuple[int, str], Evaluation]
) -> list[Row]:
    """Commit orders of every two seeds, arm by arm."""
    rows = []
    for a, b in combinations(learners, 2):
        for arm in a.stages:
            one, other = evaluations[a.seed, arm], evaluations[b.seed, arm]
            rng = np.random.default_rng(stream_seed("sapo order null", run.data_seed, a.seed, b.seed))
            found = order_agreement(one.order, other.order, rng)
            rows.append(
                {
                    "arm": arm,
                    "seed_a": a.seed,
                    "seed_b": b.seed,
                    "n": found.n,
                    "spearman": found.spearman,
                    "kendall": found.kendall,
                    "same_tokens": float((one.tokens == other.tokens).mean()),
                    "null_spearman": found.null_spearman,
                    "null_high": found.null_high,
                }
            )
    return rows
