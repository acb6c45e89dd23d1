"""Similarities, S, ranks, ties, filters and their figures, each against numbers worked out by hand."""

import numpy as np
import pytest

from data.scene_questions import Pair
from engine.studies.srf.generation import about
from engine.studies.srf.scoring import (
    Scores,
    Triplets,
    area_under_curve,
    diversity,
    filter_curves,
    overlap,
    ranking,
    score,
    triangle,
)
from engine.studies.srf.selections import chosen, pairs_of
from engine.studies.srf.similarity import (
    box_overlap,
    compare,
    embedding_cosine,
    equality,
    token_f1,
    user_type,
)
from engine.studies.srf.tasks import multi_task, question_prompt, read_pair, read_question, row_of


def triplets(n: int = 4, **parts: list[object]) -> Triplets:
    given = {
        "image": list(range(n)), "type": ["colour"] * n, "question": ["q"] * n, "answer": ["a"] * n, "question_again": ["q"] * n,
        "answer_again": ["a"] * n, "logp_generation": [0.0] * n, "logp_answer": [0.0] * n, "truth": ["true"] * n, **parts,
    }  # fmt: skip
    arrays = {name: np.array(given[name]) for name in ("image", "logp_generation", "logp_answer")}
    return Triplets(**{**given, **arrays})  # type: ignore[arg-type]


def test_words_in_common_count_as_often_as_they_occur() -> None:
    first = ["what colour is the circle", "red red", "", "Red"]
    second = ["what shape is the circle", "red", "", "blue"]
    assert token_f1(first, second).tolist() == pytest.approx([0.8, 2 / 3, 1.0, 0.0])
    assert equality(["Yes", "no"], ["yes ", "yes"]).tolist() == [1.0, 0.0]


def test_boxes_overlap_by_area() -> None:
    whole, right, none = "the box is [0, 0, 2, 2]", "[1, 0, 3, 2]", "no box"
    assert box_overlap([whole, whole, whole], [whole, right, none]).tolist() == pytest.approx(
        [1.0, 1 / 3, 0.0]
    )
    assert box_overlap(["[2, 0, 0, 2]"], [whole]).tolist() == [0.0], "a box turned inside out has no area"


def test_a_type_decides_which_sides_are_compared_and_how() -> None:
    types = ["exist", "caption", "count", "colour", "vqa"]
    first, second = (
        ["a b", "a b", "one two", "a b", "[0, 0, 2, 2]"],
        ["a c", "a c", "one three", "a c", "[1, 0, 3, 2]"],
    )
    question = compare(types, first, second, "question", token_f1)
    answer = compare(types, first, second, "answer", token_f1)
    assert np.isnan(question[:2]).all() and question[2:].tolist() == pytest.approx([0.5, 0.5, 1 / 3])
    assert answer.tolist() == pytest.approx([0.0, 0.5, 0.0, 0.5, 1 / 3])


def test_s_is_the_geometric_mean_or_the_only_side() -> None:
    found = triangle(np.array([0.25, np.nan, 1.0]), np.array([1.0, 0.4, np.nan]))
    assert found.tolist() == pytest.approx([0.5, 0.4, 1.0])


def test_ranks_are_inside_types_and_ties_go_by_noise_or_log_probability() -> None:
    made = triplets(
        5, type=["colour", "colour", "colour", "where", "where"], logp_answer=[-1.0, -2.0, -0.5, -3.0, -4.0]
    )
    scores = Scores(np.zeros(5), np.zeros(5), np.array([1.0, 1.0, 0.2, 0.1, 0.9]))
    noise = np.array([0.1, 0.8, 0.9, 0.5, 0.5])
    rank, share = ranking("triangle", made, scores, noise)
    assert rank.tolist() == [2, 1, 3, 2, 1] and share.tolist() == pytest.approx([2 / 3, 1 / 3, 1, 1, 0.5])
    assert ranking("triangle_tied", made, scores, noise)[0].tolist() == [1, 2, 3, 2, 1]
    assert ranking("confidence_answer", made, scores, noise)[0].tolist() == [2, 3, 1, 1, 2]
    assert ranking("random", made, scores, noise)[0][:3].tolist() == [3, 2, 1]


def test_hard_equality_and_the_oracle_put_theirs_first() -> None:
    made = triplets(
        3,
        question_again=["q", "other", "q"],
        answer_again=["a", "a", "b"],
        truth=["false", "true", "malformed"],
    )
    scores, noise = score(made, token_f1), np.array([0.1, 0.2, 0.3])
    assert ranking("equality", made, scores, noise)[0][0] == 1
    assert ranking("oracle", made, scores, noise)[0][1] == 1


