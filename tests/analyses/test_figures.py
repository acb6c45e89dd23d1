"""The figures hold the numbers of their frames, in the fixed look, and export them as text."""

import ast
import html
import shutil
from collections.abc import Iterator
from io import BytesIO
from itertools import combinations
from pathlib import Path

import kaleido
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pyarrow as pa
import pytest

from analyses import sae_consistency as sae
from analyses.figures import ONE_COLUMN, PALETTE, TWO_COLUMNS, empty, plain, sized, to_csv
from analyses.matching import calibrated, match, random_direction_null

SEEDS, D, N = 4, 12, 30
STEPS = (0, 1, 10, 100, 1000)
ROOT = Path(__file__).resolve().parents[2]
DRAWING = ("plotly_chart", "to_html", "write_html")


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    """The tables of a small run: four noisy copies of one dictionary."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((N, D))
    decoders = [(truth + 0.3 * rng.standard_normal((N, D)))[rng.permutation(N)] for _ in range(SEEDS)]
    null = random_direction_null(D, N, N)
    pairs, matches, steps = [], [], []
    for a, b in combinations(range(SEEDS), 2):
        key = {"seed_a": a, "seed_b": b}
        found = match(decoders[a], decoders[b])
        value = {"pw_mcc_abs": found.mcc_abs, "pw_mcc_signed": found.mcc_signed}
        chance = {
            "null_mean": null.mean,
            "null_std": null.std,
            "calibrated": calibrated(found.mcc_abs, null.mean),
        }
        pairs += [{**key, "subset": subset, "n": N, **value, **chance} for subset in ("all", "alive")]
        steps += [{"step": s, **key, **{k: v * (s + 1) / 1001 for k, v in value.items()}} for s in STEPS]
        frequency = np.geomspace(0.3, 1e-4, N)
        frequency[-2:] = 0
        matches.append(
            pd.DataFrame(
                {
                    **key,
                    "subset": "alive",
                    "rank": np.arange(N),
                    "feature_a": found.pairs[:, 0],
                    "feature_b": found.pairs[:, 1],
                    "cosine": found.cosine,
                    "frequency_a": frequency,
                    "frequency_b": frequency * 1.5,
                }
            )
        )
    quality = {"fvu": 0.2, "l0": 3.0, "alive_share": 0.9, "gt_mcc_abs": [0.9, 0.92, 0.91, 0.93]}
    return {
        "pairs": pd.DataFrame(pairs),
        "matches": pd.concat(matches, ignore_index=True),
        "trajectory": pd.DataFrame(steps),
        "gt": pd.DataFrame([{"step": s, "seed": 0, "gt_mcc_abs": 0.5} for s in STEPS]),
        "saes": pd.DataFrame({"seed": range(SEEDS), **quality}),
        "events": pd.DataFrame([{"step": s, "seed": i, "loss": 9.0 - i} for s in STEPS for i in range(2)]),
    }


@pytest.fixture(scope="module")
def figures(frames: dict[str, pd.DataFrame]) -> dict[str, go.Figure]:
    return {
        "heat map": sae.consistency_heatmap(frames["pairs"]),
        "curve": sae.matched_cosine_curve(frames["matches"], 0.5),
        "histogram": sae.cosine_histogram(frames["matches"], 0.5),
        "scatter": sae.frequency_scatter(frames["matches"], 0.5),
        "trajectory": sae.trajectory(frames["trajectory"], 0.5, frames["gt"]),
        "training": sae.training_curves(frames["events"], "loss"),
    }


def test_every_figure_has_axes_alternative_text_and_palette_colours(figures: dict[str, go.Figure]) -> None:
    for name, figure in figures.items():
        assert figure.layout.xaxis.title.text and figure.layout.yaxis.title.text, name
        assert len(figure.layout.meta["alt"]) > 30, name
        for trace in figure.data:
            if trace.hoverinfo == "none":
                continue
            assert trace.customdata is not None and len(trace.customdata), name
            if trace.type == "scatter" and trace.mode != "markers":
                assert trace.line.color in PALETTE, name
        assert "$" not in figure.to_json().replace("$$", ""), name


def test_heatmap_holds_the_pairs(frames: dict[str, pd.DataFrame], figures: dict[str, go.Figure]) -> None:
    heat, cells, blanks = figures["heat map"].data
    assert len(blanks.x) == SEEDS and blanks.customdata is None
    pairs = frames["pairs"].query("subset == 'alive'")
    for _, row in pairs.iterrows():
        assert (
            heat.z[row["seed_a"]][row["seed_b"]] == heat.z[row["seed_b"]][row["seed_a"]] == row["pw_mcc_abs"]
        )
    assert np.isnan(np.diag(heat.z)).all()
    assert heat.zmin == pairs["null_mean"].min() and heat.zmax == 1
    assert list(cells.customdata[0][:2]) == ["seed 0", "seed 1"] and len(cells.x) == SEEDS * (SEEDS - 1)
    assert f"chance {pairs['null_mean'].iloc[0]:.3f}" in figures["heat map"].layout.title.subtitle.text
    written = {note.text for note in figures["heat map"].layout.annotations}
    assert written == {f"{value:.3f}" for value in pairs["pw_mcc_abs"]}


def test_heatmap_takes_arrow_labels_and_order(frames: dict[str, pd.DataFrame]) -> None:
    pairs = frames["pairs"].assign(
        label_a=[f"k32 · seed {s}" for s in frames["pairs"]["seed_a"]],
        label_b=[f"k32 · seed {s}" for s in frames["pairs"]["seed_b"]],
    )
    labels = ["k32 · seed 2", "k32 · seed 0"]
    heat = sae.consistency_heatmap(pa.Table.from_pandas(pairs), labels, metric="pw_mcc_signed").data[0]
    expected = pairs.query("seed_a == 0 and seed_b == 2")["pw_mcc_signed"].iloc[0]
    assert list(heat.x) == labels and heat.z[0][1] == heat.z[1][0] == expected and heat.zmin == 0


def test_curve_falls_and_ends_at_all_features(
    frames: dict[str, pd.DataFrame], figures: dict[str, go.Figure]
) -> None:
    lines = figures["curve"].data
    assert len(lines) == SEEDS * (SEEDS - 1) // 2
    assert all(np.all(np.diff(line.y) <= 0) and line.x[-1] == 100 for line in lines)
    first = frames["matches"].query("seed_a == 0 and seed_b == 1")
    np.testing.assert_allclose(lines[0].y, first["cosine"].abs())
    assert list(lines[0].customdata[0][:4]) == [
        "seed 0",
        "seed 1",
        *first[["feature_a", "feature_b"]].iloc[0],
    ]


def test_long_curves_are_thinned_keeping_both_ends() -> None:
    n = 5000
    matches = pd.DataFrame({"seed_a": 0, "seed_b": 1, "feature_a": range(n), "feature_b": range(n)})
    matches = matches.assign(cosine=np.linspace(1, 0, n), frequency_a=0.1, frequency_b=0.2)
    (line,) = sae.matched_cosine_curve(matches).data
    assert len(line.x) == 600 and line.y[0] == 1 and line.y[-1] == 0


def test_histogram_counts_every_pair(frames: dict[str, pd.DataFrame], figures: dict[str, go.Figure]) -> None:
    (bars,) = figures["histogram"].data
    assert sum(bars.y) == pytest.approx(100)
    assert sum(row[2] for row in bars.customdata) == len(frames["matches"])


def test_trajectory_shows_step_0_left_of_the_first_step(figures: dict[str, go.Figure]) -> None:
    figure = figures["trajectory"]
    means = [trace for trace in figure.data if trace.showlegend is not False]
    assert [trace.name for trace in means] == ["PW-MCC, mean", "GT-MCC, mean"]
    assert means[0].x[0] < means[0].x[1] == 1
    assert figure.layout.xaxis.ticktext[0] == "0" and figure.layout.xaxis.tickvals[0] == means[0].x[0]
    assert means[0].customdata[0][0] == 0


def test_training_curves_take_events_of_seeds_and_of_the_run() -> None:
    rows = [{"step": s, "seed": None, "pw_mcc_abs": 0.5} for s in STEPS]
    (line,) = sae.training_curves(rows, "pw_mcc_abs").data
    assert list(line.x) == list(STEPS)
    assert "logged" in sae.training_curves([], "loss").layout.meta["alt"]
    dead = sae.training_curves([{"step": 1, "seed": 0, "dead_fraction": 0.25}], "dead_fraction")
    assert dead.data[0].y[0] == 25 and "%" in dead.layout.yaxis.title.text


def test_frequency_bins_partition_the_pairs(frames: dict[str, pd.DataFrame]) -> None:
    matches = frames["matches"].query("seed_a == 0 and seed_b == 1")
    bins = sae.frequency_bins(matches, subset="alive")
    assert bins["count"].sum() == N and bins["count"].iloc[0] == 2 and len(bins) == 6
    assert bins["contribution"].sum() == pytest.approx(matches["cosine"].abs().mean(), abs=1e-9)
    np.testing.assert_allclose(bins["high"][1:] / bins["low"][1:], (bins["high"] / bins["low"]).iloc[1])


def test_summary_reads_the_interval(frames: dict[str, pd.DataFrame]) -> None:
    found = sae.summary(frames["pairs"], frames["saes"])
    alive = frames["pairs"].query("subset == 'alive'")
    assert found["pw_mcc_abs"] == pytest.approx(alive["pw_mcc_abs"].mean())
    assert found["pw_low"] < found["pw_mcc_abs"] < found["pw_high"]
    assert found["runs"] == SEEDS and found["pairs"] == 6 and found["gt_low"] < 0.915 < found["gt_high"]
    assert found["verdict"] == "shown" and "above chance" in found["verdict_text"]
    chance = alive.assign(pw_mcc_abs=alive["null_mean"])
    assert sae.summary(chance, frames["saes"])["verdict"] == "not shown"


def test_summary_of_two_and_of_one_sae(frames: dict[str, pd.DataFrame]) -> None:
    two = sae.summary(frames["pairs"].head(2), frames["saes"].head(2))
    assert two["pw_low"] is None and two["verdict"] == "not tested" and "three seeds" in two["verdict_text"]
    one = sae.summary(frames["pairs"].head(0), frames["saes"].head(1))
    assert one["pw_mcc_abs"] is None and one["verdict"] == "not tested" and one["gt_low"] is None


def test_claims_table() -> None:
    claim = {"claim": "c", "sentence": "It holds.", "paper": "0.97", "value": 0.95, "low": 0.9, "high": 1.0}
    rest = {"seeds": 5, "chance": 0.53, "baseline": None, "baseline_name": "", "verdict": "shown"}
    untested = {
        **claim,
        **rest,
        "value": None,
        "low": None,
        "high": None,
        "seeds": 0,
        "verdict": "not tested",
    }
    table = sae.claims_table(pd.DataFrame([{**claim, **rest}, untested]))
    assert table["95 % interval"].tolist() == ["0.900 to 1.000", "–"]
    assert table["Here (mean)"].tolist() == ["0.950", "–"] and table["Simple baseline"].tolist() == ["–", "–"]


def test_sized_sets_journal_widths(figures: dict[str, go.Figure]) -> None:
    figure = figures["trajectory"]
    assert sized(figure, 1).layout.width == ONE_COLUMN == 322
    assert sized(figure, 2).layout.width == TWO_COLUMNS == 662
    assert figure.layout.width is None and sized(figure, 1).layout.title.text is None
    with pytest.raises(ValueError, match="columns must be 1 or 2"):
        sized(figure, 3)


def test_csv_keeps_the_numbers(frames: dict[str, pd.DataFrame]) -> None:
    again = pd.read_csv(BytesIO(to_csv(pa.Table.from_pandas(frames["pairs"]))), float_precision="round_trip")
    pd.testing.assert_frame_equal(again, frames["pairs"], check_exact=True, check_dtype=False)


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    if not (shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")):
        pytest.skip("export needs Chrome or Chromium")
    kaleido.start_sync_server(silence_warnings=True)
    yield
    kaleido.stop_sync_server(silence_warnings=True)


@pytest.mark.usefixtures("server")
def test_svg_holds_labels_and_numbers_as_text(figures: dict[str, go.Figure]) -> None:
    svg = kaleido.calc_fig_sync(sized(figures["heat map"], 2), opts={"format": "svg"}).decode()
    for note in figures["heat map"].layout.annotations:
        assert note.text in svg
    assert "seed 3" in svg and "SAE" in svg and "chance" in svg
    curve = kaleido.calc_fig_sync(sized(figures["curve"], 1), opts={"format": "svg"}).decode()
    assert "chance 0.500" in curve and "<image" not in curve
    assert kaleido.calc_fig_sync(figures["curve"], opts={"format": "pdf"}).startswith(b"%PDF")


@pytest.mark.usefixtures("server")
def test_text_from_data_is_never_markup() -> None:
    svg = kaleido.calc_fig_sync(empty("<b>x</b> & $y$"), opts={"format": "svg"}).decode()
    assert "<b>" not in svg and "<b>x</b> & $y$" in html.unescape(svg)
    assert plain("a<b") == "a&lt;b"


def refers(value: ast.AST, name: str, assigned: dict[str, ast.AST]) -> bool:
    """Whether an expression is made of `name`, directly or through what the module assigns."""
    found = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    rest = {known: part for known, part in assigned.items() if known not in found}
    return name in found or any(refers(assigned[known], name, rest) for known in found & assigned.keys())


@pytest.mark.parametrize("folder", ["analyses", "app", "engine"])
def test_every_chart_has_the_config_without_an_upload(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        tree = ast.parse(path.read_text())
        assigned = {
            target.id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or getattr(call.func, "attr", "") not in DRAWING:
                continue
            configs = [word.value for word in call.keywords if word.arg == "config"]
            where = f"{path}:{call.lineno}"
            assert configs and refers(configs[0], "PLOTLY_CONFIG", assigned), where
