"""Questions about scenes and emoji, the oracle, and a user's folder of questions."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import emoji_questions
from data.question_folder import read_question_folder
from data.scene_questions import (
    DESCRIBE,
    TYPES,
    ask,
    caption,
    pairs,
    split_states,
    true_answer,
    type_of,
    verdict,
    words,
)
from data.scenes import ATTRIBUTES, all_states


def state(**told: str) -> list[int]:
    """A small red circle left of a large blue square on dots, but for the factors given as left_shape, …"""
    first = {
        "left shape": "circle", "left colour": "red", "left size": "small", "right shape": "square", "right colour": "blue",
        "right size": "large", "background": "dots", **{name.replace("_", " "): word for name, word in told.items()},
    }  # fmt: skip
    return [ATTRIBUTES[name].index(first[name]) for name in ATTRIBUTES]


def test_the_oracle_knows_every_type() -> None:
    scene = state()
    right = {
        "what colour is the circle": "red", "what colour is the right object": "blue", "what shape is the blue object": "square",
        "what shape is the left object": "circle", "where is the blue square": "right", "where is the red object": "left",
        "where is the square": "right", "is there any red circle": "yes", "is there any red square": "no", "is there any cross": "no",
        "how many red objects are there": "one", "how many cross objects are there": "zero",
        DESCRIBE: "a small red circle left of a large blue square on dots",
    }  # fmt: skip
    for question, answer in right.items():
        assert verdict(scene, question, answer) == "true", question
        assert true_answer(scene, question) == answer
    assert true_answer(state(right_colour="red"), "how many red objects are there") == "two"
    assert verdict(scene, "what colour is the circle", "blue") == "false"
    assert verdict(scene, DESCRIBE, "a small red circle left of a large blue square on dark") == "false"


def test_what_presupposes_something_else_has_no_true_answer() -> None:
    twins = state(right_shape="circle")
    assert true_answer(twins, "what colour is the circle") is None
    assert verdict(twins, "what colour is the circle", "red") == "false"
    assert verdict(state(), "what colour is the cross", "red") == "false"
    assert verdict(state(), "where is the red square", "left") == "false"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("what colour is", "red"), ("what colour is the circle", "left"), ("where is the object", "left"), ("", "red"),
        ("how many red circle objects are there", "one"), ("what shape is the red left object", "circle"), (DESCRIBE, "a circle"),
        ("is there any red circle", "one"), ("red", "what colour is the circle"), ("what shape is the  object", "circle"),
    ],
)  # fmt: skip
def test_texts_of_no_type_are_malformed(question: str, answer: str) -> None:
    assert verdict(state(), question, answer) == "malformed"


def test_every_pair_that_is_asked_is_true_and_of_its_type() -> None:
    rng = np.random.default_rng(0)
    states = all_states()[rng.permutation(len(all_states()))[:300]]
    made = pairs(states, 6, rng, first=10)
    assert {pair.type for pair in made} == set(TYPES)
    known = set(words())
    for pair in made:
        assert verdict(states[pair.image - 10].tolist(), pair.question, pair.answer) == "true"
        assert (
            type_of(pair.question) == pair.type
            and set(pair.question.split()) | set(pair.answer.split()) <= known
        )
    answers = [pair.answer for pair in made if pair.type == "exist"]
    assert 0.4 < answers.count("yes") / len(answers) < 0.65


def test_where_cannot_be_asked_of_twins() -> None:
    twins = state(right_shape="circle", right_colour="red")
    assert ask(twins, "where", np.random.default_rng(0)) is None and caption(twins).startswith(
        "a small red circle left of"
    )


def test_no_scene_is_in_two_parts() -> None:
    parts = split_states()
    rows = [tuple(row) for part in parts.values() for row in part.tolist()]
    assert len(rows) == len(set(rows)) == 9_216 and list(parts) == [
        "pretraining",
        "tuning",
        "validation",
        "test",
    ]


def test_the_oracle_of_emoji_reads_their_factors() -> None:
    told = {"who": "woman", "what": "firefighter", "tone": "dark skin tone"}
    assert emoji_questions.verdict(told, "who is it", "woman") == "true"
    assert emoji_questions.verdict(told, "is it a firefighter", "yes") == "true"
    assert emoji_questions.verdict(told, "is it a judge", "yes") == "false"
    assert emoji_questions.verdict(told, DESCRIBE, "woman firefighter dark skin tone") == "true"
    assert (
        emoji_questions.verdict(told, "is it", "yes")
        == emoji_questions.verdict(told, "who is it", "")
        == "malformed"
    )


def picture(path: Path, colour: int) -> None:
    Image.new("RGB", (9, 7), (colour, 10, 200)).save(path)


def user_folder(folder: Path, n_labelled: int = 9, n_unlabelled: int = 9) -> list[dict[str, str]]:
    folder.mkdir(exist_ok=True)
    for i in range(n_labelled + n_unlabelled):
        picture(folder / f"{i:02}.png", 12 * i)
    return [
        {"id": str(i), "image": f"{i:02}.png", "question": "what is it", "answer": f"thing {i}"}
        for i in range(n_labelled)
    ]


def test_a_users_folder_skips_what_cannot_be_used_and_goes_on(tmp_path: Path) -> None:
    rows = user_folder(tmp_path)
    rows += [
        {"id": "0", "image": "01.png", "question": "again", "answer": "yes"},
        {"id": "a", "image": "02.png", "question": "and"},
        {"id": "b", "image": "gone.png", "question": "what", "answer": "it"},
        {"id": "c", "image": "broken.png", "question": "what", "answer": "it"},
        {"id": "d", "image": "../out.png", "question": "what", "answer": "it"},
    ]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no picture")
    text = "\n".join([*(json.dumps(row) for row in rows), "no json"])
    (tmp_path / "questions.jsonl").write_text(text)
    found = read_question_folder(tmp_path, 8)
    assert found.images.shape == (18, 8, 8, 3) and len(found.pairs) == 9 and len(found.unlabelled) == 9
    told = " ".join(found.skipped)
    for part in (
        "'0' is there twice",
        'no "answer"',
        "'gone.png' does not exist",
        "'broken.png' is broken",
        "outside",
        "no JSON object",
    ):
        assert part in told, part
    assert sum("broken.png" in sentence for sentence in found.skipped) == 2, (
        "the picture itself and the pair on it"
    )


def test_llavas_json_is_read_turn_by_turn(tmp_path: Path) -> None:
    rows = user_folder(tmp_path)
    turns = [{"from": "human", "value": "<image>\nwhat is it"}, {"from": "gpt", "value": "a thing"}]
    more = [{"from": "human", "value": "and its colour"}, {"from": "gpt", "value": "red"}]
    entries = [{"id": row["id"], "image": row["image"], "conversations": [*turns, *more]} for row in rows]
    entries.append({"id": "x", "image": "00.png", "conversations": turns[:1]})
    (tmp_path / "mine.json").write_text(json.dumps(entries))
    found = read_question_folder(tmp_path, 8)
    assert (
        len(found.pairs) == 18 and found.pairs[0].question == "what is it" and found.pairs[1].answer == "red"
    )
    assert len(found.skipped) == 1 and "no answer" in found.skipped[0]


def test_too_few_images_end_in_a_sentence_that_counts_them(tmp_path: Path) -> None:
    rows = user_folder(tmp_path, 3, 2)
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match="3 labelled and 2 unlabelled"):
        read_question_folder(tmp_path, 8)
    with pytest.raises(ValueError, match="is no folder"):
        read_question_folder(tmp_path / "gone", 8)
    (tmp_path / "questions.jsonl").unlink()
    with pytest.raises(ValueError, match=r"needs a file questions\.jsonl"):
        read_question_folder(tmp_path, 8)
