"""The feature table and the library against a real engine."""

import json

import pandas as pd
import pytest

from engine.client import Client, EngineError
from tests.conftest import TINY_WORLD

HOSTILE = "<script>alert(1)</script> **bold** $x$ ‮abc‬ '; DROP TABLE labels; --"


@pytest.fixture(scope="module")
def run(engine: Client) -> str:
    return engine.wait(engine.submit("sae_consistency", TINY_WORLD, [0, 1, 2])["id"])["id"]


def page(engine: Client, run: str, **query: object) -> pd.DataFrame:
    return engine.features([run], **query)[0].to_pandas()


class TestTable:
    def test_holds_every_feature_of_every_seed(self, engine: Client, run: str) -> None:
        table, total = engine.features([run], limit=1000)
        stored = engine.table(run, "features").to_pandas()
        assert total == len(table) == len(stored) == 36
        assert set(zip(table["seed"].to_pylist(), table["feature"].to_pylist(), strict=True)) == set(
            zip(stored["seed"], stored["feature"], strict=True)
        )

    def test_pages_follow_each_other_in_order(self, engine: Client, run: str) -> None:
        whole = page(engine, run, order="frequency", limit=36)
        parts = [page(engine, run, order="frequency", limit=10, offset=start) for start in range(0, 36, 10)]
        pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)
        assert whole["frequency"].is_monotonic_decreasing
        rising = page(engine, run, order="frequency", descending=False, limit=36)["frequency"]
        assert rising.is_monotonic_increasing

    def test_filters_agree_with_the_stored_features(self, engine: Client, run: str) -> None:
        stored = engine.table(run, "features").to_pandas()
        low, high = stored["frequency"].quantile([0.25, 0.75])
        table, total = engine.features([run], density=(low, high), seeds=[0, 2], dead="alive", limit=1000)
        wanted = stored[
            stored["frequency"].between(low, high) & stored["seed"].isin([0, 2]) & stored["alive"]
        ]
        assert total == len(wanted) == len(table) > 0
        unstable = engine.features([run], stability=(0, 0.4))[1]
        assert unstable == (stored["stability"] <= 0.4).sum()

    def test_place_of_a_feature_is_its_row(self, engine: Client, run: str) -> None:
        query = {"order": "stability", "dead": "alive", "seeds": [0, 1]}
        rows = page(engine, run, limit=100, **query)
        for number in (0, 7, len(rows) - 1):
            row = rows.iloc[number]
            named = (run, int(row["seed"]), int(row["feature"]))
            assert engine.feature_place([run], named, **query) == number
        assert engine.feature_place([run], (run, 2, 0), **query) is None

    def test_only_the_named_features(self, engine: Client, run: str) -> None:
        only = {"run": [run, run], "seed": [0, 1], "feature": [3, 5]}
        found = page(engine, run, only=only)
        assert sorted(zip(found["seed"], found["feature"], strict=True)) == [(0, 3), (1, 5)]
        assert page(engine, run, only={"run": [], "seed": [], "feature": []}).empty

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"order": "label; DROP TABLE features"}, "order"),
            ({"limit": 100_000}, "limit"),
            ({"only": {"run": ["a"], "seed": [], "feature": []}}, "only"),
            ({"only": {"run": ["a"], "seed": ["x"], "feature": [1]}}, "only"),
            ({"seeds": "all"}, "seeds"),
            ({"wrong": 1}, "wrong"),
        ],
    )
    def test_bad_queries_get_one_sentence(
        self, engine: Client, run: str, query: dict[str, object], field: str
    ) -> None:
        with pytest.raises(EngineError) as refused:
            engine.features([run], **query)
        assert refused.value.status == 422
        assert refused.value.message.startswith(f"{field}")

    def test_text_of_a_filter_is_only_compared(self, engine: Client, run: str) -> None:
        assert engine.features([run], label=HOSTILE, text=HOSTILE, tokens=HOSTILE)[1] == 0
        assert engine.features([run])[1] == 36

    def test_unknown_run_is_named(self, engine: Client) -> None:
        with pytest.raises(EngineError, match="run: 'nowhere' does not exist"):
            engine.features(["nowhere"])


