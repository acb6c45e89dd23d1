"""The sweep: one row a run, one line a name, chance beside it, and comparison at equal sparsity."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analyses.sae_sweep import at_equal_l0, recipe_name, sparsity_text, sweep_figure, sweep_row, sweep_table


def run_of(architecture: str, k: int, **changes: Any) -> dict[str, Any]:
    config = {"architecture": architecture, "control": "none", "k": k, "l1_coefficient": 2.0, **changes}
    return {"id": f"{architecture}-{k}-{changes.get('control', '')}", "config": config}


def tables(seeds: int, l0: float, value: float, null: float = 0.3) -> tuple[pd.DataFrame, pd.DataFrame]:
    n = np.arange(seeds)
    saes = pd.DataFrame({"seed": n, "l0": l0 + n, "fvu": 1 / l0 + n / 1000, "alive_share": 0.9})
    saes = saes.assign(gt_mcc_abs=[None] * seeds)
    pairs = [
        {
            "seed_a": a,
            "seed_b": b,
            "subset": subset,
            "pw_mcc_abs": value + 0.01 * a + (0.1 if subset == "all" else 0),
            "pw_mcc_signed": value - 0.1,
            "null_mean": null,
            "calibrated": (value - null) / (1 - null),
            "shared_share": value / 2,
            "code_correlation": np.nan,
        }
        for a, b in combinations(range(seeds), 2)
        for subset in ("all", "alive")
    ]
    return saes, pd.DataFrame(pairs, columns=list(pairs[0]) if pairs else ["seed_a", "seed_b", "subset"])


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = []
    for architecture, shift in (("topk", 0.2), ("relu", 0.0), ("batch_topk", 0.1)):
        for k in (8, 16, 32):
            saes, pairs = tables(3, k, 0.5 + shift - 0.05 * np.log2(k / 8))
            rows.append(sweep_row(run_of(architecture, k), saes, pairs, "alive"))
    return pd.DataFrame(rows)


def test_names_say_architecture_control_and_what_is_set() -> None:
    assert recipe_name({"architecture": "topk", "control": "none"}) == "TopK"
    assert recipe_name({"architecture": "topk", "control": "frozen_decoder"}) == "TopK, frozen decoder"
    assert recipe_name({"architecture": "topk", "control": "random"}) == "TopK, never trained"
    assert recipe_name({"architecture": "matryoshka_batch_topk"}) == "Matryoshka BatchTopK"
    assert recipe_name({"architecture": "relu", "weight_decay": 0.01}) == "ReLU + L1, weight decay 0.01"
    assert sparsity_text({"architecture": "gated", "l1_coefficient": 2.0}) == "L1 2"
    assert sparsity_text({"architecture": "jumprelu", "k": 32}) == "k 32"


def test_a_row_holds_the_means_of_its_subset_and_their_spread() -> None:
    saes, pairs = tables(4, 10, 0.5)
    row = sweep_row(run_of("topk", 10), saes, pairs, "alive")
    alive = pairs[pairs["subset"] == "alive"]
    assert row["pw_mcc_abs"] == pytest.approx(alive["pw_mcc_abs"].mean())
    assert row["pw_low"] < row["pw_mcc_abs"] < row["pw_high"]
    assert (row["l0"], row["l0_low"], row["l0_high"]) == (11.5, 10, 13)
    assert row["gt_mcc_abs"] is None and row["code_correlation"] is None and row["code_low"] is None
    assert row["name"] == "TopK" and row["sparsity"] == "k 10" and row["n_seeds"] == 4 and row["null"] == 0.3


def test_two_seeds_have_the_range_of_their_pair_and_one_seed_has_nothing() -> None:
    two = sweep_row(run_of("topk", 10), *tables(2, 10, 0.5), "alive")
    assert two["pw_low"] == two["pw_mcc_abs"] == two["pw_high"] == 0.5
    one = sweep_row(run_of("topk", 10), *tables(1, 10, 0.5), "alive")
    assert one["pw_mcc_abs"] is None and one["pw_low"] is None and one["null"] is None and one["l0"] == 10
    figure = sweep_figure(pd.DataFrame([one]))
    assert "No finished run" in figure.layout.meta["alt"]
    assert sweep_figure(pd.DataFrame([one, two])).data[0].customdata[0][0] == two["run"]


def test_one_line_a_name_ordered_by_x_with_the_run_first(frame: pd.DataFrame) -> None:
    shuffled = frame.sample(frac=1, random_state=0)
    figure = sweep_figure(shuffled)
    assert [line.name for line in figure.data] == ["TopK", "ReLU + L1", "BatchTopK"]
    assert (
        len({line.marker.symbol for line in figure.data})
        == len({line.line.color for line in figure.data})
        == 3
    )
    for line in figure.data:
        assert np.all(np.diff(line.x) > 0)
        assert [row[0] for row in line.customdata] == list(
            frame[frame["name"] == line.name].sort_values("l0")["run"]
        )
    assert figure.layout.xaxis.type == "log" and "log" in figure.layout.xaxis.title.text
    assert figure.layout.shapes[0].y0 == pytest.approx(
        0.3
    ) and "chance 0.300" in figure.layout.title.subtitle.text.replace("<br>", " ")
    assert sweep_figure(frame, "fvu").layout.xaxis.type != "log"


def test_a_name_keeps_its_colour_and_symbol_whatever_else_is_drawn(frame: pd.DataFrame) -> None:
    (alone,) = sweep_figure(frame[frame["name"] == "BatchTopK"]).data
    among = sweep_figure(frame).data[2]
    assert alone.line.color == among.line.color and alone.marker.symbol == among.marker.symbol


def test_chance_is_drawn_per_point_where_it_varies(frame: pd.DataFrame) -> None:
    figure = sweep_figure(frame.assign(null=np.linspace(0.2, 0.4, len(frame))))
    dotted = [line for line in figure.data if line.line.dash == "dot"]
    assert len(dotted) == 3 and not figure.layout.shapes
    assert all(len(line.x) == 3 and line.customdata[0][0] for line in dotted)


@pytest.mark.parametrize("y", ["calibrated", "shared_share"])
def test_other_values_have_bars_and_no_null_level(frame: pd.DataFrame, y: Any) -> None:
    figure = sweep_figure(frame, y=y)
    assert figure.layout.yaxis.title.text and len(figure.data) == 3
    assert [shape.y0 for shape in figure.layout.shapes] == ([0] if y == "calibrated" else [])
    assert "No finished run" in sweep_figure(frame, y="gt_mcc_abs").layout.meta["alt"]
    assert "No finished run" in sweep_figure(frame.head(0)).layout.meta["alt"]


def test_equal_l0_is_linear_in_the_logarithm_and_never_extrapolates() -> None:
    a = pd.DataFrame({"name": "A", "l0": [1.0, 100.0], "pw_mcc_abs": [0.0, 1.0]})
    b = pd.DataFrame({"name": "B", "l0": [10.0, 1000.0], "pw_mcc_abs": [0.5, 0.5]})
    found = at_equal_l0(pd.concat([a, b]), "A", "B", "pw_mcc_abs")
    assert found["l0"].tolist() == [10, 100]
    np.testing.assert_allclose(found["a"], [0.5, 1])
    np.testing.assert_allclose(found["difference"], [0, 0.5], atol=1e-12)
    far = b.assign(l0=[200.0, 300.0])
    assert at_equal_l0(pd.concat([a, far]), "A", "B", "pw_mcc_abs").empty
    assert list(at_equal_l0(a, "A", "none", "pw_mcc_abs").columns) == ["l0", "a", "b", "difference"]


def test_the_table_leaves_out_what_nobody_measured(frame: pd.DataFrame) -> None:
    table = sweep_table(frame)
    assert len(table) == 9 and "GT-MCC (|cosine|)" not in table and "Chance" in table
    assert table["L0"].dtype == float and set(table["Run"]) == set(frame["run"])
    assert sweep_table(frame.head(0)).empty
