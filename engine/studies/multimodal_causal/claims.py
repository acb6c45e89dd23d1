"""The claims of arXiv 2411.06518, and the rules that decide them here."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from analyses.matching import mean_interval
from engine.studies.base import NOT_TESTED, Claim, Measurement
from engine.studies.measuring import Floats, Tables, beyond_tour, measured_whole
from engine.studies.multimodal_causal import textbook
from engine.studies.multimodal_causal.names import (
    BETA_VAE,
    CONTRASTIVE,
    NO_SPARSITY,
    OURS,
    PC,
    STAGE_ONE,
)

WORLD = 11  # the stages and the rule for λ were developed on worlds 0 to 2
MARGIN = 0.05
PAIR, APART = ("a1", "a2"), "a3"
PAIR_FLOOR = 2 * 2**0.5 / np.pi


def scores(run: Tables, column: str, method: str = OURS) -> Floats:
    """A column of `latent_scores` over all modalities, one value a seed, in the order of the seeds."""
    frame = run["latent_scores"].to_pandas()
    chosen = frame[(frame["method"] == method) & (frame["modality"] == "all")].sort_values("seed")
    return chosen[column].to_numpy(dtype=np.float64)


def graph_scores(run: Tables, column: str, method: str = OURS) -> Floats:
    """A column of `graph_scores`, one value a seed."""
    frame = run["graph_scores"].to_pandas()
    return frame[frame["method"] == method].sort_values("seed")[column].to_numpy(dtype=np.float64)


def floor(run: Tables) -> float:
    """MCC of a random rotation of each block, mean over blocks."""
    return float(scores(run, "mcc_rotation_floor").mean())


def measure_components(tables: list[Tables]) -> Measurement:
    (run,) = tables
    chance, other = floor(run), scores(run, "mcc_spearman", STAGE_ONE)
    return measured_whole(
        scores(run, "mcc_spearman"), lambda low, _: low >= max(0.95, chance), chance, float(other.mean())
    )


def measure_blocks(tables: list[Tables]) -> Measurement:
    (run,) = tables
    chance = float(scores(run, "r2_null").mean())
    other = scores(run, "r2_true_from_learnt", BETA_VAE)
    return measured_whole(
        scores(run, "r2_true_from_learnt"), lambda low, _: low >= 0.95, chance, float(other.mean())
    )


def gain_over(method: str) -> Callable[[list[Tables]], Measurement]:
    """MCC of ours less that of another method, seed by seed."""

    def measure(tables: list[Tables]) -> Measurement:
        (run,) = tables
        other = scores(run, "mcc_spearman", method)
        gain = scores(run, "mcc_spearman") - other
        return measured_whole(gain, lambda low, _: low > 0, 0.0, float(other.mean()))

    return measure


def measure_stage_one(tables: list[Tables]) -> Measurement:
    (run,) = tables
    chance, ours = floor(run), scores(run, "mcc_spearman")
    return measured_whole(
        scores(run, "mcc_spearman", STAGE_ONE),
        lambda _, high: high < chance + MARGIN,
        chance,
        float(ours.mean()),
    )


def measure_edges(tables: list[Tables]) -> Measurement:
    (run,) = tables
    chance = float(graph_scores(run, "edge_f1_null").mean())
    other = float(graph_scores(run, "edge_f1", NO_SPARSITY).mean())
    return measured_whole(
        graph_scores(run, "edge_f1"), lambda low, _: low >= 0.9 and low > max(chance, other), chance, other
    )


def measure_dense(tables: list[Tables]) -> Measurement:
    """MCC on the dense world; the rule also asks that its blocks are found."""
    sparse, dense = tables
    chance = floor(dense)
    blocks = mean_interval(scores(dense, "r2_true_from_learnt"))
    return measured_whole(
        scores(dense, "mcc_spearman"),
        lambda _, high: high < chance + MARGIN and blocks[0] >= 0.9,
        chance,
        float(scores(sparse, "mcc_spearman").mean()),
    )


def measure_order(tables: list[Tables]) -> Measurement:
    """MCC on the sparse world less that on the dense one, seed by seed."""
    sparse, dense = (scores(run, "mcc_spearman") for run in tables)
    return measured_whole(sparse - dense, lambda low, _: low > 0, 0.0, float(dense.mean()))


def measure_inseparable(tables: list[Tables]) -> Measurement:
    """Mean correlation of the inseparable pair with its matches; beside it that of the component with links of its own."""
    (run,) = tables
    frame = run["latents"].to_pandas()
    frame = frame[frame["method"] == OURS]
    pair = frame[frame["true_latent"].isin(PAIR)].groupby("seed")["correlation"].mean().to_numpy()
    apart = frame[frame["true_latent"] == APART].sort_values("seed")["correlation"].to_numpy()
    if len(apart) < 2:
        return NOT_TESTED
    return measured_whole(
        pair,
        lambda low, _: low <= PAIR_FLOOR and mean_interval(apart)[0] >= 0.95,
        PAIR_FLOOR,
        float(apart.mean()),
    )


def measure_digits(tables: list[Tables]) -> Measurement:
    (run,) = tables
    ours, other = (scores(run, "r2_true_from_learnt", method) for method in (OURS, BETA_VAE))
    chance = float(scores(run, "r2_null").mean())
    return measured_whole(
        ours, lambda low, _: low > chance and mean_interval(ours - other)[0] > 0, chance, float(other.mean())
    )


def measure_textbook(tables: list[Tables]) -> Measurement:
    """Share of the textbook associations, seed by seed; chance: that of all other pairs of groups; baseline: PC's."""
    (run,) = tables
    edges, loadings, latents = (
        run[name].to_pandas() for name in ("latent_edges", "latent_loadings", "latents")
    )
    pc_latents = set(latents.loc[latents["method"] == PC, "latent"])
    of_pc = loadings["latent"].isin(pc_latents)
    found = [
        textbook.textbook_share(_of(edges, seed), loadings[~of_pc & (loadings["seed"] == seed)])
        for seed in sorted(loadings["seed"].unique())
    ]
    pc, _ = textbook.textbook_share(edges[edges["method"] == PC], loadings[of_pc])
    values = np.array([share for share, _ in found])
    others = np.array([other for _, other in found])
    return measured_whole(
        values, lambda low, _: low >= pc and mean_interval(values - others)[0] > 0, float(others.mean()), pc
    )


