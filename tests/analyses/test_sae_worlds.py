"""Pictures against the truth: redundancy, recovery by frequency, allocation of latents."""

import numpy as np
import pandas as pd
import pytest

from analyses import sae_worlds as worlds

D_GT, GROUP_SIZE, ALPHA = 100, 10, 1.5


def make_truth(seeds: int = 2, grouped: bool = True) -> pd.DataFrame:
    """Ten groups; latents ∝ frequency^ALPHA over groups; the rarest ten features have no latent."""
    group = np.arange(D_GT) // GROUP_SIZE
    frequency = 0.3 / (group + 1.0) if grouped else 0.3 / (1.0 + np.arange(D_GT))
    found = group < 9
    parts = [
        pd.DataFrame(
            {
                "seed": seed,
                "gt_feature": np.arange(D_GT),
                "gt_frequency": frequency,
                "gt_group": group if grouped else 0,
                "feature": np.where(found, np.arange(D_GT), np.nan),
                "cosine": np.where(found, -0.8, np.nan),
                "f1": np.where(found, 0.6, np.nan),
                "n_latents": 1000 * frequency**ALPHA,
            }
        )
        for seed in range(seeds)
    ]
    return pd.concat(parts, ignore_index=True)


def make_features(n: int = 1000, seeds: int = 2) -> pd.DataFrame:
    cosine = np.linspace(0, 1, n)
    parts = [
        {"seed": seed, "feature": np.arange(n), "gt_feature": 0, "gt_cosine": cosine, "frequency": 0.1}
        for seed in range(seeds)
    ]
    return pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)


def test_decay_falls_and_marks_the_number_of_true_features() -> None:
    figure = worlds.cosine_decay(make_features(), 400)
    assert [line.name for line in figure.data] == ["seed 0", "seed 1"]
    line = figure.data[0]
    assert len(line.x) == 600 and line.x[0] == 1 and line.x[-1] == 1000
    assert np.all(np.diff(line.y) <= 0) and line.customdata[0][1] == 999
    assert figure.layout.shapes[0].x0 == 400 and "0.601 at rank 400" in figure.layout.title.subtitle.text


def test_decay_of_fewer_latents_than_true_features_has_no_line_to_mark() -> None:
    figure = worlds.cosine_decay(make_features(50), 400)
    assert not figure.layout.shapes and "50 learned for 400" in figure.layout.title.subtitle.text


def test_recovery_counts_unmatched_features_as_0() -> None:
    points, cosine, f1 = worlds.recovery_by_frequency(make_truth()).data
    assert len(points.x) == 2 * D_GT and min(points.y) == 0
    assert cosine.y[-1] == pytest.approx(0.8) and f1.y[-1] == pytest.approx(0.6)
    weights = [row[2] for row in cosine.customdata]
    assert sum(weights) == D_GT
    assert np.average(cosine.y, weights=weights) == pytest.approx(0.8 * 0.9)
    subtitle = worlds.recovery_by_frequency(make_truth()).layout.title.subtitle.text
    assert "10 unmatched as 0" in subtitle.replace("<br>", " ")


def test_recovery_where_all_features_fire_alike() -> None:
    figure = worlds.recovery_by_frequency(make_truth().assign(gt_frequency=0.1))
    assert len(figure.data[1].x) == 1 and list(figure.layout.xaxis.tickvals) == [0.1]


def test_allocation_finds_the_exponent_of_the_groups() -> None:
    figure = worlds.allocation_figure(make_truth())
    bars, fit = figure.data
    assert f"α = {ALPHA:.2f}" in figure.layout.title.subtitle.text
    np.testing.assert_allclose(bars.y, GROUP_SIZE * 1000 * (0.3 / np.arange(1, 11)) ** ALPHA)
    np.testing.assert_allclose(fit.y, bars.y)
    assert [row[0] for row in bars.customdata] == list(range(1, 11))


def test_one_group_becomes_ten_groups_by_rank() -> None:
    table = make_truth(grouped=False).sample(frac=1, random_state=0)
    bars = worlds.allocation_figure(table).data[0]
    assert len(bars.x) == 10 and all(row[4] == D_GT // 10 for row in bars.customdata)
    assert sum(bars.y) == pytest.approx(table["n_latents"].sum() / 2) and np.all(np.diff(bars.y) < 0)


def test_allocation_without_different_frequencies_has_no_exponent() -> None:
    figure = worlds.allocation_figure(make_truth().assign(gt_frequency=0.1, gt_group=0))
    assert len(figure.data) == 1 and "no exponent" in figure.layout.title.subtitle.text
    nothing = worlds.allocation_figure(make_truth().assign(n_latents=0))
    assert len(nothing.data) == 1 and "no exponent" in nothing.layout.title.subtitle.text


def test_no_truth_is_said_so() -> None:
    table = make_truth().head(0)
    lm = make_features(5).assign(gt_cosine=np.nan)
    for figure in (
        worlds.cosine_decay(lm, 10),
        worlds.recovery_by_frequency(table),
        worlds.allocation_figure(table),
    ):
        assert "unknown" in figure.layout.meta["alt"]
    assert worlds.truth_table(pd.DataFrame({"seed": [0], "gt_mcc_abs": [np.nan]})).empty


def test_truth_table_names_its_columns() -> None:
    saes = pd.DataFrame({"seed": [0, 1], "gt_mcc_abs": [0.9, 0.8], "gt_f1": [0.5, 0.6], "fvu": 0.1})
    table = worlds.truth_table(saes)
    assert list(table.columns) == ["Seed", "GT-MCC (|cosine|)", "F1 (mean over true features)"]


def test_every_figure_has_axes_alternative_text_and_customdata() -> None:
    for figure in (
        worlds.cosine_decay(make_features(), 400),
        worlds.recovery_by_frequency(make_truth()),
        worlds.allocation_figure(make_truth()),
    ):
        assert figure.layout.xaxis.title.text and figure.layout.yaxis.title.text
        assert len(figure.layout.meta["alt"]) > 30
        assert all(len(trace.customdata) == len(trace.x) for trace in figure.data)
