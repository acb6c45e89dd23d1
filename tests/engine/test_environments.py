"""Environments beside Concordance's own: their states, the command, and workers that start in one."""

import fcntl
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data.files import write_json
from data.paths import state_dir
from engine import environments
from engine.cli import app
from engine.client import Client, EngineError
from engine.errors import UserError
from tests.sapo.tiny_models import LARGE, tiny_llada


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCORDANCE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PATH", "")  # so that no GPU is found
        yield environments.folder("llada")


def stand_in(folder: Path, recipe: str | None = None) -> None:
    """An environment whose Python is this one, announced in the worker's log."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\necho "started in $0"\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    recipe = recipe or environments._recipe(environments.ENVIRONMENTS["llada"])
    write_json(folder / environments.MARKER, {"recipe": recipe, "packages": {"transformers": "4.57.6"}})


def listed() -> str:
    told = CliRunner().invoke(app, ["env", "--json"])
    assert told.exit_code == 0, told.output
    return str(json.loads(told.output)[0]["state"])


def test_states_of_an_environment(cache: Path) -> None:
    assert listed() == "missing"
    (cache / "bin").mkdir(parents=True)
    assert listed() == "unfinished"
    stand_in(cache, recipe="of last year")
    assert listed() == "outdated"
    with pytest.raises(UserError, match="is outdated; make it with `concordance env llada`"):
        environments.interpreter("llada")
    stand_in(cache)
    assert listed() == "ready" and environments.interpreter("llada") == cache / "bin" / "python"
    assert environments.make("llada", pytest.fail)["packages"] == {"transformers": "4.57.6"}
    (cache / environments.MARKER).unlink()


def test_what_cannot_be_made_is_said(cache: Path) -> None:
    told = CliRunner().invoke(app, ["env", "dream"])
    assert told.exit_code == 2 and "choose one of llada" in told.output
    with (cache.parent / ".llada.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = CliRunner().invoke(app, ["env", "llada"])
    assert told.exit_code == 2 and "being made by another process" in told.output


def test_a_run_is_refused_until_its_environment_is_there_and_then_starts_in_it(
    cache: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine: Client = request.getfixturevalue("engine")
    own = {**LARGE, "policy": "llada", "policy_model": str(tiny_llada(tmp_path / "model"))}
    with pytest.raises(EngineError, match=r"llada .it is unfinished; `concordance env llada` makes it"):
        engine.submit("sapo", own, [0])
    with pytest.raises(
        EngineError, match=r"8B-Instruct cannot run here: it needs an NVIDIA GPU .* and the environment"
    ):
        engine.submit("sapo", {}, [0], preset="paper")
    with pytest.raises(EngineError, match=r"mdlm-v0\.1 cannot run here: it needs an NVIDIA GPU"):
        engine.submit("sapo", {"policy": "qwen"}, [0])
    assert engine.estimate("sapo", {}, [0], "paper", 0)["memory_bytes"] > 5e9
    stand_in(cache)
    with pytest.raises(EngineError, match="launch those of another environment apart"):
        engine.launch("sapo", [own, {"task": "chain"}], [0])
    run = engine.submit("sapo", own, [0])["id"]
    ended = engine.wait(run)
    assert ended["state"] == "failed" and "needs transformers below 5" in ended["error"]
    folder = state_dir() / "runs" / run
    assert f"started in {cache / 'bin' / 'python'}" in (folder / "worker.log").read_text()
    told_by = [row for row in engine.events(run)["rows"] if row["kind"] == "environment"]
    assert told_by[0]["packages"]["transformers"].startswith("5.")
    (cache / environments.MARKER).unlink()
    with pytest.raises(EngineError, match="is unfinished"):
        engine.resume(run)