def _of(edges: pd.DataFrame, seed: int) -> pd.DataFrame:
    return edges[(edges["method"] == OURS) & (edges["seed"] == seed)]


def world(*graphs: str, in_tour: bool = True, **config: Any) -> Callable[[str], list[dict[str, Any]]]:
    """Runs of the standard preset (or the tour's where it has time for them, or the paper's) on worlds with these graphs."""

    def runs(preset: str) -> list[dict[str, Any]]:
        if preset == "tour" and not in_tour:
            return []
        base = preset if preset in ("tour", "paper") else "standard"
        fixed = {"world_seed": WORLD, **config}
        return [{"preset": base, "config": {"graph": graph, **fixed}} for graph in graphs]

    return runs


def _sparse_and_dense(preset: str) -> list[dict[str, Any]]:
    return [*world("sparse")(preset), *world("dense", baselines=False)(preset)]


def _claim(name: str, sentence: str, rule: str, baseline: str, runs: Any, measure: Any, **more: Any) -> Claim:
    paper = more.pop("paper", "claimed by theorem and simulation; figures not read (2411.06518)")
    return Claim(name, sentence, paper, rule, baseline, runs, measure, min_seeds=more.pop("min_seeds", 5))


CLAIMS = (
    _claim(
        "sparse_components_identified",
        "With a sparse graph between modalities every latent is found up to a map of its own: MCC (Spearman).",
        "Shown when the lower end of the 95 % interval over seeds is .95 or more and above the rotation floor.",
        "stage 1 alone",
        world("sparse"),
        measure_components,
    ),
    _claim(
        "two_dimensional_components_identified",
        "The same with blocks of two latents, whose rotation floor is .90.",
        "Shown when the lower end of the 95 % interval over seeds is .95 or more and above the rotation floor.",
        "stage 1 alone",
        world("sparse", in_tour=False, n_latents=2, baselines=False),
        measure_components,
    ),
    _claim(
        "blocks_identified",
        "Every modality's block is found up to an invertible map: R² of the true block from the learnt one.",
        "Shown when the lower end of the 95 % interval over seeds is .95 or more.",
        "β-VAE",
        world("sparse"),
        measure_blocks,
    ),
    _claim(
        "sparsity_is_needed",
        "The same model without sparsity finds the components less well: gain in MCC from sparsity.",
        "Shown when the 95 % interval over seeds of the paired difference lies above 0.",
        "no sparsity, its MCC",
        world("sparse"),
        gain_over(NO_SPARSITY),
    ),
    _claim(
        "above_beta_vae",
        "A β-VAE of each modality finds the components less well: gain in MCC over it.",
        "Shown when the 95 % interval over seeds of the paired difference lies above 0.",
        "β-VAE, its MCC",
        world("sparse"),
        gain_over(BETA_VAE),
    ),
    _claim(
        "above_contrastive",
        "So does contrastive learning of one embedding shared by all modalities: gain in MCC over it.",
        "Shown when the 95 % interval over seeds of the paired difference lies above 0.",
        "contrastive, its MCC",
        world("sparse"),
        gain_over(CONTRASTIVE),
    ),
    _claim(
        "stage_one_at_floor",
        "Stage 1 alone finds blocks but no components: its MCC stays at that of a random rotation.",
        f"Shown when the upper end of the 95 % interval over seeds is less than {MARGIN} above the rotation floor.",
        "both stages",
        world("sparse"),
        measure_stage_one,
    ),
    _claim(
        "edges_found",
        "The graph over the learnt latents is the true one: F1 of directed edges.",
        "Shown when the lower end of the 95 % interval over seeds is .9 or more and above chance and the baseline.",
        "no sparsity",
        world("sparse"),
        measure_edges,
    ),
    _claim(
        "dense_allows_only_blocks",
        "With every edge between modalities present only blocks can be found: MCC on the dense world.",
        f"Shown when the interval's upper end is less than {MARGIN} above the rotation floor and that of R² lies above .9.",
        "the sparse world",
        _sparse_and_dense,
        measure_dense,
    ),
    _claim(
        "sparser_is_better",
        "Components are found the better the sparser the graph: MCC on the sparse world less that on the dense one.",
        "Shown when the 95 % interval over seeds lies above 0.",
        "the dense world's MCC",
        _sparse_and_dense,
        measure_order,
    ),
    _claim(
        "inseparable_stays_unseparated",
        "Two latents with the same links to other modalities stay mixed: mean correlation of the pair with its matches.",
        "Shown when the lower end of the interval is not above the floor of a rotated pair, while that of the component "
        "with links of its own is .95 or more.",
        "the component with links of its own",
        world("inseparable", in_tour=False, n_latents=3, baselines=False),
        measure_inseparable,
    ),
    _claim(
        "digits_blocks",
        "From images of digits the colour, the rotation and which digit are found: R² of the true block from the learnt one.",
        "Shown when the 95 % interval over seeds lies above chance and that of the paired gain over the β-VAE above 0.",
        "β-VAE",
        beyond_tour({"preset": "digits", "config": {}}),
        measure_digits,
    ),
    _claim(
        "textbook_associations",
        "On NHANES 2017–2018 the graph over learnt latents shows associations that textbooks list: share of nine.",
        f"{textbook.RULE} Shown when the 95 % interval over seeds is not below the share PC finds in the same rows and "
        "lies above the share of all other pairs of groups.",
        "PC on principal components",
        beyond_tour({"preset": "nhanes", "config": {}}),
        measure_textbook,
        paper="phenotypes discussed against the medical literature; no truth is known",
    ),
)
