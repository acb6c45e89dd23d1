"""Numbers and pictures of recovery: agreement of seeds, its chance, matrices, methods and the sparsity path."""

import numpy as np
import pandas as pd
import pytest

from analyses.multimodal_causal import (
    agreement,
    blocks,
    chance_of_agreement,
    methods_of,
    over_seeds,
    seed_agreement,
)
from analyses.recovery import (
    correlation_heatmap,
    matrix_of,
    pair_scatter,
    score_dots,
    score_rows,
    sparsity_path,
)

ROWS = 400


def tables(turn: np.ndarray | None = None, seeds: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`latent_values` and `latents` of two blocks of three; every seed permuted and signed, the last one turned."""
    true = np.random.default_rng(0).standard_normal((ROWS, 6))
    values, latents = [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed + 1)
        for block, modality in enumerate("ab"):
            part = true[:, 3 * block : 3 * block + 3]
            if turn is not None and seed == seeds - 1:
                part = part @ turn
            order = rng.permutation(3)
            for place, column in enumerate(order):
                name = f"{modality}{place + 1}"
                latents.append((seed, "two stages", name, modality, name))
                signed = part[:, column] * rng.choice([-1, 1])
                values += [(seed, "two stages", name, row, value) for row, value in enumerate(signed)]
    return (
        pd.DataFrame(values, columns=["seed", "method", "latent", "row", "value"]),
        pd.DataFrame(latents, columns=["seed", "method", "latent", "modality", "name"]),
    )


class TestAgreement:
    def test_order_and_sign_do_not_matter(self) -> None:
        matrix = seed_agreement(*tables(), "two stages").to_numpy()
        assert matrix[~np.eye(3, dtype=bool)] == pytest.approx(1.0)
        assert np.isnan(np.diag(matrix)).all()

    def test_a_turned_block_does_not_agree(self) -> None:
        turn, _ = np.linalg.qr(np.random.default_rng(5).standard_normal((3, 3)))
        matrix = seed_agreement(*tables(turn), "two stages")
        assert matrix.loc[0, 2] < 0.95 < matrix.loc[0, 1]

    def test_chance_of_unrelated_and_of_turned_blocks(self) -> None:
        unrelated, turned = chance_of_agreement(*tables(), "two stages")
        assert unrelated < 0.15
        assert turned == pytest.approx(0.828, abs=0.01)

    def test_one_seed_has_no_agreement(self) -> None:
        values, latents = tables(seeds=1)
        assert np.isnan(chance_of_agreement(values, latents, "two stages")).all()
        assert np.isnan(agreement(blocks(values, latents, 0, "two stages"), {}))

    def test_interval_needs_two_seeds(self) -> None:
        frame = pd.DataFrame({"x": [0.5, 0.7]})
        value, low, high = over_seeds(frame, "x")
        assert low is not None and high is not None and low < value < high
        assert over_seeds(frame[:1], "x") == (0.5, None, None)
        assert over_seeds(frame[:0], "x") == (None, None, None)

    def test_ours_stands_first(self) -> None:
        frame = pd.DataFrame({"method": ["truth", "beta-VAE", "mine", "two stages"]})
        assert methods_of(frame) == ["two stages", "beta-VAE", "mine"]


def scores() -> pd.DataFrame:
    rows = [
        (seed, method, "all", mcc + seed / 100, 0.2, 0.83, r2, 0.01)
        for seed in range(3)
        for method, mcc, r2 in (("two stages", 0.95, 0.99), ("beta-VAE", 0.7, np.nan))
    ]
    columns = [
        "seed",
        "method",
        "modality",
        "mcc_spearman",
        "mcc_null",
        "mcc_rotation_floor",
        "r2_true_from_learnt",
        "r2_null",
    ]
    return pd.DataFrame(rows, columns=columns)


class TestFigures:
    def test_matrix_is_ordered_and_absolute(self) -> None:
        rows = pd.DataFrame(
            [("x", "a", -0.9), ("x", "b", 0.1), ("y", "a", 0.2), ("y", "b", 0.8)],
            columns=["latent", "true_latent", "pearson"],
        )
        matrix = matrix_of(rows, ["a", "b"], ["y", "x"], "pearson")
        assert matrix.to_numpy().tolist() == [[0.2, 0.9], [0.8, 0.1]]

    def test_cells_can_be_chosen_and_modalities_are_parted(self) -> None:
        matrix = pd.DataFrame([[0.9, 0.1], [0.2, 0.8]], index=["a1", "<b>"], columns=["x", "y"])
        figure = correlation_heatmap(
            matrix,
            ["a", "b"],
            ["a", "b"],
            row_words="True",
            column_words="Learnt",
            title="",
            chosen=("a1", "y"),
        )
        cells = next(trace for trace in figure.data if trace.type == "scatter")
        assert [list(cell) for cell in cells.customdata][1] == ["a1", "y", 0.1]
        assert len(figure.layout.shapes) == 3
        assert "&lt;b&gt;" in figure.layout.yaxis.ticktext
        assert len(figure.layout.annotations) == 4

    def test_scores_have_mean_interval_and_null(self) -> None:
        row = score_rows(scores(), ["two stages"], ["mcc"]).iloc[0]
        assert (
            row["mean"] == pytest.approx(0.96)
            and row["low"] < 0.96 < row["high"]
            and row["null"] == pytest.approx(0.2)
        )

    def test_dots_leave_out_what_was_not_measured(self) -> None:
        figure = score_dots(scores(), ["two stages", "beta-VAE"])
        means = [trace for trace in figure.data if trace.name == "mean"]
        assert [list(trace.y) for trace in means] == [["two stages", "beta-VAE"], ["two stages"]]
        assert any(trace.name == "random rotation 0.830" for trace in figure.data)

    def test_scatter_says_its_correlations(self) -> None:
        x = np.linspace(-2, 2, 101)
        figure = pair_scatter(x, np.exp(x), "a<b", "c")
        assert "Spearman 1.000" in figure.layout.title.subtitle.text
        assert figure.layout.xaxis.title.text == "a&lt;b"
        assert "no values" in pair_scatter([], [], "a", "b").layout.meta["alt"]

    def test_path_leaves_mcc_out_where_unknown_and_rings_the_chosen(self) -> None:
        path = pd.DataFrame(
            [(0, 0.1, -5.0, np.nan, 4, True), (0, 0.4, -6.0, np.nan, 2, False)],
            columns=["seed", "lambda_sparsity", "held_out_log_likelihood", "mcc", "n_edges", "chosen"],
        )
        figure = sparsity_path(path)
        assert [axis.title.text for axis in (figure.layout.yaxis, figure.layout.yaxis2)] == [
            "Held-out log-likelihood",
            "Links",
        ]
        assert list(figure.data[0].marker.symbol) == ["circle-open-dot", "circle"]
