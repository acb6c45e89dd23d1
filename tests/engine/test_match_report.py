"""`concordance match`: a document other tools can rely on, and one sentence for bad input."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import Result
from torch import Tensor
from typer.testing import CliRunner

from analyses.matching import mean_correlation_coefficient
from data.files import write_json
from engine.cli import app
from engine.match_report import MatchReport, schema_text
from engine.sae_formats.common import sha256_of
from engine.sae_formats.sae_lens import write_checkpoint

SCHEMA = Path(__file__).parents[2] / "docs" / "match.schema.json"
D_IN = 16


def rows(n: int, seed: int, d_in: int = D_IN) -> Tensor:
    return torch.randn(n, d_in, generator=torch.Generator().manual_seed(seed))


def write(folder: Path, decoder: Tensor, **metadata: Any) -> str:
    n, d_in = decoder.shape
    tensors = {"encoder": decoder, "decoder": decoder, "b_enc": torch.zeros(n), "b_dec": torch.zeros(d_in)}
    write_checkpoint(folder, "topk", tensors, k=2, metadata=metadata)
    return str(folder)


def concordance(*words: str) -> Result:
    return CliRunner().invoke(app, ["match", *words])


def asked(*words: str) -> dict[str, Any]:
    done = concordance(*words, "--json")
    assert done.exit_code == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(report, json.loads(SCHEMA.read_text()))
    MatchReport.model_validate_json(done.stdout)
    return report


def test_the_published_schema_is_the_current_one() -> None:
    assert SCHEMA.read_text() == schema_text(), "run `python -m engine.match_report > docs/match.schema.json`"
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


def test_a_permuted_and_scaled_dictionary_is_the_same(tmp_path: Path) -> None:
    decoder = rows(30, 0)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    scales = torch.linspace(0.2, 5, 30)[:, None]
    a = write(tmp_path / "a", decoder, model_name="gpt2", hook_name="blocks.3.hook_out", init_seed=0)
    b = write(tmp_path / "b", decoder[order] * scales, model_name="gpt2", hook_name="blocks.4.hook_out")
    report = asked(a, b)
    summary = report["summary"]
    for name in (
        "pw_mcc_abs",
        "pw_mcc_signed",
        "calibrated",
        "max_cosine_ab",
        "max_cosine_ba",
        "shared_share",
    ):
        assert summary[name] == pytest.approx(1, abs=1e-6), name
    assert summary["n"] == 30 and 0.3 < summary["null_mean"] < 0.7 and summary["null_draws"] == 50
    assert report["method"]["optimality_gap"] == 0
    assert sorted(pair["feature_a"] for pair in report["pairs"]) == list(range(30))
    assert all(order[pair["feature_b"]] == pair["feature_a"] for pair in report["pairs"])
    assert [pair["rank"] for pair in report["pairs"]] == list(range(30))
    assert report["unmatched_a"] == report["unmatched_b"] == []
    side = report["a"]
    assert (side["source"], side["format"], side["architecture"]) == (a, "sae-lens", "topk")
    assert (side["d_in"], side["d_sae"], side["n_features"]) == (D_IN, 30, 30)
    assert side["decoder_sha256"] == sha256_of([decoder])
    assert side["metadata"]["init_seed"] == 0
    assert report["warnings"] == ["a and b differ in hook_name: blocks.3.hook_out and blocks.4.hook_out."]
    assert report["schema_version"] == "1.0" and report["tool"]["name"] == "concordance-workbench"


def test_signs_count_in_the_signed_value_only(tmp_path: Path) -> None:
    decoder = rows(12, 0)
    flipped = decoder * torch.tensor([1.0, -1.0]).repeat(6)[:, None]
    report = asked(write(tmp_path / "a", decoder), write(tmp_path / "b", flipped))
    assert report["summary"]["pw_mcc_abs"] == pytest.approx(1, abs=1e-6)
    assert report["summary"]["pw_mcc_signed"] < 0.95
    assert sum(pair["cosine"] < 0 for pair in report["pairs"]) == 6


@pytest.mark.parametrize("swapped", [False, True])
def test_dictionaries_of_different_size(tmp_path: Path, swapped: bool) -> None:
    small, large = write(tmp_path / "a", rows(40, 0)), write(tmp_path / "b", rows(64, 1))
    report = asked(*((large, small) if swapped else (small, large)))
    more, fewer = ("a", "b") if swapped else ("b", "a")
    matched = [pair[f"feature_{more}"] for pair in report["pairs"]]
    assert report["summary"]["n"] == len(matched) == 40
    assert sorted(matched + report[f"unmatched_{more}"]) == list(range(64))
    assert report[f"unmatched_{fewer}"] == []
    expected = mean_correlation_coefficient(rows(40, 0), rows(64, 1))
    assert report["summary"]["pw_mcc_abs"] == pytest.approx(expected, abs=1e-6)
    cosine = np.abs([pair["cosine"] for pair in report["pairs"]])
    assert report["summary"]["pw_mcc_abs"] == pytest.approx(cosine.mean(), abs=1e-9)
    assert report["summary"]["shared_share"] == np.mean(cosine >= 0.7)
    assert list(cosine) == sorted(cosine, reverse=True)
    assert (
        "PW-MCC is near chance: random directions of these sizes agree nearly as much." in report["warnings"]
    )


def test_zero_rows_near_duplicates_and_one_decoder_twice_are_pointed_out(tmp_path: Path) -> None:
    decoder = rows(10, 0)
    decoder[3] = 0
    decoder[7] = decoder[6] * 2
    report = asked(write(tmp_path / "a", decoder), write(tmp_path / "b", decoder))
    assert report["warnings"][0] == "a: 1 of 10 decoder rows are zero and count as cosine 0: 3."
    assert report["warnings"][1].startswith("a: 2 of 10 features have another of the same dictionary")
    assert report["warnings"][-1] == "a and b hold the same decoder."
    assert len(report["warnings"]) == 5


def test_out_writes_the_document_and_the_table_is_for_reading(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", rows(40, 0)), write(tmp_path / "b", rows(40, 0) + 0.2 * rows(40, 1))
    done = concordance(a, b, "--out", str(tmp_path / "match.json"))
    assert done.exit_code == 0
    report = MatchReport.model_validate_json((tmp_path / "match.json").read_text())
    assert f"PW-MCC      {report.summary.pw_mcc_abs:.4f}  over 40 pairs" in done.stdout
    assert "Best pairs" in done.stdout and "Worst pairs" in done.stdout
    ranks = [line.split()[0] for line in done.stdout.splitlines() if line[:12].strip().isdigit()]
    assert ranks == [str(rank) for rank in [*range(10), *range(30, 40)]]
    few = concordance(write(tmp_path / "c", rows(5, 2)), b)
    assert "Pairs" in few.stdout and "Worst pairs" not in few.stdout


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder with one finished run, abc1, of two seeds, and one that was cancelled."""
    folder = tmp_path / "home"
    monkeypatch.setenv("CONCORDANCE_HOME", str(folder))
    for run, state in (("abc1", "done"), ("abc2", "cancelled")):
        directory = folder / "runs" / run
        (directory / "tables").mkdir(parents=True)
        record = {"id": run, "study": "sae_consistency", "preset": "tour", "seeds": [0, 4], "data_seed": 3}
        write_json(directory / "config.json", {**record, "fingerprint": "f", "code_version": "c"})
        write_json(directory / "state.json", {"state": state})
        for seed in (0, 4):
            write(directory / "saes" / f"seed-{seed}", rows(20, seed), model_name="tiny", init_seed=seed)
        features = np.tile(np.arange(20), 2)
        alive = features < np.repeat([15, 16], 20)
        table = pa.table({"seed": np.repeat([0, 4], 20), "feature": features, "alive": alive})
        pq.write_table(table, directory / "tables" / "features.parquet")
    return folder


