"""Pictures of one run's seeds: they hold the numbers of their frames and stand every edge."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from analyses import sae_stability as sae
from analyses.sae_frames import frequency_bins

N = 60


def make_matches(seeds: int = 3, n: int = N, subset: str = "alive", rng_seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(rng_seed)
    parts = []
    frequency = np.geomspace(1e-4, 0.3, n)
    frequency[:2] = 0
    for a, b in combinations(range(seeds), 2):
        part = {"seed_a": a, "seed_b": b, "subset": subset, "rank": np.arange(n)}
        part |= {"feature_a": np.arange(n), "feature_b": rng.permutation(n)}
        part |= {"cosine": rng.uniform(-1, 1, n), "frequency_a": frequency}
        part |= {"code_correlation": rng.uniform(-0.1, 1, n), "support_jaccard": rng.uniform(0, 1, n)}
        parts.append(pd.DataFrame(part).assign(frequency_b=lambda t: frequency[t["feature_b"]]))
    return pd.concat(parts, ignore_index=True)


def make_features(seeds: int = 3, n: int = N) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    parts = [
        pd.DataFrame(
            {
                "seed": seed,
                "feature": np.arange(n),
                "frequency": 0.1,
                "alive": np.arange(n) > 5,
                "max_cosine": rng.uniform(0.9, 1, n),
                "encoder_alignment": rng.uniform(-0.2, 1, n),
            }
        )
        for seed in range(seeds)
    ]
    return pd.concat(parts, ignore_index=True)


ABLATIONS = pd.DataFrame(
    [
        {
            "seed": seed,
            "ablated": group,
            "n_features": 10,
            "fvu_change": 0.1 * (seed + 1),
            "cross_entropy_change": 0.2,
            "kl": 0.3,
        }
        for seed in range(3)
        for group in ("stable", "unstable", "random", "frequency-matched")
    ]
)
METHOD = "context embedding (a substitute)"


def make_explanations(n: int = 200) -> pd.DataFrame:
    cosine = np.geomspace(0.1, 1, n) * np.where(np.arange(n) % 2, 1, -1)
    found = {"seed_a": 0, "seed_b": 1, "feature_a": range(n), "feature_b": range(n), "cosine": cosine}
    return pd.DataFrame({**found, "agreement": np.abs(cosine), "chance": 0.2, "method": METHOD})


def make_trajectory(start: float, end: float) -> pd.DataFrame:
    steps = [(step, a, b) for step in (0, 1, 10, 100) for a, b in combinations(range(3), 2)]
    frame = pd.DataFrame(steps, columns=["step", "seed_a", "seed_b"])
    return frame.assign(pw_mcc_abs=start + (end - start) * frame["step"] / 100 + 0.01 * frame["seed_b"])


@pytest.fixture(scope="module")
def figures() -> dict[str, go.Figure]:
    matches, features = make_matches(), make_features()
    trajectories = {"start <b>": make_trajectory(0.3, 0.8), "order": make_trajectory(1, 0.9)}
    return {
        "histogram": sae.stability_histogram(sae.stability_frame(matches), 0.7),
        "contributions": sae.contribution_figure(matches, 0.2),
        "one to one": sae.one_to_one_figure(features, matches),
        "codes": sae.code_figure(matches),
        "ablations": sae.ablation_figure(ABLATIONS),
        "explanations": sae.explanation_figure(make_explanations()),
        "alignment": sae.alignment_histogram(features),
        "stabilisation": sae.stabilisation_figure(trajectories, 0.2),
    }


def test_every_figure_has_title_axes_alternative_text_and_customdata(figures: dict[str, go.Figure]) -> None:
    for name, figure in figures.items():
        assert figure.layout.title.text and figure.layout.xaxis.title.text, name
        assert figure.layout.yaxis.title.text or name == "ablations", name
        assert len(figure.layout.meta["alt"]) > 30, name
        for trace in figure.data:
            assert trace.hoverinfo == "skip" or len(trace.customdata) == len(trace.x), name
        assert "<b>" not in str(figure.layout.title), name


def test_stability_counts_partners_and_averages_their_cosines() -> None:
    rows = [(0, 1, 0, 5, 0.9, 0.1, 0.2), (0, 2, 0, 6, -0.5, 0.1, 0.3), (1, 2, 5, 6, 0.8, 0.2, 0.3)]
    columns = ["seed_a", "seed_b", "feature_a", "feature_b", "cosine", "frequency_a", "frequency_b"]
    found = sae.stability_frame(pd.DataFrame(rows, columns=columns), 0.7)
    assert found["seed"].tolist() == [0, 1, 2] and found["feature"].tolist() == [0, 5, 6]
    assert found["stability"].tolist() == [0.5, 1, 0.5]
    np.testing.assert_allclose(found["mean_cosine"], [0.7, 0.85, 0.65])
    np.testing.assert_allclose(found["frequency"], [0.1, 0.2, 0.3])


def test_histogram_shares_add_up_by_level_and_third() -> None:
    frame = sae.stability_frame(make_matches())
    bars = [trace for trace in sae.stability_histogram(frame).data if trace.type == "bar"]
    assert [bar.name for bar in bars] == [
        "never fires",
        "rarest third",
        "middle third",
        "most frequent third",
    ]
    assert sum(sum(bar.y) for bar in bars) == pytest.approx(100)
    assert list(bars[0].x) == ["0 of 2", "1 of 2", "2 of 2"] and [row[0] for row in bars[0].customdata] == [
        0,
        1,
        2,
    ]
    level_2 = 100 * (frame["stability"] == 1).mean()
    assert sum(bar.y[2] for bar in bars) == pytest.approx(level_2)
    thirds = [sum(bar.y) for bar in bars[1:]]
    assert max(thirds) - min(thirds) < 2


def test_contributions_add_up_to_the_mean_of_the_pairs() -> None:
    matches = make_matches()
    bars, total, share = sae.contribution_figure(matches, 0.2).data
    assert sum(bars.y) == pytest.approx(matches["cosine"].abs().mean(), abs=1e-12)
    assert total.y[-1] == pytest.approx(sum(bars.y)) and sum(share.y) == pytest.approx(1)
    np.testing.assert_allclose(bars.y, frequency_bins(matches, subset="alive")["contribution"])
    assert (
        bars.x[0].startswith("never")
        and bars.customdata[0][2] == (matches.filter(like="freq").min(axis=1) == 0).sum()
    )


def test_pairs_of_different_size_count_alike() -> None:
    matches = make_matches()
    matches = matches.drop(matches.index[(matches["seed_a"] == 1) & (matches["rank"] > 9)])
    bars = sae.contribution_figure(matches).data[0]
    means = matches.assign(size=matches["cosine"].abs()).groupby(["seed_a", "seed_b"])["size"].mean()
    assert sum(bars.y) == pytest.approx(means.mean(), abs=1e-12)


def test_one_to_one_compares_with_the_best_of_any(figures: dict[str, go.Figure]) -> None:
    points = figures["one to one"].data[0]
    assert len(points.x) == 3 * N
    np.testing.assert_allclose([row[3] for row in points.customdata], np.array(points.x) - points.y)
    assert "any feature" in figures["one to one"].layout.xaxis.title.text


def test_codes_that_are_missing_are_left_out() -> None:
    matches = make_matches()
    matches.loc[matches.index[::2], "code_correlation"] = np.nan
    points = sae.code_figure(matches).data[0]
    assert len(points.x) == len(matches) // 2 and np.isfinite(points.y).all()
    only = sae.code_figure(matches.assign(code_correlation=np.nan))
    assert len({trace.xaxis for trace in only.data}) == 1
    never = sae.code_figure(matches.assign(code_correlation=np.nan, support_jaccard=np.nan))
    assert "never fired" in never.layout.meta["alt"]


def test_ablations_have_a_panel_a_loss_and_the_spread_of_seeds(figures: dict[str, go.Figure]) -> None:
    bars = [trace for trace in figures["ablations"].data if trace.type == "bar"]
    assert len(bars) == 3 and [row[0] for row in bars[0].customdata][::-1][0] == "stable"
    np.testing.assert_allclose(bars[0].x, 0.2)
    np.testing.assert_allclose(bars[0].error_x.array, 0.1)
    empty_group = ABLATIONS.copy()
    empty_group.loc[empty_group["ablated"] == "stable", ["fvu_change", "cross_entropy_change", "kl"]] = np.nan
    assert len(sae.ablation_figure(empty_group).data) == 6
    assert "ablated" in sae.ablation_figure(ABLATIONS.head(0)).layout.meta["alt"]


def test_explanations_have_five_bins_and_name_their_method(figures: dict[str, go.Figure]) -> None:
    points, means = figures["explanations"].data
    assert len(points.x) == 200 and len(means.x) == 5 and np.all(np.diff(means.y) > 0)
    assert METHOD in figures["explanations"].layout.title.subtitle.text
    assert sum(row[2] for row in means.customdata) == 200
    assert figures["explanations"].layout.shapes[0].y0 == pytest.approx(0.2)
    judge = make_explanations().assign(method="LLM judge m (1 to 10)")
    assert "1 to 10" in sae.explanation_figure(judge).layout.yaxis.title.text
    assert len(sae.explanation_figure(make_explanations(1)).data[1].x) == 1


def test_alive_and_dead_are_apart_and_each_add_up(figures: dict[str, go.Figure]) -> None:
    alive, dead = figures["alignment"].data
    assert sum(alive.y) == pytest.approx(100) and sum(dead.y) == pytest.approx(100)
    assert sum(row[2] for row in dead.customdata) == 18
    (only,) = sae.alignment_histogram(make_features().assign(alive=False)).data
    assert only.name.startswith("dead")


def test_stabilisation_shows_step_0_and_the_range_of_pairs(figures: dict[str, go.Figure]) -> None:
    lines = [trace for trace in figures["stabilisation"].data if trace.hoverinfo != "skip"]
    assert [line.name for line in lines] == ["start &lt;b&gt;", "order"]
    assert lines[0].x[0] < lines[0].x[1] == 1 and lines[0].customdata[0][0] == 0
    np.testing.assert_allclose(lines[0].customdata[0][1:], [0.31, 0.32, 3])
    assert figures["stabilisation"].layout.xaxis.ticktext[0] == "0"


def test_dictionary_table_leaves_out_what_was_not_measured() -> None:
    saes = pd.DataFrame({"seed": [0, 1], "uniqueness": [0.9, 1.0], "kl_sae": [np.nan, np.nan]})
    assert list(sae.dictionary_table(saes).columns) == ["Seed", "Uniqueness (share)"]


@pytest.mark.parametrize("subset", ["alive", "all"])
def test_no_rows_are_said_so(subset: str) -> None:
    none, features = make_matches().head(0), make_features().head(0)
    for figure in (
        sae.stability_histogram(sae.stability_frame(none, 0.7, subset)),
        sae.contribution_figure(none, 0.2, subset),
        sae.one_to_one_figure(features, none, subset),
        sae.code_figure(none, subset),
        sae.explanation_figure(make_explanations().head(0), subset),
        sae.alignment_histogram(features),
        sae.stabilisation_figure({"a": pd.DataFrame()}),
    ):
        assert not figure.data and figure.layout.annotations[0].text


def test_one_pair_and_features_that_never_fire() -> None:
    matches = make_matches(2).assign(frequency_a=0.0)
    frame = sae.stability_frame(matches)
    assert set(frame["stability"]) <= {0.0, 1.0}
    assert {
        bar.name for bar in sae.stability_histogram(frame.assign(frequency=0.0)).data if bar.type == "bar"
    } == {"never fires"}
    bars = sae.contribution_figure(matches).data[0]
    assert len(bars.x) == 1 and bars.y[0] == pytest.approx(matches["cosine"].abs().mean())


def test_many_rows_are_drawn_in_few_points() -> None:
    matches, features = make_matches(2, 100_000), make_features(2, 100_000)
    actions: list[Any] = [
        lambda: sae.stability_histogram(sae.stability_frame(matches)),
        lambda: sae.contribution_figure(matches),
        lambda: sae.code_figure(matches),
        lambda: sae.one_to_one_figure(features, matches),
    ]
    for action in actions:
        figure = action()
        assert sum(len(trace.x) for trace in figure.data) < 10_000
