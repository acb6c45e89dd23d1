"""Rendered scenes and their oracle, emoji with factors, a user's folder with broken entries."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.emoji import emoji_pictures, people, who_and_what
from data.image_folder import folder_pictures, read_folder, sentences_of
from data.pictures import SPLITS, number_phrases, split_rows
from data.scenes import (
    N_STATES,
    NAMES,
    Look,
    all_states,
    phrases,
    read_caption,
    render,
    satisfies,
    scene_pictures,
)


class TestScenes:
    def test_there_are_9216_states_of_seven_factors(self) -> None:
        states = all_states()
        assert states.shape == (N_STATES, 7) == (9_216, 7)
        assert len(np.unique(states, axis=0)) == N_STATES
        assert len(phrases()) == 28

    def test_splits_share_no_state_and_the_same_seed_draws_the_same(self) -> None:
        made = [scene_pictures((60, 20, 30), np.random.default_rng(3)) for _ in range(2)]
        assert (made[0].images == made[1].images).all()
        one = made[0]
        states = np.stack([one.attributes[name] for name in NAMES], axis=1)
        seen = {split: {tuple(state) for state in states[one.splits[split]]} for split in SPLITS}
        assert (
            not seen["train"] & (seen["validation"] | seen["test"]) and not seen["validation"] & seen["test"]
        )
        assert [len(one.splits[split]) for split in SPLITS] == [60, 20, 30]

    def test_captions_say_what_the_factors_are(self) -> None:
        one = scene_pictures((40, 10, 10), np.random.default_rng(0))
        states = np.stack([one.attributes[name] for name in NAMES], axis=1)
        for row in (0, 25, 59):
            wanted = read_caption(one.caption(row))
            assert set(wanted) == set(NAMES)
            assert satisfies(states[row : row + 1], wanted).all()
        said = one.says(np.arange(60))
        left_red = satisfies(states, {"left colour": "red"})
        assert (said[:, one.phrases.index("left red")] == left_red).all() and left_red.any()

    def test_every_factor_changes_the_picture_where_it_should(self) -> None:
        still = Look(jitter=0, light=0, noise=0)
        base = np.zeros((1, 7), dtype=np.int64)
        plain = render(base, np.random.default_rng(0), still)[0].astype(int)
        for place, name in enumerate(NAMES):
            other = base.copy()
            other[0, place] = 1
            changed = np.abs(render(other, np.random.default_rng(0), still)[0] - plain).sum(axis=(0, 2)) > 0
            halves = changed[:24].any(), changed[24:].any()
            wanted = {"left": (True, False), "right": (False, True)}.get(name.split()[0], (True, True))
            assert halves == wanted, name

    def test_a_brighter_pool_is_brighter(self) -> None:
        states = all_states()[:50]
        means = [
            render(states, np.random.default_rng(0), look).mean() for look in (Look(), Look(brighter=0.1))
        ]
        assert means[1] > means[0] + 10

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            (
                "the left object is a small red circle",
                {"left shape": "circle", "left colour": "red", "left size": "small"},
            ),
            ("Right BLUE; stripes", {"right colour": "blue", "background": "stripes"}),
            ("background gray", {"background": "grey"}),
        ],
    )
    def test_plain_words_are_read(self, text: str, found: dict[str, str]) -> None:
        assert read_caption(text) == found

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("red circle", "write left or right before it"),
            ("left pink", "'pink' is not a word"),
            ("left red blue", "left colour twice"),
            ("the", "says nothing"),
        ],
    )
    def test_what_cannot_be_read_is_named(self, text: str, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            read_caption(text)

    def test_more_test_pictures_than_states_are_refused(self) -> None:
        with pytest.raises(ValueError, match="1152 states"):
            scene_pictures((64, 50, 2_000), np.random.default_rng(0))


class TestEmoji:
    def test_every_base_comes_in_six_tones(self) -> None:
        listed = people()
        bases: dict[str, set[str]] = {}
        for _, name, tone in listed:
            bases.setdefault(name, set()).add(tone)
        assert len(bases) > 300 and {len(tones) for tones in bases.values()} == {6}

    def test_names_are_taken_apart(self) -> None:
        assert who_and_what("woman health worker") == ("woman", "health worker")
        assert who_and_what("deaf man") == ("man", "deaf")
        assert who_and_what("raised fist") == ("other", "raised fist")
        assert who_and_what("woman and man holding hands") == ("other", "woman and man holding hands")

    def test_pictures_have_factors_a_licence_and_unseen_combinations_to_test_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CONCORDANCE_CACHE", str(tmp_path))
        monkeypatch.setattr("data.emoji.people", lambda: people()[:60])
        one = emoji_pictures("openmoji", np.random.default_rng(0))
        assert one.origin.tier == "real" and "CC BY-SA" in one.origin.licence
        assert 50 <= len(one) <= 60 and one.images.shape[1:] == (48, 48, 3)
        assert set(one.attributes) == {"who", "what", "tone"}
        row = next(i for i in range(len(one)) if "dark skin tone" in one.caption(i).split(", "))
        assert one.values["tone"][one.attributes["tone"][row]] == "dark skin tone"
        assert one.attribute_of[one.phrases.index("dark skin tone")] == "tone"
        again = emoji_pictures("openmoji", np.random.default_rng(0))
        assert (again.images == one.images).all() and list((tmp_path / "pictures").glob("*.npz"))


def write_folder(folder: Path, lines: list[Any], broken: bool = True) -> Path:
    from PIL import Image

    folder.mkdir()
    for number in range(24):
        Image.new("RGB", (30, 20), (10 * number, 0, 99)).save(folder / f"{number}.png")
    if broken:
        (folder / "broken.png").write_bytes(b"no picture")
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "captions.jsonl").write_text(text)
    return folder


class TestFolder:
    def good(self) -> list[Any]:
        return [{"image": f"{i}.png", "captions": ["a flat colour", f"shade {i}"]} for i in range(24)]

    def test_what_is_broken_is_listed_and_the_rest_goes_on(self, tmp_path: Path) -> None:
        bad = [
            {"image": "broken.png", "caption": "not an image"},
            {"image": "missing.png", "caption": "gone"},
            {"image": 300 * "long" + ".png", "caption": "no file system has such a name"},
            {"image": "../outside.png", "caption": "elsewhere"},
            {"image": "1.png", "captions": ["again"]},
            {"id": "x", "image": "2.png", "captions": []},
            "{not json",
            {"image": "3.png", "id": "own"},
        ]
        one = folder_pictures(
            write_folder(tmp_path / "f", [*self.good(), *bad]), 48, np.random.default_rng(0)
        )
        assert len(one) == 24 and one.images.shape == (24, 48, 48, 3)
        text = " ".join(one.skipped)
        for said in (
            "does not exist",
            "outside the folder",
            "there twice",
            "no JSON object",
            "no readable picture",
            "line 30",
        ):
            assert said in text, said
        assert len(one.skipped) == len(bad)
        assert one.origin.licence == "yours" and set(one.attribute_of) == {None}
        assert one.caption(3) == "a flat colour, shade 3"

    def test_llava_json_is_read_with_its_turns(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "f", [])
        (folder / "captions.jsonl").unlink()
        turns = [
            {"from": "human", "value": "<image>\nWhat is it?"},
            {"from": "gpt", "value": "A shade. It is flat."},
        ]
        (folder / "list.json").write_text(json.dumps([{"id": "a", "image": "1.png", "conversations": turns}]))
        found = read_folder(folder)
        assert found.rows[0].captions == ("A shade", "It is flat")
        assert found.rows[0].turns == (("human", "What is it?"), ("gpt", "A shade. It is flat."))

    def test_too_few_pictures_say_so_with_the_first_reason(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "f", [{"image": "nowhere.png", "caption": "x"}, *self.good()[:3]])
        with pytest.raises(ValueError, match=r"3 usable pictures; 20 or more.*nowhere\.png.*does not exist"):
            folder_pictures(folder, 48, np.random.default_rng(0))

    def test_no_folder_and_no_list_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="is no folder"):
            read_folder(tmp_path / "none")
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match=r"needs a file captions\.jsonl"):
            read_folder(tmp_path / "empty")

    def test_sentences_are_cut_where_they_end(self) -> None:
        assert sentences_of("A car. It is red!\nNo 1.5 here.") == ("A car", "It is red!", "No 1.5 here")


def test_equal_groups_are_never_split() -> None:
    groups = np.repeat(np.arange(50), 3)
    rows = split_rows(groups, (0.1, 0.2), np.random.default_rng(0))
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(150))
    assert len(rows["validation"]) == 15 and len(rows["test"]) == 30
    assert len({int(g) for part in rows.values() for g in set(groups[part])}) == sum(
        len(set(groups[r])) for r in rows.values()
    )


def test_phrases_are_numbered_once() -> None:
    assert number_phrases([["a", "b"], ["b", "c", "b"]]) == (("a", "b", "c"), [(0, 1), (1, 2)])
