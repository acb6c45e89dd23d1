"""Loss recovered, against sae-lens' own evaluation and a plain computation in transformers."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from sae_lens import StandardSAE, StandardSAEConfig
from sae_lens.evals import get_recons_loss
from sae_lens.training.activation_scaler import ActivationScaler
from torch.nn.functional import kl_div
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from data.files import write_json
from engine.language_model import LanguageModel, load, prepare_bundled
from engine.run import Run, Stopped
from engine.studies.sae_consistency.functional import Windows
from engine.tools.feature_cards.checks import Zeros, loss_recovered, write_checks

HOOK, D, LENGTH = "blocks.1.hook_out", 32, 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("llama")
    config = LlamaConfig(
        hidden_size=D, num_attention_heads=2, vocab_size=49_152, intermediate_size=48, num_hidden_layers=3,
        num_key_value_heads=1, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(found)
    tokenizer: Any = AutoTokenizer.from_pretrained(prepare_bundled())
    tokenizer.save_pretrained(found)
    return found


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return load(str(folder), "cpu")


@pytest.fixture(scope="module")
def sae() -> StandardSAE:
    torch.manual_seed(1)
    found = StandardSAE(StandardSAEConfig(d_in=D, d_sae=48, device="cpu"))
    for parameter in found.parameters():
        torch.nn.init.normal_(parameter.data, std=0.15)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    write_json(tmp_path / "config.json", {"id": "x", "study": "feature_cards", "seeds": [0], "data_seed": 0})
    yield Run(tmp_path, SimpleNamespace(checks_tokens=100))


@pytest.fixture(scope="module")
def windows() -> Windows:
    """Likely tokens, so that zeros in the model do harm."""
    generator = torch.Generator().manual_seed(5)
    kept = torch.rand(6, LENGTH, generator=generator) < 0.8
    return Windows(torch.randint(3, 49_152, (6, LENGTH), generator=generator), kept)


def likely(model: LanguageModel, windows: Windows) -> Windows:
    """The windows with what the model itself would say behind their first tokens."""
    tokens = windows.tokens[:, :3]
    for _ in range(LENGTH - 3):
        with torch.inference_mode():
            tokens = torch.cat([tokens, model.bridge(tokens, return_type="logits")[:, -1:].argmax(-1)], dim=1)
    return Windows(tokens, windows.kept)


def test_figures_equal_those_of_sae_lens(
    run: Run, model: LanguageModel, sae: StandardSAE, windows: Windows
) -> None:
    found = likely(model, windows)
    everywhere = Windows(found.tokens, torch.ones_like(found.kept))
    with torch.no_grad():
        theirs = get_recons_loss(
            sae,
            model.bridge,
            ActivationScaler(),
            found.tokens,
            compute_kl=True,
            compute_ce_loss=True,
            hook_name=HOOK,
        )
        [row] = loss_recovered(run, model, HOOK, everywhere, {3: sae}, 1.0)
    ce = {
        name: float(theirs[f"ce_loss_{name}"][:, 1:].mean())
        for name in ("without_sae", "with_sae", "with_ablation")
    }
    kl = {name: float(theirs[f"kl_div_{name}"][:, 1:-1].mean()) for name in ("with_sae", "with_ablation")}
    assert row["seed"] == 3 and row["n_tokens"] == 6 * (LENGTH - 2)
    assert row["cross_entropy"] == pytest.approx(ce["without_sae"], rel=1e-4)
    assert row["cross_entropy_sae"] == pytest.approx(ce["with_sae"], rel=1e-4)
    assert row["cross_entropy_zero"] == pytest.approx(ce["with_ablation"], rel=1e-4)
    score = (ce["with_ablation"] - ce["with_sae"]) / (ce["with_ablation"] - ce["without_sae"])
    assert row["loss_recovered"] == pytest.approx(score, rel=1e-3) and 0 < abs(score) < 1
    assert row["kl_recovered"] == pytest.approx(1 - kl["with_sae"] / kl["with_ablation"], rel=1e-3)


def test_only_kept_positions_are_replaced(
    run: Run, model: LanguageModel, folder: Path, sae: StandardSAE, windows: Windows
) -> None:
    plain: Any = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    scale, kept, tokens = 0.4, windows.kept, windows.tokens

    def predictions(replace: Any) -> torch.Tensor:
        handle = plain.model.layers[1].register_forward_hook(lambda module, inputs, output: replace(output))
        with torch.inference_mode():
            logits = plain(tokens).logits
        handle.remove()
        return logits[:, 1:-1].log_softmax(-1)

    def spliced(output: torch.Tensor) -> torch.Tensor:
        return torch.where(kept[..., None], sae.decode(sae.encode(output * scale)) / scale, output)

    original = predictions(lambda output: None)
    changed = {"sae": predictions(spliced), "zero": predictions(lambda x: x.masked_fill(kept[..., None], 0))}
    with torch.no_grad():
        [row] = loss_recovered(run, model, HOOK, windows, {0: sae}, scale)
    for name, log_q in changed.items():
        entropy = -float(log_q.gather(2, tokens[:, 2:, None]).mean())
        kl = float(kl_div(log_q, original, log_target=True, reduction="sum")) / log_q[..., 0].numel()
        assert row[f"cross_entropy_{name}"] == pytest.approx(entropy, rel=1e-4)
        assert row[f"kl_{name}"] == pytest.approx(kl, rel=1e-4)


class Identity:
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z


def test_a_perfect_sae_is_1_and_zeros_are_0(run: Run, model: LanguageModel, windows: Windows) -> None:
    saes: Any = {0: Identity(), 1: Zeros()}
    perfect, nothing = loss_recovered(run, model, HOOK, likely(model, windows), saes, 0.7)
    assert perfect["loss_recovered"] == pytest.approx(1, abs=1e-4) and perfect[
        "kl_recovered"
    ] == pytest.approx(1, abs=1e-4)
    assert nothing["loss_recovered"] == pytest.approx(0, abs=1e-6) and nothing[
        "kl_recovered"
    ] == pytest.approx(0, abs=1e-6)


def test_where_zeros_do_no_harm_nothing_is_recovered(
    run: Run, model: LanguageModel, windows: Windows
) -> None:
    untouched = Windows(windows.tokens, torch.zeros_like(windows.kept))
    saes: Any = {0: Identity()}
    [row] = loss_recovered(run, model, HOOK, untouched, saes, 1.0)
    assert row["loss_recovered"] is None or abs(row["cross_entropy_zero"] - row["cross_entropy"]) < 1e-5


def test_a_run_writes_its_table_and_stops(
    run: Run, model: LanguageModel, folder: Path, sae: StandardSAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.activations import open_activations
    from engine.studies.sae_consistency.config import Config

    monkeypatch.setenv("CONCORDANCE_HOME", str(run.directory))
    corpus = run.directory / "texts.jsonl"
    texts = [f"Document {i}: {' '.join(str(i * j) for j in range(60))}." for i in range(120)]
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    config = Config(model=str(folder), hook_point=HOOK, corpus=str(corpus), n_tokens=2_000, context_size=16)
    activations = open_activations(Run(run.directory, config))
    of: Any = SimpleNamespace(activations=activations, saes={0: sae, 5: sae}, scale=activations.scale)
    with torch.no_grad():
        write_checks(run, of, model)
    rows = pq.read_table(run.directory / "tables" / "checks.parquet").to_pylist()
    assert [row["seed"] for row in rows] == [0, 5] and rows[0]["n_tokens"] == 6 * 14
    assert {**rows[0], "seed": 5} == rows[1]
    run.should_stop = True
    with pytest.raises(Stopped):
        write_checks(run, of, model)
    run.config.checks_tokens = 0
    write_checks(run, of, model)
    assert pq.read_table(run.directory / "tables" / "checks.parquet").num_rows == 0
