"""A SAE that sae-lens trained becomes a run: same activations, matched with one's own seed, with cards."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from engine.activations import Activations
from engine.client import Client
from engine.language_model import prepare_bundled
from tests.sae_consistency.test_sae_lens_trainer import largest_difference, trained_by_sae_lens

D, D_SAE = 32, 64
HOOK = "blocks.1.hook_resid_post"
WORDS = ["the", "of", "river", "stone", "bird", "under", "bright", "runs", "sings", "old", "blue", "north"]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    config = LlamaConfig(
        hidden_size=D, num_attention_heads=2, vocab_size=49_152, intermediate_size=48, num_hidden_layers=3,
        num_key_value_heads=1, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(prepare_bundled())
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = torch.Generator().manual_seed(0)
    file = tmp_path_factory.mktemp("text") / "corpus.txt"
    picks = torch.randint(len(WORDS), (900, 12), generator=generator).tolist()
    file.write_text("\n\n".join(" ".join(WORDS[i] for i in row) + "." for row in picks))
    return file


@pytest.fixture(scope="module")
def own(engine: Client, model: Path, corpus: Path) -> dict[str, Any]:
    """A run of one seed trained here."""
    settings = {
        "model": str(model), "corpus": str(corpus), "hook_point": HOOK, "n_tokens": 5_000, "context_size": 32,
        "d_sae": D_SAE, "k": 8, "n_steps": 100, "batch_size": 256, "functional_tokens": 0,
    }  # fmt: skip
    run = engine.wait(engine.submit("sae_consistency", settings, [0])["id"])
    assert run["state"] == "done", run["error"]
    return run


@pytest.fixture(scope="module")
def x(engine: Client, own: dict[str, Any]) -> Tensor:
    """Raw activations that the run read."""
    import os

    (folder,) = (Path(os.environ["CONCORDANCE_HOME"]) / "activations").glob("[!.]*")
    rows = Activations(folder).train
    return torch.from_numpy(rows.gather(torch.arange(2_000).numpy()) / rows.scale)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model: Path, x: Tensor) -> Iterator[tuple[Path, Any]]:
    from sae_lens.saes.sae import SAEMetadata

    path = tmp_path_factory.mktemp("trained") / "sae"
    metadata = SAEMetadata(model_name=str(model), hook_name=HOOK)
    yield path, trained_by_sae_lens(path, "topk", x, D_SAE, metadata=metadata)


@pytest.fixture(scope="module")
def imported(engine: Client, folder: tuple[Path, Any], corpus: Path) -> dict[str, Any]:
    """The run that the command makes of the folder; the files tell model and hook point."""
    words = ["import-sae", str(folder[0]), "--corpus", str(corpus), "--n-tokens", "5000", "--wait", "--json"]
    done = subprocess.run([sys.executable, "-m", "engine.cli", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, run = json.loads(done.stdout)["found"], json.loads(done.stdout)["run"]
    assert found[0]["sentence"].startswith("A sae-lens TopK SAE, 64 latents on 32-wide vectors, k 8, read at")
    assert run["state"] == "done" and run["config"]["hook_point"] == "blocks.1.hook_out"
    return run


def test_the_run_holds_what_sae_lens_computes(
    imported: dict[str, Any], folder: tuple[Path, Any], x: Tensor
) -> None:
    import os

    from sae_lens import SAE

    kept = Path(os.environ["CONCORDANCE_HOME"]) / "runs" / imported["id"] / "saes" / "seed-0"
    with torch.no_grad():
        ours, theirs = SAE.load_from_disk(str(kept)).encode(x), folder[1].encode(x)
    assert largest_difference(ours, theirs) <= 1e-5


def test_it_is_matched_with_ones_own_seed(
    engine: Client, own: dict[str, Any], imported: dict[str, Any]
) -> None:
    found = engine.match((own["id"], 0), (imported["id"], 0), "all")
    assert len(found["matches"]) == D_SAE and 0 < found["summary"]["pw_mcc_abs"] <= 1


def test_asking_again_returns_the_run(
    engine: Client, imported: dict[str, Any], folder: tuple[Path, Any], corpus: Path
) -> None:
    again = engine.import_sae([str(folder[0])], corpus=str(corpus), n_tokens=5_000)
    assert again["id"] == imported["id"]


def test_its_cards_are_made(engine: Client, imported: dict[str, Any]) -> None:
    queued = engine.cards_job(imported["id"])
    assert queued is not None and queued["config"]["of"] == imported["id"]
    engine.cancel(queued["id"])
    job = engine.make_cards(imported["id"], probe_documents=0, checks_tokens=256)
    assert engine.wait(job["id"])["state"] == "done"
    table, total = engine.features([imported["id"]], order="density")
    assert total == D_SAE and table["density"].to_pylist()[0] > 0
    feature = int(table["feature"].to_pylist()[0])
    card = engine.card(imported["id"], 0, feature)
    assert card["alive"] and card["examples"] and card["recipe"]["d_sae"] == D_SAE


def test_the_lab_reads_it(engine: Client, imported: dict[str, Any]) -> None:
    request = {"run": imported["id"], "seed": 0, "prompt": "the river sings"}
    events = {event["kind"]: event for event in engine.lab(request)}
    assert "done" in events, events
    assert len(events["tokens"]["tokens"]) == 4 and events["features"]["feature"]
