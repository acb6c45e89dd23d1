"""`concordance verify`: some claims of a study, what is stored of the others, and the table in a document."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli_verify import END, START
from engine.client import Client, EngineError
from engine.studies import STUDIES

STUDY = "label_shift"
NAMES = [claim.name for claim in STUDIES[STUDY].claims]


def concordance(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "engine.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def test_a_named_claim_queues_its_own_runs_only(engine: Client) -> None:
    ids = engine.claim_runs(STUDY, "tour", 5, ["weak_no_gain"])
    try:
        assert [run["id"] for run in engine.runs()] == ids and len(ids) == 1
        assert engine.run(ids[0])["config"]["tau"] == 0.5
    finally:
        engine.cancel(ids[0])
        engine.wait(ids[0])


def test_measuring_one_claim_leaves_the_others_as_they_are_stored(engine: Client) -> None:
    engine.measure_claims(STUDY, "paper", 5)
    rows = engine.measure_claims(STUDY, "tour", 6, ["few_rounds", "weak_no_gain"])
    assert [row["claim"] for row in rows] == ["weak_no_gain", "few_rounds"]
    stored = engine.claims(STUDY).to_pylist()
    assert [row["claim"] for row in stored] == NAMES
    assert {row["claim"] for row in stored if row["preset"] == "tour"} == {"weak_no_gain", "few_rounds"}


def test_an_unknown_claim_is_named_with_those_there_are(engine: Client) -> None:
    for ask in (engine.claim_runs, engine.measure_claims):
        with pytest.raises(EngineError) as refused:
            ask(STUDY, "tour", 5, ["weak_no_gain", "nonsense"])
        assert (
            "'nonsense' is not a claim of label_shift; it has strong_near_oracle, " in refused.value.message
        )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([STUDY, "--claim", "nonsense"], "claim: 'nonsense' is not a claim of label_shift; it has "),
        (["--all", "--claim", "few_rounds"], "claim: name the one study"),
        ([STUDY, "--markdown", "/nowhere/table.md"], "markdown: /nowhere is not a folder"),
        ([STUDY, "--markdown", "README.md"], "markdown: README.md has no lines <!-- concordance verify -->"),
    ],
)
def test_bad_words_are_one_sentence(engine: Client, words: list[str], sentence: str) -> None:
    refused = concordance("verify", *words)
    assert refused.returncode == 2 and refused.stderr.startswith(sentence)
    assert refused.stderr.count("\n") == 1


def test_the_table_of_every_study_goes_between_the_lines_of_a_document(
    engine: Client, tmp_path: Path
) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"# Before\n\n{START}\nold\n{END}\n\nAfter.\n")
    done = concordance("verify", "sapo", "--preset", "tour", "--markdown", str(page))
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.startswith(f"# Before\n\n{START}\n`concordance verify sapo") and text.endswith(
        f"{END}\n\nAfter.\n"
    )
    assert "old" not in text and text.count("**not tested**") == len(STUDIES["sapo"].claims)
