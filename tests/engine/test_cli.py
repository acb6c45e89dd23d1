"""The command line as a script would use it: JSON on stdout, one sentence on stderr, exit status."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.client import connect
from engine.studies import STUDIES

WORLD = [
    "--set", "source=synthetic", "--set", "d_in=8", "--set", "n_true_features=12", "--set", "true_sparsity=2",
    "--set", "n_samples=2000", "--set", "d_sae=12", "--set", "k=2", "--set", "batch_size=128",
    "--set", "n_match_points=4",
]  # fmt: skip
SHORT, LONG = ["--set", "n_steps=60"], ["--set", "n_steps=500000"]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before, folder = os.environ.get("CONCORDANCE_HOME"), tmp_path_factory.mktemp("home")
    os.environ["CONCORDANCE_HOME"] = str(folder)
    yield folder
    connect().shutdown()
    if before is None:
        del os.environ["CONCORDANCE_HOME"]
    else:
        os.environ["CONCORDANCE_HOME"] = before


def concordance(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "engine.cli", *words], capture_output=True, text=True, timeout=200
    )


def asked(*words: str) -> Any:
    done = concordance(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_run_starts_an_engine_waits_and_prints_the_result() -> None:
    run = asked("run", "sae_consistency", "--seeds", "3", *WORLD, *SHORT, "--wait")
    assert run["state"] == "done"
    assert len(run["results"]["saes"]) == 3
    assert len([row for row in run["results"]["pairs"] if row["subset"] == "all"]) == 3
    assert asked("runs")[0]["id"] == run["id"]
    assert any(event["kind"] == "log" for event in asked("logs", run["id"])["events"])
    again = asked("run", "sae_consistency", "--seeds", "3", *WORLD, *SHORT)
    assert again["id"] == run["id"]


def test_the_shown_command_asks_for_the_very_run() -> None:
    run = asked("run", "sae_consistency", "--seed-list", "4,7", "--data-seed", "2", *WORLD, *SHORT)
    words = run["command"].split()
    assert words[0] == "concordance"
    assert asked(*words[1:])["id"] == run["id"]


def test_cancel_and_resume() -> None:
    run = asked("run", "sae_consistency", "--seeds", "2", *WORLD, *LONG)
    while asked("runs", "--limit", "1")[0]["state"] != "running":
        time.sleep(0.2)
    assert asked("cancel", run["id"])["state"] == "cancelled"
    assert asked("resume", run["id"])["state"] in ("queued", "running")
    asked("cancel", run["id"])


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["run", "nothing"], "study"),
        (["run", "sae_consistency", "--preset", "huge"], "preset"),
        (["run", "sae_consistency", "--set", "d_sae=0"], "d_sae"),
        (["run", "sae_consistency", "--set", "k=5000"], "k"),
        (["run", "sae_consistency", "--set", "nonsense=1"], "nonsense"),
        (["run", "sae_consistency", "--set", "nonsense"], "set"),
        (["run", "sae_consistency", "--seed-list", "a"], "seed-list"),
        (["run", "sae_consistency", "--set", "hook_point=blocks.99.hook_out"], "hook_point"),
        (["run", "sae_consistency", "--set", "model=/nowhere"], "model"),
        (["run", "sae_consistency", "--set", "corpus=/nowhere.txt"], "corpus"),
        (["cancel", "unknown"], "run"),
        (["verify"], "study"),
    ],
)
def test_bad_input_is_one_sentence_with_status_2(words: list[str], field: str) -> None:
    done = concordance(*words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{field}: ") and done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_failed_run_is_status_1() -> None:
    done = concordance(
        "run", "sae_consistency", *WORLD, *SHORT, "--set", "batch_size=99999", "--wait", "--json"
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"].startswith("batch_size: ")


def test_store_commands_and_doctor() -> None:
    assert asked("store", "check") == {"sound": True, "problems": []}
    assert asked("store", "rebuild")["runs"] >= 3
    report = {finding["name"]: finding for finding in asked("doctor")["findings"]}
    for name in ("python", "packages", "state folder", "offline assets", "engine", "store"):
        assert report[name]["level"] == "sound", report[name]


def test_studies_lists_every_study_and_its_entry_to_cite() -> None:
    listed = asked("studies")
    assert {study["name"] for study in listed} == set(STUDIES)
    cited = concordance("studies", "--bibtex").stdout
    assert all(study.paper in cited for study in STUDIES.values())


def test_store_check_finds_a_damaged_result(home: Path) -> None:
    run = asked("run", "sae_consistency", "--seeds", "2", *WORLD, *SHORT, "--wait")
    file = home / "runs" / run["id"] / "saes" / "seed-0" / "sae_weights.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    done = concordance("store", "check", "--json")
    file.write_bytes(content)
    assert done.returncode == 1
    assert "sae_weights.safetensors is damaged" in json.loads(done.stdout)["problems"][0]


def test_a_grid_is_one_launch() -> None:
    runs = asked("run", "sae_consistency", "--seeds", "2", *WORLD, *SHORT, "--set", "world_seed=5", "--grid", "k=1,2", "--grid", "architecture=topk,relu", "--wait")  # fmt: skip
    assert [run["state"] for run in runs] == ["done"] * 4
    assert len({(run["config"]["architecture"], run["config"]["k"]) for run in runs}) == 4
    assert len({run["group"] for run in runs}) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["run", "sae_consistency", "--grid", "k=1,2", "--sweep", "k"],
            "grid: a sweep brings its own settings",
        ),
        (
            ["run", "sae_consistency", "--sweep", "nonsense"],
            "sweep: 'nonsense' does not exist; choose one of",
        ),
        (["import-sae", "/nowhere"], "checkpoint: "),
        (["match", "/nowhere", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_launches_imports_and_matches_are_one_sentence(words: list[str], sentence: str) -> None:
    refused = concordance(*words)
    assert refused.returncode == 2
    assert sentence in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
