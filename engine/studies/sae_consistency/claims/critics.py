"""What later work holds against or beside the paper, each tested the same way."""

import numpy as np

from engine.studies.base import NOT_TESTED, Claim, Measurement
from engine.studies.measuring import Tables, beyond_tour, measurement, over_runs, over_seeds, pair_matrix
from engine.studies.sae_consistency.claims.language_model import in_sweep, standard, sweep_runs
from engine.studies.sae_consistency.claims.measuring import (
    common_l0,
    curve,
    n_seeds,
    null_of,
    pair_frame,
    pairs_value,
    per_seed,
)


def measure_relu_above_topk(tables: list[Tables]) -> Measurement:
    """Share of features with a partner ≥ 0.7, ReLU less TopK, mean over three L0 both reach, pair by pair."""
    topk, relu = tables[:4], tables[4:]
    l0 = common_l0(topk, relu)
    if not len(l0):
        return NOT_TESTED
    column = "shared_share"
    ours, theirs = (np.mean(curve(runs, column, l0), axis=0) for runs in (topk, relu))
    frame = pair_frame(topk[0], "alive").sort_values(["seed_a", "seed_b"])
    value = over_runs(pair_matrix(frame["seed_a"], frame["seed_b"], theirs - ours))
    return measurement(value, n_seeds(topk[0]), 0.0, float(ours.mean()), value[1] > 0)


def measure_shared_start(tables: list[Tables]) -> Measurement:
    """PW-MCC of SAEs that share their random start, against the same recipe from independent starts."""
    shared, independent = tables
    value, baseline = pairs_value(shared), pairs_value(independent)
    return measurement(value, n_seeds(shared), null_of(shared), baseline[0], value[1] > baseline[2] + 0.1)


def _ablated(run: Tables, group: str, column: str) -> np.ndarray | None:
    rows = run["ablations"].to_pandas()
    rows = rows[rows["ablated"] == group].sort_values("seed")
    values = rows[column].to_numpy(dtype=np.float64)
    return values if len(values) and np.isfinite(values).all() else None


def _sizes(run: Tables, group: str) -> list[int]:
    rows = run["ablations"].to_pandas()
    return rows[rows["ablated"] == group].sort_values("seed")["n_features"].tolist()


def measure_stable_carry_most(tables: list[Tables]) -> Measurement:
    """FVU change when the stable features are ablated; baseline: when the unstable ones are."""
    (run,) = tables
    stable, unstable = (_ablated(run, group, "fvu_change") for group in ("stable", "unstable"))
    if stable is None or unstable is None:
        return NOT_TESTED
    value, other = over_seeds(stable), over_seeds(unstable)
    return measurement(value, n_seeds(run), 0.0, other[0], value[1] > other[2])


def measure_stable_weigh_more(tables: list[Tables]) -> Measurement:
    """KL when the stable features are ablated less that of as many features of like frequency."""
    (run,) = tables
    stable, matched, random = (_ablated(run, g, "kl") for g in ("stable", "frequency-matched", "random"))
    if stable is None or matched is None or random is None or _sizes(run, "stable") != _sizes(run, "random"):
        return NOT_TESTED
    value = over_seeds(stable - matched)
    return measurement(value, n_seeds(run), 0.0, float((random - matched).mean()), value[1] > 0)


def measure_controls(tables: list[Tables]) -> Measurement:
    """Variance explained by the frozen-decoder control over that of the trained SAE at the same k, the mean of four k."""
    trained, frozen, random = tables[:4], tables[4:8], tables[8]
    shares = [
        (1 - per_seed(b, "fvu")) / (1 - per_seed(a, "fvu")) for a, b in zip(trained, frozen, strict=True)
    ]
    value = over_seeds(np.mean(shares, axis=0))
    untrained = float(np.mean((1 - per_seed(random, "fvu")) / (1 - per_seed(trained[1], "fvu"))))
    return measurement(value, n_seeds(trained[0]), 0.0, untrained, value[1] >= 0.9)


