"""Numbers, words and pictures of triplets: places with ties, precision, agreement, word differences, text that is data."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analyses.sapo import wilson
from analyses.srf import (
    SHARES,
    agreement,
    is_kept,
    places,
    precision,
    precision_curve,
    score_histograms,
    similarity_plane,
    weaknesses,
)
from analyses.srf_figures import curve_figure, deltas_figure, histogram_figure, move_cuts
from analyses.srf_frames import arm_name, deltas, gains, in_order, type_deltas
from analyses.srf_html import card_html, flag, sheet_html, why, word_diff


class TestPlaces:
    def test_ranks_are_inside_groups_and_ties_follow_the_second_key(self) -> None:
        values = np.array([0.5, 1.0, 1.0, 0.2, 0.9, np.nan])
        groups = np.array([0, 0, 0, 0, 1, 1])
        rank, share = places(values, groups, np.array([0, 1, 2, 0, 0, 9]))
        assert rank.tolist() == [3, 2, 1, 4, 1, 2]
        assert share.tolist() == [0.75, 0.5, 0.25, 1.0, 0.5, 1.0]

    def test_the_best_share_of_every_group_is_kept(self) -> None:
        rng = np.random.default_rng(0)
        groups = np.repeat([0, 1, 2], [50, 100, 250])
        share = places(rng.random(400), groups, np.zeros(400))[1]
        assert np.bincount(groups[is_kept(share, 0.2)]).tolist() == [10, 20, 50]


class TestPrecision:
    def test_the_curve_is_the_precision_of_what_is_kept_at_every_share(self) -> None:
        rng = np.random.default_rng(1)
        right = (rng.random(3000) < 0.7).astype(float)
        right[rng.random(3000) < 0.1] = np.nan
        seeds, groups = rng.integers(0, 3, 3000), rng.integers(0, 9, 3000)
        share = places(rng.random(3000) + 0.5 * np.nan_to_num(right), groups, np.zeros(3000))[1]
        curve = precision_curve(share, right, seeds).set_index("share")
        for x in (0.05, 0.2, 0.75, 1.0):
            kept = is_kept(share, x)
            each = [precision(right, kept & (seeds == seed)) for seed in range(3)]
            assert curve.loc[x, "precision"] == pytest.approx(np.mean(each))
            assert curve.loc[x, "kept"] == kept.sum()
        assert (
            curve.index.tolist() == list(SHARES) and curve["precision"].iloc[2] > curve["precision"].iloc[-1]
        )

    def test_estimates_from_verdicts_have_wilsons_interval_over_all_seeds(self) -> None:
        right = np.full(200, np.nan)
        right[:30], right[30:40] = 1, 0
        curve = precision_curve(np.linspace(0.005, 1, 200), right, np.arange(200) % 2, estimated=True)
        row = curve[curve["share"] == 1.0].iloc[0]
        assert (row["precision"], row["known"]) == (0.75, 40)
        assert (row["low"], row["high"]) == pytest.approx(wilson(30, 40))

    def test_nothing_known_is_no_number(self) -> None:
        curve = precision_curve(np.linspace(0.1, 1, 10), np.full(10, np.nan), np.zeros(10))
        assert curve["precision"].isna().all() and curve["kept"].iloc[-1] == 10
        assert np.isnan(precision(np.array([np.nan]), np.array([True])))

    def test_histograms_hold_every_triplet_once(self) -> None:
        values, types = np.array([0.0, 0.5, 1.0, 1.0, np.nan]), np.array([0, 0, 0, 1, 1])
        found = score_histograms(values, types, np.array([1, 0, np.nan, 1, 1]), ["a", "b", "c"])
        assert {name: {kind: sum(counts) for kind, counts in kinds.items()} for name, kinds in found["types"].items()} == {
            "a": {"right": 1, "wrong": 1, "unknown": 1}, "b": {"right": 1, "wrong": 0, "unknown": 0},
        }  # fmt: skip
        assert found["types"]["a"]["unknown"][-1] == 1 and (found["edges"][0], found["edges"][-1]) == (0, 1)

    def test_the_plane_counts_those_that_compare_both_sides(self) -> None:
        cells = similarity_plane([1, 1, np.nan, 0.52], [1, 1, 1, 0], [1, 0, 1, np.nan])
        assert cells == [
            {"question": 0.5, "answer": 0.0, "n": 1, "known": 0, "right": 0},
            {"question": 1.0, "answer": 1.0, "n": 2, "known": 2, "right": 1},
        ]


class TestAgreement:
    def test_kappa_of_a_known_table(self) -> None:
        said = {"ana": "k" * 25 + "r" * 25, "ben": "k" * 20 + "r" * 5 + "k" * 10 + "r" * 15}
        words = {"k": "keep", "r": "reject"}
        (row,) = agreement(
            {who: {i: words[letter] for i, letter in enumerate(text)} for who, text in said.items()}
        )
        assert (row["n"], row["share"]) == (50, 0.7) and row["kappa"] == pytest.approx(0.4)

    def test_an_edit_keeps_and_sameness_leaves_kappa_open(self) -> None:
        (row,) = agreement({"ana": {1: "edit", 2: "keep"}, "ben": {1: "keep", 2: "keep", 3: "reject"}})
        assert (row["n"], row["share"], row["kappa"]) == (2, 1.0, None)
        assert agreement({"ana": {1: "keep"}}) == []


SOUND = {"score_auc": [0.78], "vqa": [0.93], "precision": [0.8], "score_mean": [0.9], "shuffled_score": [0.5]}
CUTS: list[dict[str, Any]] = [{"type": "a<b>", "n": 3, "kept": 1, "tied": 2, "at": 0.5}]


class TestWeakness:
    def test_a_sound_generator_has_none(self) -> None:
        assert weaknesses(pd.DataFrame(SOUND)) == []

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"score_auc": [0.5]}, "AUC 0.50"),
            ({"vqa": [0.35]}, "35%"),
            ({"precision": [0.02]}, "Only 2%"),
            ({"shuffled_score": [0.88]}, "wrong image"),
        ],
    )
    def test_every_reason_is_named(self, change: dict[str, Any], word: str) -> None:
        (sentence,) = weaknesses(pd.DataFrame({**SOUND, **change}))
        assert word in sentence

    def test_what_was_not_measured_is_not_held_against_it(self) -> None:
        missing = {name: [None] for name in SOUND}
        assert weaknesses(pd.DataFrame(missing, dtype=float)) == []


def row(**changes: Any) -> dict[str, Any]:
    plain = {
        "triplet": 7, "seed": 0, "round": 1, "type": "colour", "image": 3, "question": "What colour is it?", "question_again": "what shape is it",
        "answer": "red", "answer_again": "red", "sim_question": 0.7, "sim_answer": 1.0, "score": 0.84, "place": 3, "size": 40, "share": 0.075,
        "inside": True, "kept": True, "decision": 0, "right": 0.0, "truth": "false", "verdicts": "{}", "edited_question": None,
        "edited_answer": None, "logp_generation": -0.4, "logp_answer": -0.1, "png": b"png", "name": "scene 3", "tier": "rendered",
        "licence": "Apache-2.0",
    }  # fmt: skip
    return {**plain, **changes}


class TestCards:
    def test_words_that_differ_are_found_whatever_case_and_punctuation(self) -> None:
        first, second = word_diff("What colour is it?", "what shape is it")
        assert first == [("What", True), ("colour", False), ("is", True), ("it?", True)]
        assert [same for _, same in second] == [True, False, True, True]
        assert word_diff("", "yes") == ([], [("yes", False)])

    def test_text_is_data_never_markup(self) -> None:
        hostile = '<img src=x onerror="alert(1)">'
        fields = (
            "question",
            "answer",
            "question_again",
            "answer_again",
            "type",
            "name",
            "licence",
            "edited_question",
        )
        html = sheet_html(
            [row(**dict.fromkeys(fields, hostile), verdicts=json.dumps({hostile: "keep"}), decision=1)],
            hostile,
            [hostile],
        )
        assert "<img src=x" not in html and "onerror=&quot;" in html
        assert html.count("<img ") == 1 and "default-src 'none'" in html and "img-src data:" in html

    def test_why_names_the_place_or_who_overruled_it(self) -> None:
        assert why(row()) == "place 3 of 40 in colour, best 7.5 %, inside the cut."
        said = why(row(verdicts='{"ana": "reject", "ben": "edit"}'))
        assert said.startswith("ana rejects it; ben edits it: they are even")
        assert "overrides the ranking" in why(row(verdicts='{"ana": "reject"}', decision=-1))

    def test_flags_are_for_what_the_score_gets_wrong(self) -> None:
        assert flag(row()) == "consistent but wrong" and "consistent but wrong" in card_html(row())
        assert flag(row(inside=False, right=1.0)) == "inconsistent but right"
        assert flag(row(right=float("nan"))) == "" == flag(row(inside=False))

    def test_every_image_shows_its_tier_and_a_missing_one_is_said(self) -> None:
        assert "rendered · Apache-2.0" in card_html(row()) and "data:image/png;base64,cG5n" in card_html(
            row()
        )
        assert "no image" in card_html(row(png=None))


class TestFrames:
    ARMS = pd.DataFrame(
        [(s, r, arm, 0.8 + 0.01 * s + gain, 0.7 + gain) for s in range(3) for r in (1, 2)
         for arm, gain in (("base", 0), ("random", 0.01), ("triangle", 0.02 / r), ("triangle_50", 0.005))],
        columns=["seed", "round", "arm", "exact", "exact_shifted"],
    )  # fmt: skip

    def test_deltas_are_paired_by_seed(self) -> None:
        frame = deltas(self.ARMS.query("round == 1"), "base")
        mine = frame[(frame["arm"] == "triangle") & (frame["test"] == "test images")].iloc[0]
        assert (
            mine["mean"] == pytest.approx(0.02) and mine["low"] == pytest.approx(0.02) and mine["seeds"] == 3
        )
        assert deltas(self.ARMS, "oracle").empty
        lonely = deltas(self.ARMS.query("round == 1 and seed == 0"), "base")
        assert lonely["low"].isna().all()

    def test_types_and_rounds(self) -> None:
        types = pd.concat([self.ARMS.query("round == 1").assign(type=name) for name in ("colour", "where")])
        assert sorted(set(type_deltas(types, "triangle", "base")["arm"])) == ["colour", "where"]
        rounds = gains(self.ARMS, only=["triangle"])
        assert rounds["mean"].tolist() == pytest.approx([0.02, 0.01]) and rounds["round"].tolist() == [1, 2]

    def test_arms_with_a_number_stand_beside_theirs(self) -> None:
        assert in_order(["oracle", "triangle_50", "base", "triangle_5", "own"]) == [
            "base",
            "triangle_5",
            "triangle_50",
            "oracle",
            "own",
        ]
        assert arm_name("triangle_50") == "best by S, 50 %"


class TestFigures:
    def test_moving_the_cut_moves_lines_titles_and_alternative_text(self) -> None:
        found = score_histograms([0.1, 0.9, 1.0], [0, 0, 0], [1, 0, 1], ["a<b>"])
        figure = histogram_figure(found, CUTS, "triangle")
        assert figure.layout.shapes[0].x0 == 0.5 and "a&lt;b&gt;" in figure.layout.annotations[0].text
        move_cuts(figure, found, [{**CUTS[0], "kept": 2, "at": 0.25}])
        assert figure.layout.shapes[0].x0 == 0.25 and "keeps 2 of 3" in figure.layout.meta["alt"]

    def test_the_curve_says_what_it_rests_on(self) -> None:
        curve = precision_curve(
            np.linspace(0.05, 1, 20), np.r_[np.ones(10), np.zeros(10)], np.zeros(20)
        ).assign(filter="triangle")
        figure = curve_figure(curve, "triangle", "verdicts", 0.2, 0.9)
        assert "estimated from 20 human verdicts" in figure.layout.title.subtitle.text
        assert (figure.data[-1].x, figure.data[-1].y) == ((0.2,), (0.9,))
        unknown = curve.assign(precision=np.nan, known=0)
        assert (
            "Nobody knows yet"
            in curve_figure(unknown, "triangle", "verdicts", 0.2, None).layout.annotations[0].text
        )

    def test_deltas_have_a_dot_a_seed(self) -> None:
        figure = deltas_figure(deltas(TestFrames.ARMS.query("round == 1"), "base"), "Arms", "base")
        assert len(figure.data[0].x) == 9 and "best by S +0.020" in figure.layout.meta["alt"]
