"""Reviews of triplets: nothing acknowledged is lost on a kill, reviewers never overwrite each other, undo, selections, files."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import load_dataset
from PIL import Image

from engine.client import Client, EngineError, connect, start_engine
from engine.reviews import Act, Reviews, RunLog, decisions
from tests.app.causal_tables import engine_on
from tests.app.srf_tables import write_run

RUN, WEAK = "aaaaaaaaaaa1", "bbbbbbbbbbb1"
WRITER = """
import sys
from pathlib import Path
from engine.reviews import Act, Reviews
reviews = Reviews(Path(sys.argv[1]))
for number in range(100_000):
    reviews.record("run", [Act(who="ana", triplet=number, verdict="keep")])
    print(number, flush=True)
"""
CUT = {"score": "triangle", "ties": "confidence", "keep": 0.2}


def act(who: str, triplet: int, verdict: str = "keep", **texts: str) -> Act:
    return Act(who=who, triplet=triplet, verdict=verdict, **texts)  # type: ignore[arg-type]


class TestLog:
    def test_what_was_acknowledged_survives_a_kill(self, tmp_path: Path) -> None:
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(40)]
        os.kill(child.pid, signal.SIGKILL)
        said += child.stdout.readlines()
        child.wait()
        acknowledged = [int(line) for line in said if line.endswith("\n")]
        kept = Reviews(tmp_path).log("run").verdicts()["ana"]
        assert len(acknowledged) >= 40 and set(acknowledged) <= set(kept)

    def test_a_line_that_was_cut_off_costs_that_line_alone(self, tmp_path: Path) -> None:
        reviews = Reviews(tmp_path)
        reviews.record("run", [act("ana", 1), act("ana", 2)])
        path = tmp_path / "reviews" / "run" / "log.jsonl"
        path.write_bytes(path.read_bytes()[:-7])
        again = Reviews(tmp_path)
        assert set(again.log("run").verdicts()["ana"]) == {1}
        again.record("run", [act("ben", 3)])
        found = Reviews(tmp_path).log("run").verdicts()
        assert set(found["ana"]) == {1} and set(found["ben"]) == {3}

    def test_two_reviewers_at_once_keep_every_act(self, tmp_path: Path) -> None:
        reviews = Reviews(tmp_path)

        def judge(who: str, verdict: str) -> None:
            for number in range(60):
                reviews.record("run", [act(who, number, verdict)])

        threads = [threading.Thread(target=judge, args=one) for one in (("ana", "keep"), ("ben", "reject"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log = RunLog(tmp_path / "reviews" / "run")
        assert [len(acts) for acts in log.verdicts().values()] == [60, 60]
        assert len({one["id"] for one in log.acts}) == 120
        (pair,) = Reviews(tmp_path).summary("run")["agreement"]
        assert (pair["n"], pair["share"], pair["kappa"]) == (60, 0.0, 0.0)

    def test_undo_takes_back_ones_own_last_batch_and_is_logged(self, tmp_path: Path) -> None:
        log = Reviews(tmp_path).log("run")
        reviews = Reviews(tmp_path)
        log = reviews.log("run")
        reviews.record("run", [act("ana", 1)])
        reviews.record("run", [act("ana", 2, "reject"), act("ana", 3, "reject")])
        reviews.record("run", [act("ben", 1, "reject")])
        assert log.undo("ana") == {"verdict": "reject", "triplet": 3, "count": 2}
        assert set(log.verdicts()["ana"]) == {1} and set(log.verdicts()["ben"]) == {1}
        assert log.undo("ana") is not None and log.undo("ana") is None
        assert len(log.acts) == 6 and reviews.summary("run")["acts"][0]["undo_of"] == 1
        assert RunLog(tmp_path / "reviews" / "run").verdicts().keys() == {"ben"}

    def test_the_last_act_of_a_reviewer_on_a_triplet_counts(self, tmp_path: Path) -> None:
        reviews = Reviews(tmp_path)
        for verdict in ("keep", "reject"):
            reviews.record("run", [act("ana", 1, verdict)])
        assert reviews.log("run").verdicts()["ana"][1]["verdict"] == "reject"

    def test_reviewers_decide_by_majority_and_an_edit_is_a_mistake_of_the_model(self, tmp_path: Path) -> None:
        reviews = Reviews(tmp_path)
        edit = act("cat", 1, "edit", question="Q?", answer="A")
        for one in (
            act("ana", 1),
            act("ben", 1, "reject"),
            edit,
            act("ana", 2),
            act("ben", 2, "reject"),
            act("ana", 3),
        ):
            reviews.record("run", [one])
        found = decisions(reviews.log("run").verdicts())
        assert {one: (row["decision"], row["right"]) for one, row in found.items()} == {
            1: (1, 0.0),
            2: (0, None),
            3: (1, 1.0),
        }
        assert found[1]["edit"]["answer"] == "A" and found[3]["edit"] is None

    def test_an_edit_needs_both_texts(self) -> None:
        with pytest.raises(ValueError, match="needs a question and an answer"):
            act("ana", 1, "edit", question="Q?")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def engine(home: Path) -> Iterator[Client]:
    write_run(home, RUN)
    write_run(home, WEAK, seeds=(0,), is_weak=True, n=60)
    with engine_on(home) as client:
        yield client


@pytest.fixture(scope="module")
def triplets(home: Path, engine: Client) -> pd.DataFrame:
    return pd.read_parquet(home / "runs" / RUN / "tables" / "srf_triplets.parquet").set_index("triplet")


class TestPages:
    def test_pages_are_the_list_in_order(self, engine: Client, triplets: pd.DataFrame) -> None:
        first, total, _ = engine.triplets(RUN, limit=20, order="score", descending=True)
        second, _, _ = engine.triplets(RUN, limit=20, offset=20, order="score", descending=True)
        scores = first["score"].to_pylist() + second["score"].to_pylist()
        assert total == len(triplets) and scores == sorted(triplets["score"], reverse=True)[:40]
        place = engine.triplets(
            RUN, limit=1, order="score", descending=True, place_of=second["triplet"][3].as_py()
        )[2]
        assert place == 23

    def test_the_cut_keeps_the_best_of_every_seed_and_type(
        self, engine: Client, triplets: pd.DataFrame
    ) -> None:
        kept, _, _ = engine.triplets(RUN, cut=CUT, shown="kept", limit=200)
        mine = triplets.loc[kept["triplet"].to_pylist()]
        sizes = triplets.groupby(["seed", "type"]).size()
        counts = mine.groupby(["seed", "type"]).size().reindex(sizes.index, fill_value=0)
        assert counts.tolist() == np.floor(0.2 * sizes + 1e-9).astype(int).tolist()
        rest = triplets.drop(mine.index)
        for key, part in mine.groupby(["seed", "type"]):
            left = rest[(rest["seed"] == key[0]) & (rest["type"] == key[1])]
            best = left.sort_values(["score", "logp_answer"], ascending=False).iloc[0]
            worst = part.sort_values(["score", "logp_answer"]).iloc[0]
            assert (worst["score"], worst["logp_answer"]) >= (best["score"], best["logp_answer"])

    def test_queues_hold_what_the_ranking_gets_wrong(self, engine: Client, triplets: pd.DataFrame) -> None:
        summary = engine.triplet_summary(RUN, cut=CUT)
        for queue, truth, inside in (("consistent_wrong", False, True), ("inconsistent_right", True, False)):
            page, total, _ = engine.triplets(RUN, cut=CUT, queue=queue, limit=200)
            assert total == summary["queues"][queue] > 0
            assert ((triplets.loc[page["triplet"].to_pylist(), "truth"] == "true") == truth).all()
            assert set(page["inside"].to_pylist()) == {inside}
        total = summary["total"]
        right = triplets["truth"] == "true"
        assert total["precision"] == pytest.approx(right.mean()) and summary["basis"] == "exact"
        assert total["tied"] == (triplets["score"] >= 1).sum()

    def test_filters_and_refusals(self, engine: Client, triplets: pd.DataFrame) -> None:
        page, total, _ = engine.triplets(RUN, types=["colour"], seeds=[1], text="PURPLE", limit=200)
        found = triplets.loc[page["triplet"].to_pylist()]
        assert total == len(found) > 0 and set(found["type"]) == {"colour"} and set(found["seed"]) == {1}
        texts = found[["question", "answer", "question_again", "answer_again"]]
        assert texts.agg(" ".join, axis=1).str.contains("purple").all()
        assert engine.triplets(RUN, only=[5, 999_999])[1] == 1
        for query in ({"types": ["nothing"]}, {"cut": {"score": "best"}}, {"limit": 100_000}):
            with pytest.raises(EngineError) as refused:
                engine.triplets(RUN, **query)
            assert refused.value.status == 422

    def test_every_row_has_its_image_with_tier_and_licence(self, engine: Client) -> None:
        page, _, _ = engine.triplets(RUN, limit=5)
        for row in page.to_pylist():
            assert Image.open(io.BytesIO(row["png"])).size == (48, 48)
            assert (row["tier"], row["licence"]) == ("rendered", "Apache-2.0")

    def test_the_summary_follows_the_value_cut(self, engine: Client, triplets: pd.DataFrame) -> None:
        total = engine.triplet_summary(RUN, cut={"score": "triangle", "least": 0.9})["total"]
        assert total["kept"] == (triplets["score"] >= 0.9).sum()


class TestReviewing:
    def test_verdicts_override_the_cut_and_undo_gives_it_back(self, engine: Client) -> None:
        out = engine.triplets(WEAK, cut=CUT, shown="rejected", limit=3)[0]["triplet"].to_pylist()
        before = engine.triplet_summary(WEAK, cut=CUT)["total"]["kept"]
        engine.review(WEAK, [{"who": "ana", "triplet": number, "verdict": "keep"} for number in out])
        assert engine.triplet_summary(WEAK, cut=CUT)["total"]["kept"] == before + 3
        kept = engine.triplets(WEAK, cut=CUT, only=out)[0].to_pylist()
        assert all(
            row["kept"] and not row["inside"] and json.loads(row["verdicts"]) == {"ana": "keep"}
            for row in kept
        )
        engine.review(WEAK, [{"who": "ben", "triplet": out[0], "verdict": "reject"}])
        assert engine.triplets(WEAK, cut=CUT, queue="disputed")[0]["triplet"].to_pylist() == out[:1]
        assert engine.undo_review(WEAK, "ana") == {"verdict": "keep", "triplet": out[2], "count": 3}
        assert engine.triplet_summary(WEAK, cut=CUT)["total"]["kept"] == before
        assert engine.undo_review(WEAK, "cat") is None

    def test_everything_listed_can_be_judged_at_once_and_undone_at_once(self, engine: Client) -> None:
        wrong = engine.triplet_summary(WEAK, cut=CUT)["queues"]["consistent_wrong"]
        assert engine.review_all(WEAK, "dee", "reject", cut=CUT, queue="consistent_wrong") == wrong
        assert engine.triplet_summary(WEAK, cut=CUT)["total"]["precision_kept"] == 1.0
        assert engine.undo_review(WEAK, "dee")["count"] == wrong  # type: ignore[index]

    def test_an_unknown_triplet_is_refused(self, engine: Client) -> None:
        with pytest.raises(EngineError, match="has no triplet 99999"):
            engine.review(WEAK, [{"who": "ana", "triplet": 99_999, "verdict": "keep"}])


class TestFiles:
    def test_the_llava_file_loads_with_datasets_and_its_images_open(
        self, engine: Client, tmp_path: Path
    ) -> None:
        number = engine.triplets(RUN, cut=CUT, shown="kept", limit=1)[0]["triplet"][0].as_py()
        edit = {
            "who": "ana",
            "triplet": number,
            "verdict": "edit",
            "question": "Which colour?",
            "answer": "teal",
        }
        engine.review(RUN, [edit])
        saved = engine.save_selection(RUN, "best 20", cut=CUT, shown="kept")
        content = json.loads(Path(saved["path"]).read_text())
        assert content["run"] == RUN and len(content["triplets"]) == saved["count"]
        assert content["edits"] == {str(number): {"question": "Which colour?", "answer": "teal"}}
        with zipfile.ZipFile(io.BytesIO(engine.triplet_file(RUN, "llava", "best 20"))) as file:
            file.extractall(tmp_path / "out")
        rows = load_dataset(
            "json",
            data_files=str(tmp_path / "out" / "llava.json"),
            split="train",
            cache_dir=str(tmp_path / "cache"),
        )
        assert len(rows) == saved["count"] and len(set(rows["id"])) == len(rows)
        for row in rows:
            assert Image.open(tmp_path / "out" / row["image"]).convert("RGB").size == (48, 48)
            human, model = row["conversations"]
            assert (human["from"], model["from"]) == ("human", "gpt") and human["value"].startswith(
                "<image>\n"
            )
        edited = next(row for row in rows if row["id"] == f"{RUN}-{number}")
        assert [turn["value"] for turn in edited["conversations"]] == ["<image>\nWhich colour?", "teal"]

    def test_parquet_holds_the_images_as_images(self, engine: Client, tmp_path: Path) -> None:
        path = tmp_path / "kept.parquet"
        path.write_bytes(engine.triplet_file(RUN, "parquet", cut=CUT, shown="kept"))
        rows = load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
        assert rows[0]["image"].size == (48, 48) and rows[0]["tier"] == "rendered"

    def test_csv_and_sheet_hold_every_triplet_and_the_texts_as_text(self, engine: Client) -> None:
        total = engine.triplets(RUN, seeds=[0])[1]
        text = engine.triplet_file(RUN, "csv", seeds=[0]).decode()
        rows = list(csv.DictReader(io.StringIO(text)))
        assert len(rows) == total and any("<script>" in row["question"] for row in rows)
        sheet = engine.triplet_file(RUN, "html", seeds=[0]).decode()
        assert sheet.count("<img ") == total and "<script>" not in sheet and "&lt;script&gt;" in sheet

    def test_selections_are_listed_refused_and_deleted(self, engine: Client) -> None:
        engine.save_selection(WEAK, "a", cut=CUT, shown="kept")
        assert [one["name"] for one in engine.selections(WEAK)] == ["a"]
        for name, query, word in (("../up", {}, "name"), ("b", {"text": "zzzz"}, "no triplet passes")):
            with pytest.raises(EngineError, match=word):
                engine.save_selection(WEAK, name, **query)
        engine.delete_selection(WEAK, "a")
        assert engine.selections(WEAK) == []
        with pytest.raises(EngineError, match="does not exist"):
            engine.triplet_file(WEAK, "csv", "a")


def test_reviews_survive_a_kill_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, WEAK, seeds=(0,), n=40)
    monkeypatch.setenv("CONCORDANCE_HOME", str(tmp_path))
    process = start_engine()
    client = connect(start=False)
    for number, who in enumerate(("ana", "ben")):
        client.review(WEAK, [{"who": who, "triplet": number, "verdict": "reject"}])
        client.save_selection(WEAK, who)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    found = Reviews(tmp_path)
    verdicts = found.log(WEAK).verdicts()
    assert {who: list(acts) for who, acts in verdicts.items()} == {"ana": [0], "ben": [1]}
    assert {one["name"] for one in found.selections(WEAK)} == {"ana", "ben"}
