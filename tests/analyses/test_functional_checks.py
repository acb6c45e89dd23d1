"""The picture of sparse probing holds the numbers of its frame; the columns of a run are means over seeds."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pyarrow as pa
import pytest

from analyses.functional_checks import check_columns, checks_table, probe_figure

TASKS = ("sentiment (4 domains)", "news topic (5 topics)")


@pytest.fixture
def probes() -> pd.DataFrame:
    rows = []
    for task, chance in zip(TASKS, (0.5, 0.2), strict=True):
        for seed in (0, 7):
            for place, k in enumerate((0, 1, 2, 5, 20)):
                value = 0.9 if k == 0 else 0.5 + 0.1 * place - 0.01 * seed
                rows.append(
                    {"seed": seed, "task": task, "k": k, "accuracy": value, "low": value - 0.05, "high": value + 0.04,
                     "chance": chance, "n_train": 300, "n_test": 180}
                )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def checks() -> pd.DataFrame:
    row = {
        "cross_entropy": 4.0,
        "cross_entropy_sae": 4.5,
        "cross_entropy_zero": 9.0,
        "kl_sae": 0.3,
        "kl_zero": 6.0,
    }
    return pd.DataFrame(
        [
            {"seed": s, **row, "loss_recovered": 0.9 - 0.1 * s, "kl_recovered": 0.95, "n_tokens": 2016}
            for s in (0, 1)
        ]
    )


def test_a_line_a_seed_and_panel_with_its_references(probes: pd.DataFrame) -> None:
    figure = probe_figure(pa.Table.from_pandas(probes))
    lines = [trace for trace in figure.data if (trace.name or "").startswith("seed")]
    assert [trace.name for trace in lines] == ["seed 0", "seed 7"] * 2
    assert sum(bool(trace.name and trace.showlegend) for trace in figure.data) == 4
    for trace, (task, seed) in zip(lines, [(t, s) for t in TASKS for s in (0, 7)], strict=True):
        rows = probes[(probes["task"] == task) & (probes["seed"] == seed) & (probes["k"] > 0)]
        assert np.allclose(trace.y, rows["accuracy"])
        assert np.allclose(np.asarray(trace.y) + trace.error_y.array, rows["high"])
        assert np.allclose(np.asarray(trace.y) - trace.error_y.arrayminus, rows["low"])
        assert [point[1] for point in trace.customdata] == [1, 2, 5, 20]
    levels = {name: [t.y[0] for t in figure.data if t.name == name] for name in ("raw activations", "chance")}
    assert levels == {"raw activations": [0.9, 0.9], "chance": [0.5, 0.2]}
    assert [note.text for note in figure.layout.annotations] == list(TASKS)
    assert "sentiment (4 domains): raw activations 0.90, k 1 0.56" in figure.layout.meta["alt"]
    assert list(figure.layout.xaxis2.ticktext) == ["1", "2", "5", "20"]


def test_one_task_and_none(probes: pd.DataFrame) -> None:
    alone = probe_figure(probes[(probes["task"] == TASKS[1]) & (probes["k"] != 20)])
    assert len([trace for trace in alone.data if (trace.name or "").startswith("seed")]) == 2
    hostile = probe_figure(probes.assign(task="<script>$x$"))
    assert hostile.layout.annotations[0].text == "&lt;script&gt;&#36;x&#36;"
    nothing = probe_figure(probes.head(0))
    assert isinstance(nothing, go.Figure) and "probe_documents" in nothing.layout.meta["alt"]


def test_columns_of_a_run_are_means_over_seeds(probes: pd.DataFrame, checks: pd.DataFrame) -> None:
    found = check_columns(checks, pa.Table.from_pandas(probes))
    assert list(found) == ["loss recovered", "probe: sentiment", "probe: news topic"]
    assert found["loss recovered"] == pytest.approx(0.85)
    assert found["probe: sentiment"] == pytest.approx(0.8 - 0.035)
    assert check_columns(checks.head(0), probes.head(0)) == {}
    assert list(check_columns(checks.assign(loss_recovered=None), probes.head(0))) == []


def test_the_table_of_losses_is_titled(checks: pd.DataFrame) -> None:
    shown = checks_table(checks)
    assert shown["Loss recovered"].tolist() == [0.9, 0.8] and shown.columns[0] == "Seed"
    assert len(checks_table(checks.head(0))) == 0