def test_saes_of_a_finished_run(home: Path) -> None:
    report = asked("abc1:0", "abc1:4")
    assert report["summary"]["n"] == 20 and report["method"]["subset"] == "all"
    origin = report["b"]["metadata"]["run"]
    assert (origin["id"], origin["seed"], origin["data_seed"], origin["fingerprint"]) == ("abc1", 4, 3, "f")
    assert report["b"]["metadata"]["model_name"] == "tiny"
    alive = asked("abc1:0", "abc1:4", "--subset", "alive")
    assert (alive["summary"]["n"], alive["method"]["subset"]) == (15, "alive")
    assert (alive["a"]["n_features"], alive["b"]["n_features"], alive["b"]["d_sae"]) == (15, 16, 20)
    assert alive["a"]["decoder_sha256"] == report["a"]["decoder_sha256"]
    assert max(pair["feature_b"] for pair in alive["pairs"]) <= 15 and len(alive["unmatched_b"]) == 1
    mixed = asked("abc1:0", str(home / "runs" / "abc1" / "saes" / "seed-0"))
    assert mixed["summary"]["pw_mcc_abs"] == pytest.approx(1, abs=1e-6)
    assert "a and b hold the same decoder." in mixed["warnings"]


@pytest.mark.parametrize(
    ("words", "field", "part"),
    [
        (["nowhere", "abc1:0"], "checkpoint", "nowhere is neither a folder nor RUN:SEED"),
        (["abc1:0", "../abc1:0"], "checkpoint", "is neither a folder nor RUN:SEED"),
        (["abc1:0", "abc3:0"], "run", "abc3 does not exist"),
        (["abc2:0", "abc1:0"], "run", "abc2 is cancelled"),
        (["abc1:0", "abc1:1"], "seed", "abc1 has no SAE of seed 1; it has 0, 4"),
        (["abc1:0", "WIDE"], "checkpoint", "match SAEs of vectors of one width"),
        (["abc1:0", "FOLDER", "--subset", "alive"], "subset", "use --subset all"),
        (["abc1:0", "abc1:4", "--out", "/nowhere/match.json"], "out", "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence_with_status_2(
    home: Path, tmp_path: Path, words: list[str], field: str, part: str
) -> None:
    folders = {
        "WIDE": write(tmp_path / "wide", rows(5, 0, 17)),
        "FOLDER": write(tmp_path / "sae", rows(5, 0)),
    }
    done = concordance(*(folders.get(word, word) for word in words))
    assert done.exit_code == 2 and done.stdout == ""
    assert done.stderr.startswith(f"{field}: ") and part in done.stderr and done.stderr.count("\n") == 1


def test_it_runs_as_a_command_without_an_engine(home: Path) -> None:
    command = [sys.executable, "-m", "engine.cli", "match", "abc1:0", "abc1:4", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and done.stderr == ""
    assert json.loads(done.stdout)["summary"]["n"] == 20
    assert {path.name for path in home.iterdir()} == {"runs"}