class TestCard:
    def test_numbers_and_twins_are_the_stored_ones(self, engine: Client, run: str) -> None:
        card = engine.card(run, 1, 4)
        stored = engine.table(run, "features", where={"seed": 1, "feature": 4}).to_pylist()[0]
        assert {name: card[name] for name in ("frequency", "stability", "max_cosine")} == {
            name: stored[name] for name in ("frequency", "stability", "max_cosine")
        }
        matches = engine.table(run, "matches", where={"subset": "all"}).to_pandas()
        for twin in card["twins"]:
            a, b = sorted([(1, 4), (twin["seed"], twin["feature"])])
            row = matches[(matches["seed_a"] == a[0]) & (matches["seed_b"] == b[0])]
            row = row[(row["feature_a"] == a[1]) & (row["feature_b"] == b[1])]
            assert row["cosine"].item() == twin["cosine"]
        assert [twin["seed"] for twin in card["twins"]] == [0, 2]

    def test_twins_in_another_run(self, engine: Client, run: str) -> None:
        other = engine.wait(engine.submit("sae_consistency", {**TINY_WORLD, "k": 3}, [0])["id"])["id"]
        twins = engine.card(run, 0, 2, beside=[other])["twins"]
        matched = engine.match((run, 0), (other, 0), "all")["matches"].to_pandas()
        row = matched[matched["feature_a"] == 2].iloc[0]
        assert twins[-1]["run"] == other
        assert (twins[-1]["feature"], twins[-1]["cosine"]) == (row["feature_b"], row["cosine"])

    @pytest.mark.parametrize(("seed", "feature", "field"), [(9, 0, "seed"), (0, 999, "feature")])
    def test_what_does_not_exist(self, engine: Client, run: str, seed: int, feature: int, field: str) -> None:
        with pytest.raises(EngineError, match=rf"^{field}: "):
            engine.card(run, seed, feature)

    def test_a_world_has_no_cards_to_make(self, engine: Client, run: str) -> None:
        with pytest.raises(EngineError, match=r"^of: "):
            engine.make_cards(run)
        assert engine.cards_job(run) is None


class TestLibrary:
    def test_labels_notes_and_lists_are_found_again(self, engine: Client, run: str) -> None:
        engine.set_label(run, 0, 7, HOSTILE, "a note")
        engine.add_to_list("to check", [[run, 0, 7], [run, 2, 1]])
        card = engine.card(run, 0, 7)
        assert (card["label"], card["label_source"], card["note"]) == (HOSTILE, "yours", "a note")
        assert card["lists"] == ["to check"]
        assert page(engine, run, label="<script>")["feature"].tolist() == [7]
        found = page(engine, run, list="to check", order="seed", descending=False)
        assert list(zip(found["seed"], found["feature"], strict=True)) == [(0, 7), (2, 1)]

    def test_export_and_import_give_the_same_library(self, engine: Client, run: str) -> None:
        exported = json.loads(json.dumps(engine.library()))
        engine.set_label(run, 0, 7, "")
        engine.delete_list("to check")
        assert engine.library() == {"labels": [], "lists": []}
        assert engine.import_library(exported) == {"labels": 1, "lists": 2}
        assert engine.library() == exported
        assert engine.import_library(exported) == {"labels": 0, "lists": 0}

    def test_survives_a_rebuild_of_the_store(self, engine: Client, run: str) -> None:
        engine.store_rebuild()
        assert engine.card(run, 0, 7)["label"] == HOSTILE

    def test_removing_the_last_feature_removes_the_list(self, engine: Client, run: str) -> None:
        engine.remove_from_list("to check", [[run, 0, 7], [run, 2, 1]])
        assert engine.library()["lists"] == []

    @pytest.mark.parametrize("name", ["a/b", "50 % sure?", "#1", "..", "ü & co"])
    def test_a_list_of_any_name_can_be_deleted(self, engine: Client, run: str, name: str) -> None:
        engine.add_to_list(name, [[run, 0, 7]])
        assert [row["name"] for row in engine.library()["lists"]] == [name]
        engine.delete_list(name)
        assert engine.library()["lists"] == []

    @pytest.mark.parametrize(
        "content",
        [
            {"labels": [{"run": "../../x", "seed": 0, "feature": 0, "label": "x"}]},
            {"labels": [{"run": "0" * 12, "seed": 0, "feature": 0, "label": "x" * 10_000}]},
            {"lists": [{"run": "0" * 12, "seed": 0, "feature": 0, "name": " "}]},
            {"something": []},
        ],
    )
    def test_a_bad_file_changes_nothing(self, engine: Client, content: dict[str, object]) -> None:
        before = engine.library()
        with pytest.raises(EngineError, match="choose a file that Concordance exported"):
            engine.import_library(content)
        assert engine.library() == before
