"""Numbers, frames and pictures of content and style on small made-up tables."""

import numpy as np
import pandas as pd
import pytest

from analyses.counterfactual_figures import by_arm_figure, divergence_figure, influence_figure, scores_figure
from analyses.counterfactual_frames import (
    RECOVERY,
    agreement,
    by_arm,
    chosen_pairs,
    collapsed,
    divergences,
    influence_map,
    outcome,
    score_rows,
)
from analyses.counterfactual_text import (
    ADDED,
    KEPT,
    REMOVED,
    counterfactual_error,
    direction,
    g_score,
    moved,
    supports,
    word_changes,
)


def test_error_is_0_for_the_truth_and_1_for_doing_nothing() -> None:
    rng = np.random.default_rng(0)
    factual, truth = rng.normal(size=(2, 50, 4))
    assert counterfactual_error(truth, truth, factual) == 0
    assert counterfactual_error(factual, truth, factual) == pytest.approx(1)
    assert counterfactual_error((factual + truth) / 2, truth, factual) == pytest.approx(0.25)


def test_supports_see_whether_style_is_sparser() -> None:
    influence = np.ones((8, 3))
    influence[2:, 2] = 0.01
    found = supports(influence, 1)
    assert found.relative and found.style == 0.25 and found.content == 1 and found.style_only == 0
    influence[:, 2] = 1
    assert not supports(influence, 1).relative
    influence[0, 0] = 0
    assert supports(influence, 1).style_only == 1
    with pytest.raises(ValueError, match="content and style"):
        supports(np.ones((3, 2)), 2)


def test_a_content_that_is_switched_off_is_not_narrow() -> None:
    influence = np.ones((8, 3))
    influence[:, 0], influence[2:, 2] = 0, 0
    assert supports(influence, 1).relative


def test_g_score_is_the_harmonic_mean_sentence_by_sentence() -> None:
    assert g_score([1.0, 0.0, 0.5], [50.0, 100.0, 0.0]) == pytest.approx([200 / 3, 0, 0])
    assert g_score([0.2], [100.0]) == pytest.approx([100 / 3]), "copying is rewarded"


def test_word_changes_read_in_order_and_give_both_sentences_back() -> None:
    before, after = ["the", "film", "was", "bad", "."], ["the", "film", "is", "very", "good", "."]
    found = word_changes(before, after)
    assert [word for word, kind in found if kind != ADDED] == before
    assert [word for word, kind in found if kind != REMOVED] == after
    assert [word for word, kind in found if kind == KEPT] == ["the", "film", "."]


def test_codes_are_moved_along_the_direction_alone() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    codes = rng.normal(size=(200, 3)) + np.outer(labels, [3, 4, 0])
    unit, low, high, spread = direction(codes, labels)
    assert (
        np.allclose(unit, [0.6, 0.8, 0], atol=0.1) and high - low == pytest.approx(5, abs=0.8) and spread > 1
    )
    there = moved(codes, unit, np.full(200, 7.0))
    assert np.allclose(there @ unit, 7)
    assert np.allclose(there - np.outer(there @ unit, unit), codes - np.outer(codes @ unit, unit))
    assert direction(np.zeros((4, 2)), [0, 1, 0, 1])[0].tolist() == [1, 0]


@pytest.fixture
def pairs() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "domain": ["a", "a", "b", "b"], "style_after": [0.9, 0.2, 0.4, None], "unchanged": [False, False, True, False],
            "g": [1.0, 2, 3, 4],
        }
    )  # fmt: skip


def test_outcomes(pairs: pd.DataFrame) -> None:
    assert outcome(pairs).tolist() == ["moved", "failed", "unchanged", "moved"]
    assert (
        chosen_pairs(pairs, "a", "failed").index.tolist() == [1]
        and len(chosen_pairs(pairs, "all", "all")) == 4
    )


def test_arms_stand_in_order_with_every_seed() -> None:
    rows = pd.DataFrame({"seed": [0, 1, 0, 1], "arm": ["beta_vae", "beta_vae", "matte", "matte"]})
    rows = rows.assign(**{column: [0.1, 0.2, 0.8, 0.9] for column in RECOVERY})
    frame = by_arm(rows, RECOVERY)
    assert frame["arm"].iloc[0] == "matte" and len(frame) == 24
    figure = by_arm_figure(frame, "recovery", 0.01)
    assert [trace.name for trace in figure.data if trace.name] == ["MATTE", "β-VAE"]
    assert "MATTE 0.85" in figure.layout.meta["alt"]
    assert "known" in by_arm_figure(frame[:0], "recovery").layout.meta["alt"]


def test_agreement_of_one_seed_is_unknown() -> None:
    rows = pd.DataFrame({"arm": ["matte"], "block": ["style noise"], "r2": [0.6], "null": [0.0]})
    assert agreement(rows, "matte", "style noise") == (0.6, 0.0, 1.0)
    assert np.isnan(agreement(rows, "beta_vae", "style noise")[0])


def test_the_map_is_drawn_with_its_verdict() -> None:
    rows = pd.DataFrame(
        [
            {
                "block": block,
                "dim": dim,
                "output": output,
                "value": 1.0 if block == "content" or output < 2 else 0.0,
            }
            for block, dims in (("content", 2), ("style", 1))
            for dim in range(dims)
            for output in range(100)
        ]
    )
    table, found = influence_map(rows, most=10)
    assert list(table.columns) == ["c1", "c2", "s1"] and len(table) == 10 and found.style == 0.02
    assert influence_figure(table, found, "Outputs").layout.title.text == "Relative sparsity holds"


def test_the_alarm_names_block_arm_and_seed() -> None:
    arms = pd.DataFrame(
        {"arm": ["matte", "matte"], "seed": [0, 1], "kl_content": [0.1, 9], "kl_style": [3.0, 4]}
    )
    assert collapsed(arms) == ["content of MATTE, seed 0 (0.10 nats)"]
    curve = pd.DataFrame(
        {
            "arm": "matte",
            "seed": [0, 1, 0, 1],
            "step": [1, 1, 2, 2],
            "kl_content": [1.0, 3, 2, 2],
            "kl_style": 1.0,
        }
    )
    frame = divergences(curve, "matte")
    assert frame.iloc[0][["mean", "low", "high"]].tolist() == [2, 1, 3]
    assert "content 2.00" in divergence_figure(frame, "matte").layout.meta["alt"]


def test_scores_have_a_row_for_each_way() -> None:
    rows = pd.DataFrame(
        {
            "seed": [0, 1, -1],
            "arm": ["matte", "matte", "identity_copy"],
            "route": ["noise", "noise", "copy"],
            "domain": "all",
        }
    )
    rows = rows.assign(accuracy=[0.5, 0.7, 0.1], bleu=[20.0, 30, 100], g=[30.0, 32, 18])
    rows = rows.assign(
        **{
            name: np.nan
            for name in ("chrf", "g_accuracy", "perplexity", "unmoved_bleu", "unchanged", "empty")
        }
    )
    frame = score_rows(rows)
    assert frame["name"].tolist() == ["MATTE, through s̃", "identity copy"] and frame["accuracy"].iloc[
        0
    ] == pytest.approx(0.6)
    figure = scores_figure(frame)
    assert "highest G-score 31.0, MATTE" in figure.layout.meta["alt"]
    assert "no style accuracy" in scores_figure(frame.assign(accuracy=np.nan)).layout.meta["alt"]