def test_every_filter_keeps_as_many_and_the_oracle_is_the_ceiling() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.6
    made = triplets(
        400, type=["colour", "where"] * 200, truth=["true" if one else "false" for one in right],
        logp_answer=(right + rng.normal(0, 1, 400)).tolist(),
    )  # fmt: skip
    scores = Scores(np.ones(400), np.ones(400), np.where(rng.random(400) < 0.7, 1.0, 0.5))
    noise = rng.random(400)
    masks = {
        arm: chosen(arm, 0.2, "triangle", made, scores, noise)
        for arm in ("random", "triangle", "triangle_tied", "bottom", "oracle")
    }
    assert {int(mask.sum()) for mask in masks.values()} == {80}
    assert right[masks["oracle"]].all() and not (masks["triangle"] & masks["bottom"]).any()
    assert right[masks["triangle_tied"]].mean() > right[masks["triangle"]].mean()
    assert chosen("triangle_50", 0.2, "triangle", made, scores, noise).sum() == 200
    assert chosen("no_filter", 0.2, "triangle", made, scores, noise).all()
    assert len(pairs_of(made, masks["triangle"])) == 80
    curves = {(row["filter"], row["kept_share"]): row for row in filter_curves(made, scores, noise)}
    assert curves["oracle", 0.5]["precision"] == 1.0 and curves["oracle", 0.5]["auc"] == 1.0
    whole = {curves[name, 1.0]["precision"] for name in ("random", "triangle", "oracle")}
    assert whole == {float(right.mean())}, "keeping all is the same for every filter"


def test_where_nobody_knows_there_is_no_precision_and_no_oracle() -> None:
    made = triplets(4, truth=["unknown"] * 4)
    rows = filter_curves(made, score(made, token_f1), np.arange(4.0))
    assert {row["precision"] for row in rows} == {None} and "oracle" not in {row["filter"] for row in rows}


def test_the_area_counts_ties_half() -> None:
    right = np.array([True, True, False, False])
    assert area_under_curve(np.array([3.0, 2.0, 1.0, 0.0]), right) == 1.0
    assert area_under_curve(np.array([1.0, 0.0, 1.0, 0.0]), right) == 0.5
    assert area_under_curve(np.ones(4), np.ones(4, bool)) is None


def test_diversity_counts_pairs_of_neighbours_and_words() -> None:
    assert diversity(["a b", "a b"], ["c", "d"]) == (3 / 4, 4 / 6)
    assert overlap({(1, "a"), (2, "a")}, {(2, "a"), (2, "b")}) == 1 / 3


def test_what_is_told_of_a_generator_counts_ties_and_malformed_texts() -> None:
    made = triplets(4, question_again=["q", "q", "x", "q"], truth=["true", "false", "malformed", "true"])
    row = about("multi_task", made, score(made, token_f1), 0.9)
    assert row["tied_share"] == 0.75 and row["precision"] == 0.5 and row["score_mean"] == 0.75


def test_tasks_mask_what_has_to_be_written_in_the_papers_shares() -> None:
    pair = Pair(7, "colour", "what colour is the circle", "red")
    assert row_of(pair, "A", 0).prompt == pair.question and row_of(pair, "A", 0).target == "red"
    both = row_of(pair, "QA", 1).target
    assert read_pair(both) == (pair.question, "red")
    assert read_question(row_of(pair, "Q", 0).target) == pair.question and question_prompt("red").endswith(
        "Answer: red"
    )
    assert read_pair("Instruction: no mark of an answer") == ("no mark of an answer", "") and read_pair(
        "red"
    ) == ("", "")
    rows = multi_task([pair] * 1_000, (0.5, 0.2, 0.3), np.random.default_rng(0))
    kinds = [("Answer:" in row.target, "Instruction:" in row.target) for row in rows]
    assert [kinds.count(kind) for kind in ((True, True), (False, True), (False, False))] == [500, 200, 300]


def test_types_of_a_users_pairs_follow_their_texts() -> None:
    assert user_type("is it red?", "Yes.") == "exist" and user_type("where is it?", "[1, 2, 3, 4]") == "box"
    assert (
        user_type("Describe the image", "a car") == "caption" and user_type("what is it?", "a car") == "vqa"
    )
    assert user_type("why?", "because the street is wet and the light is red today") == "chat"


def test_real_texts_are_compared_by_sentence_embeddings() -> None:
    found = embedding_cosine(
        ["a red car", "a red car", "a red car"], ["a red car", "a car that is red", "seven ducks on a lake"]
    )
    assert found[0] == 1.0 and 0.8 < found[1] < 1.0 and found[2] < 0.5
