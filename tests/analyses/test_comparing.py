"""Figures per seed, tests and LaTeX of compared runs, against scipy and values worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analyses.comparing import (
    config_differences,
    differences,
    dots,
    figures_per_seed,
    holm,
    metric_table,
    star_note,
    summary,
)
from analyses.latex import latex_table


def rows(values: list[float], seeds: list[int], figure: str = "a") -> pd.DataFrame:
    return pd.DataFrame({"figure": figure, "seed": seeds, "value": values})


def test_last_logged_value_of_every_name_and_seed() -> None:
    table = pd.DataFrame(
        {"step": [2, 1, 1, 5], "seed": [0, 0, 1, None], "name": ["loss"] * 4, "value": [0.5, 1.0, 0.7, 9.0]}
    )
    found = figures_per_seed("metrics", table)
    assert found.sort_values("seed")["value"].tolist() == [0.5, 0.7]


def test_a_diverged_metric_shows_what_was_logged_last() -> None:
    table = pd.DataFrame({"step": [1, 2, 2], "seed": [0, 0, 1], "name": "loss", "value": [0.5, np.nan, 0.7]})
    found = figures_per_seed("metrics", table)
    assert np.isnan(found["value"].iloc[0]) and found["value"].iloc[1] == 0.7
    row = summary({"A": found}).iloc[0]
    assert np.isnan(row["mean"]) and np.isnan(row["low"]) and row["seeds"] == 2


def test_a_table_of_arms_gives_a_figure_for_each() -> None:
    table = pd.DataFrame(
        {"seed": [0, 0, 1, 1], "arm": ["x", "y"] * 2, "n": [3, 3, 3, 3], "exact": [0.1, 0.2, 0.3, np.nan]}
    )
    found = figures_per_seed("arms", table)
    assert set(found["figure"]) == {"arms: x · exact", "arms: y · exact"}
    assert len(found) == 3


def test_tables_that_are_not_per_seed_give_none() -> None:
    several = pd.DataFrame({"seed": [0, 0], "value": [1.0, 2.0]})
    many = pd.DataFrame({"seed": [0] * 20, "name": [str(i) for i in range(20)], "value": np.ones(20)})
    assert figures_per_seed("x", several).empty and figures_per_seed("x", many).empty
    assert figures_per_seed("x", pd.DataFrame({"other": [1.0]})).empty


def test_shared_seeds_are_paired_and_others_compared_by_welch() -> None:
    a, b, c = [0.1, 0.4, 0.5], [0.3, 0.5, 0.8], [0.9, 0.7, 0.95]
    found = differences(
        {"A": rows(a, [0, 1, 2]), "B": rows(b, [2, 1, 0]), "C": rows(c, [7, 8, 9])}, "A"
    ).set_index("run")
    gaps = np.array(b)[::-1] - a
    assert found.loc["B", "difference"] == pytest.approx(gaps.mean())
    assert found.loc["B", "p"] == pytest.approx(stats.ttest_rel(b[::-1], a).pvalue)
    half = stats.t.ppf(0.975, 2) * gaps.std(ddof=1) / np.sqrt(3)
    assert found.loc["B", "high"] == pytest.approx(gaps.mean() + half)
    assert found.loc["C", "test"] == "Welch"
    assert found.loc["C", "p"] == pytest.approx(stats.ttest_ind(c, a, equal_var=False).pvalue)


def test_one_seed_or_no_spread_is_not_tested_into_significance() -> None:
    one = differences({"A": rows([0.1], [0]), "B": rows([0.5], [0])}, "A").iloc[0]
    assert one["difference"] == pytest.approx(0.4) and np.isnan(one["p"]) and np.isnan(one["low"])
    same = differences({"A": rows([0.1, 0.2], [0, 1]), "B": rows([0.1, 0.2], [0, 1])}, "A").iloc[0]
    assert same["p"] == 1 and same["difference"] == 0 and np.isnan(same["low"])


@pytest.mark.parametrize("seeds", [[0, 1, 2], [7, 8, 9]])
@pytest.mark.parametrize("values", [[0.5, np.nan, 0.7], [0.5, np.inf, 0.7]])
@pytest.mark.parametrize("known", [[0.1, 0.2, 0.4], [0.1, np.inf, 0.4]])
def test_a_value_that_is_not_finite_is_not_tested(
    seeds: list[int], values: list[float], known: list[float]
) -> None:
    found = {"A": rows(known, [0, 1, 2]), "B": rows(values, seeds)}
    row = differences(found, "A").iloc[0]
    assert row[["low", "high", "p", "p_holm"]].isna().all()
    assert "*" not in metric_table(summary(found), differences(found, "A"), ["a"]).iloc[0]["B"]


@pytest.mark.parametrize(
    ("first", "second", "seeds"),
    [
        ([0.5, 0.5], [0.75, 0.75], [0, 1]),
        ([0.1, 0.35, 0.2], [0.35, 0.6, 0.45], [0, 1, 2]),
        ([0.1, 0.1, 0.1], [0.3, 0.3, 0.3], [7, 8, 9]),
    ],
)
def test_equal_gaps_leave_nothing_to_test(first: list[float], second: list[float], seeds: list[int]) -> None:
    row = differences({"A": rows(first, [0, 1, 2][: len(first)]), "B": rows(second, seeds)}, "A").iloc[0]
    assert row["difference"] == pytest.approx(second[0] - first[0])
    assert row[["low", "high", "p", "p_holm"]].isna().all()


def test_rows_without_p_take_no_part_in_the_correction() -> None:
    a, b = [0.1, 0.4, 0.5], [0.3, 0.5, 0.8]
    seeds = [0, 1, 2]
    lost = rows([np.nan, 1.0, 1.0], seeds, "lost")
    found = differences({"A": pd.concat([rows(a, seeds), lost]), "B": pd.concat([rows(b, seeds), lost])}, "A")
    alone = differences({"A": rows(a, seeds), "B": rows(b, seeds)}, "A")
    assert found["p_holm"].iloc[0] == alone["p_holm"].iloc[0] == alone["p"].iloc[0]


def test_the_note_on_stars_names_the_tests_used() -> None:
    a, b, c = rows([0.1, 0.4, 0.5], [0, 1, 2]), rows([0.3, 0.5, 0.8], [0, 1, 2]), rows([0.9, 0.7], [7, 8])
    notes = [
        star_note(differences(found, "A"), "A")
        for found in ({"A": a, "B": b}, {"A": a, "C": c}, {"A": a, "B": b, "C": c})
    ]
    assert notes[0] == "* differs from A at 5 % (paired t test, Holm)."
    assert notes[1] == "* differs from A at 5 % (Welch's t test, Holm)."
    assert notes[2] == "* differs from A at 5 % (paired t test or Welch's t test, Holm)."
    assert star_note(differences({"A": a}, "A"), "A") == ""
    assert star_note(differences({"A": a, "B": rows([0.3], [0])}, "A"), "A") == ""


def test_holm_as_worked_out_by_hand() -> None:
    corrected = holm(np.array([0.01, 0.04, np.nan, 0.03]))
    assert corrected[[0, 1, 3]] == pytest.approx([0.03, 0.06, 0.06]) and np.isnan(corrected[2])


def test_only_fields_that_differ() -> None:
    found = config_differences({"A": {"k": 1, "d": [1, 2]}, "B": {"k": 2, "d": [1, 2], "new": None}})
    assert found["field"].tolist() == ["k"] and found.iloc[0]["B"] == "2"


def test_table_marks_what_survives_the_correction_and_latex_escapes() -> None:
    figures = {
        "A_1": pd.concat(
            [rows([0.1, 0.11, 0.1, 0.12], [0, 1, 2, 3], "x_1"), rows([0.1, 0.5, 0.2, 0.4], [0, 1, 2, 3], "y")]
        ),
        "B%": pd.concat(
            [
                rows([0.5, 0.52, 0.51, 0.53], [0, 1, 2, 3], "x_1"),
                rows([0.2, 0.3, 0.3, 0.5], [0, 1, 2, 3], "y"),
            ]
        ),
    }
    shown = metric_table(summary(figures), differences(figures, "A_1"), ["x_1", "y"])
    assert shown.iloc[0]["B%"].endswith(" *") and not shown.iloc[1]["B%"].endswith("*")
    text = latex_table(shown, "50 % of _it_ & more")
    assert r"A\_1 & B\% \\" in text and r"50 \% of \_it\_ \& more" in text and r"$\pm$" in text
    assert text.count(r"\\") == 3


def test_the_picture_has_every_seed_and_the_interval() -> None:
    figures = {"A": rows([0.1, 0.3], [0, 1]), "B": rows([0.5], [0])}
    chart = dots(figures, "a")
    assert [list(trace.x) for trace in chart.data] == [[0.1, 0.3], [0.2], [0.5], [0.5]]
    low, high = summary(figures).iloc[0][["low", "high"]]
    assert chart.data[1].error_x.array[0] == pytest.approx(high - 0.2)
    assert chart.data[3].error_x.array[0] == 0 and "2 runs" in chart.layout.meta["alt"] and low < 0.1