def measure_controls_agree(tables: list[Tables]) -> Measurement:
    """PW-MCC of the frozen-decoder control: it cannot exceed chance, whatever its reconstruction."""
    frozen, trained = tables[:4], tables[4:]
    runs = [pairs_value(run) for run in frozen]
    mean, low, high = (float(np.mean([run[i] for run in runs])) for i in range(3))
    baseline = float(np.mean([pairs_value(run)[0] for run in trained]))
    chance = float(np.mean([null_of(run) for run in frozen]))
    return measurement((mean, low, high), n_seeds(frozen[0]), chance, baseline, high <= chance + 0.02)


FROZEN = sweep_runs("topk", control="frozen_decoder")
RANDOM = {"preset": "sweep", "config": {"control": "random"}}
STARTS = [{"preset": "sweep", "config": {"seed_varies": varies}} for varies in ("order", "both")]

CRITICS_CLAIMS = (
    Claim(
        name="topk_less_stable_than_relu_at_equal_l0",
        sentence="At equal L0, TopK SAEs share fewer features across seeds than ReLU + L1 SAEs: share with a partner of |cosine| ≥ 0.7, ReLU less TopK.",
        paper="TopK more seed-dependent than ReLU + L1 even at equal sparsity (Paulo & Belrose, 2501.16615)",
        rule="Shown when the 95 % bootstrap interval over runs of the difference, interpolated at three L0 both reach, lies above 0.",
        baseline_name="the TopK SAEs' share",
        runs=in_sweep("topk", "relu"),
        measure=measure_relu_above_topk,
    ),
    Claim(
        name="stability_from_a_shared_start",
        sentence="SAEs that start from the same dictionary look stable without having learnt more: PW-MCC of a shared random start under different data orders.",
        paper="archetypal SAEs owe their stability to one deterministic start (Brzozowski & Chung, 2606.02061)",
        rule="Shown when the interval lies 0.1 above that of independent starts and orders, same recipe.",
        baseline_name="independent starts and orders",
        runs=beyond_tour(*STARTS),
        measure=measure_shared_start,
    ),
    Claim(
        name="stable_features_carry_most",
        sentence="Features that come back in other seeds carry most of the reconstruction: rise of FVU when the stable ones are ablated.",
        paper="stable features carry most of the signal (Gerasimov et al., 2606.12138)",
        rule="Shown when the 95 % interval over seeds lies above that of ablating the unstable ones.",
        baseline_name="ablating the unstable features",
        runs=standard,
        measure=measure_stable_carry_most,
    ),
    Claim(
        name="stable_features_weigh_more",
        sentence="They matter more to the language model than as many unstable features of like frequency: difference in KL (nats per token).",
        paper="unstable features are low-frequency surface triggers (2606.12138)",
        rule="Shown when the 95 % interval over seeds of the difference lies above 0; tested where the stable features are the fewer.",
        baseline_name="as many random features, less those of like frequency",
        runs=standard,
        measure=measure_stable_weigh_more,
    ),
    Claim(
        name="frozen_controls_nearly_match",
        sentence="SAEs with a frozen random decoder nearly match trained ones: variance they explain, as a share of the trained SAEs'.",
        paper="0.87 against 0.90 in interpretability, 0.69 against 0.72 in probing (Korznikov et al., 2602.14111); those two are not tested here",
        rule="Shown when the 95 % interval over seeds lies above 0.9.",
        baseline_name="never trained at all, k 32",
        runs=beyond_tour(*sweep_runs("topk"), *FROZEN, RANDOM),
        measure=measure_controls,
    ),
    Claim(
        name="frozen_controls_do_not_agree",
        sentence="PW-MCC tells the frozen control from trained SAEs: its PW-MCC stays at chance.",
        paper="not in the paper; a check of the metric",
        rule="Shown when the upper end of the interval is within 0.02 of chance.",
        baseline_name="trained TopK SAEs, mean over the same k",
        runs=beyond_tour(*FROZEN, *sweep_runs("topk")),
        measure=measure_controls_agree,
    ),
)
