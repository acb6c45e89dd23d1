"""What ablating features does to a language model, against plain transformers with a replacing hook."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import kl_div
from transformers import AutoTokenizer, BloomConfig, GPTNeoXConfig, LlamaConfig

from data.files import write_json
from engine.activations import open_activations
from engine.language_model import LanguageModel, load, prepare_bundled
from engine.run import Run, Stopped
from engine.studies.sae_consistency.config import Config
from engine.studies.sae_consistency.functional import (
    SplicedModel,
    Windows,
    ablation_groups,
    ablations,
    held_out_windows,
)

D, LAYERS, LENGTH = 32, 4, 12
SIZES: dict[str, Any] = {"hidden_size": D, "num_attention_heads": 2, "vocab_size": 49_152}
CONFIGS: dict[str, Any] = {
    "llama": LlamaConfig(
        intermediate_size=48, num_hidden_layers=LAYERS, num_key_value_heads=1, initializer_range=0.3, **SIZES
    ),
    "neox": GPTNeoXConfig(intermediate_size=48, num_hidden_layers=LAYERS, initializer_range=0.3, **SIZES),
    "bloom": BloomConfig(n_layer=LAYERS, n_head=2, hidden_size=D, vocab_size=49_152, initializer_range=0.3),
}


@dataclass
class ReluCode:
    """A sparse autoencoder without training: z = relu(x · encoderᵀ)."""

    encoder: Tensor
    decoder: Tensor

    def encode(self, x: Tensor) -> Tensor:
        return (x @ self.encoder.T).relu()

    def decode(self, z: Tensor) -> Tensor:
        return z @ self.decoder


def identity() -> ReluCode:
    signs = torch.cat([torch.eye(D), -torch.eye(D)])
    return ReluCode(signs, signs)


def random_sae(seed: int, d_sae: int = 40) -> ReluCode:
    generator = torch.Generator().manual_seed(seed)
    encoder = torch.randn(d_sae, D, generator=generator) / D**0.5
    return ReluCode(encoder, encoder + 0.1 * torch.randn(d_sae, D, generator=generator))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random models of three architectures, saved with the bundled tokenizer."""
    from transformers import AutoModelForCausalLM

    tokenizer: Any = AutoTokenizer.from_pretrained(prepare_bundled())
    found = {}
    for name, config in CONFIGS.items():
        torch.manual_seed(0)
        found[name] = tmp_path_factory.mktemp(name)
        AutoModelForCausalLM.from_config(config).save_pretrained(found[name])
        tokenizer.save_pretrained(found[name])
    return found


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, LanguageModel]:
    return {name: load(str(folder), "cpu") for name, folder in folders.items()}


@pytest.fixture(scope="module")
def windows() -> Windows:
    generator = torch.Generator().manual_seed(5)
    kept = torch.rand(5, LENGTH, generator=generator) < 0.8
    kept[:, 0] = False
    return Windows(torch.randint(3, 49_152, (5, LENGTH), generator=generator), kept)


class Plain:
    """The llama folder in plain transformers; `replace` maps a layer's output (B × T × d) to what goes on."""

    def __init__(self, folder: Path) -> None:
        from transformers import LlamaForCausalLM

        self.model: Any = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def logits(self, tokens: Tensor, layer: int, replace: Any) -> Tensor:
        handle = self.model.model.layers[layer].register_forward_hook(
            lambda module, inputs, output: replace(output)
        )
        with torch.inference_mode():
            found = self.model(tokens).logits
        handle.remove()
        return found


def test_an_identity_loses_nothing(models: dict[str, LanguageModel], windows: Windows) -> None:
    for model in models.values():
        found = ablations(model, "blocks.2.hook_out", windows, {7: identity()}, 0.3, {7: {}})
        columns = found.saes[7]
        assert not found.ablations and abs(columns["kl_sae"]) < 1e-6
        assert columns["cross_entropy_sae"] == pytest.approx(columns["cross_entropy"], abs=1e-5)


def test_figures_equal_a_plain_computation(
    models: dict[str, LanguageModel], folders: dict[str, Path], windows: Windows
) -> None:
    plain, scale, layer = Plain(folders["llama"]), 0.4, 1
    saes = {0: random_sae(0), 3: random_sae(3)}
    masks = {seed: np.random.default_rng(seed).random(40) < 0.4 for seed in saes}
    nothing = np.zeros(40, dtype=bool)
    groups = {seed: {"stable": masks[seed], "unstable": nothing, "random": ~nothing} for seed in saes}
    found = ablations(models["llama"], f"blocks.{layer}.hook_out", windows, saes, scale, groups)

    kept, tokens = windows.kept, windows.tokens
    caught: list[Tensor] = []
    original = plain.logits(tokens, layer, caught.append).log_softmax(-1)[:, 1:-1]
    x = caught[0][kept] * scale
    variance = float((x - x.mean(0)).square().sum())

    def measure(sae: ReluCode, mask: np.ndarray) -> tuple[float, float, float]:
        x_hat = sae.decode(sae.encode(x) * torch.from_numpy(~mask))
        value = caught[0].clone()
        value[kept] = x_hat / scale
        log_q = plain.logits(tokens, layer, lambda _: value).log_softmax(-1)[:, 1:-1]
        kl = float(kl_div(log_q, original, log_target=True, reduction="sum")) / log_q[..., 0].numel()
        entropy = -float(log_q.gather(2, tokens[:, 2:, None]).mean())
        return entropy, kl, float((x_hat - x).square().sum()) / variance

    assert [(row["seed"], row["ablated"]) for row in found.ablations] == [
        (seed, name) for seed in saes for name in groups[seed]
    ]
    rows = {(row["seed"], row["ablated"]): row for row in found.ablations}
    for seed, sae in saes.items():
        entropy, kl, fvu = measure(sae, nothing)
        plain_entropy = -float(original.gather(2, tokens[:, 2:, None]).mean())
        wanted = {"cross_entropy": plain_entropy, "cross_entropy_sae": entropy, "kl_sae": kl}
        assert found.saes[seed] == pytest.approx(wanted, rel=1e-4) and kl > 0.05
        for name in ("stable", "random"):
            mask, row = groups[seed][name], rows[seed, name]
            ablated_entropy, ablated_kl, ablated_fvu = measure(sae, mask)
            active = float((sae.encode(x)[:, torch.from_numpy(mask)] > 0).sum(1).float().mean())
            assert row["n_features"] == mask.sum() and row["frequency_sum"] == pytest.approx(active)
            assert row["fvu"] == pytest.approx(ablated_fvu, rel=1e-4)
            assert row["fvu_change"] == pytest.approx(ablated_fvu - fvu, rel=1e-3)
            assert row["kl"] == pytest.approx(ablated_kl, rel=1e-4)
            assert row["cross_entropy_change"] == pytest.approx(ablated_entropy - entropy, abs=1e-4)
        empty = rows[seed, "unstable"]
        assert empty["n_features"] == 0 and empty["kl"] is None and empty["fvu_change"] is None


@pytest.mark.parametrize("hook_point", ["hook_in", "hook_out", "mlp.hook_out", "attn.hook_out"])
@pytest.mark.parametrize("layer", [0, 3])
@pytest.mark.parametrize("name", CONFIGS)
def test_starting_at_the_layer_equals_a_full_pass(
    models: dict[str, LanguageModel], windows: Windows, name: str, layer: int, hook_point: str
) -> None:
    model = models[name]
    spliced = SplicedModel(model, f"blocks.{layer}.{hook_point}")
    logits, x = spliced.original(windows.tokens)
    assert spliced.skips == (layer > 0 and name != "bloom")
    torch.testing.assert_close(spliced.replaced(x), logits)
    changed = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    found, spliced.skips = spliced.replaced(changed), False
    assert (found - logits).norm() > 1e-2 * logits.norm()
    torch.testing.assert_close(found, spliced.replaced(changed))
    assert not model.bridge.list_hooks() and all("forward" not in vars(b) for b in model.bridge.blocks)


def test_lower_blocks_do_not_compute(models: dict[str, LanguageModel], windows: Windows) -> None:
    model, reached = models["llama"], []
    spliced = SplicedModel(model, "blocks.2.hook_out")
    _, x = spliced.original(windows.tokens)
    handles = [
        model.bridge.blocks[layer].mlp.register_forward_hook(lambda *_, layer=layer: reached.append(layer))
        for layer in range(LAYERS)
    ]
    spliced.replaced(x)
    for handle in handles:
        handle.remove()
    assert reached == [2, 3]


def test_a_stop_ends_it_between_passes(models: dict[str, LanguageModel], windows: Windows) -> None:
    passes: list[tuple[int, int]] = []
    arguments: Any = (models["llama"], "blocks.1.hook_out", windows, {0: identity()}, 1.0, {0: {}})
    with pytest.raises(Stopped):
        ablations(*arguments, lambda: len(passes) == 1, lambda *told: passes.append(told))
    assert passes == [(1, 2)] and not models["llama"].bridge.list_hooks()
    ablations(*arguments, progress=lambda *told: passes.append(told))
    assert passes[-1] == (2, 2)


def test_groups_are_the_features_that_fire_and_controls_are_matched() -> None:
    generator = np.random.default_rng(0)
    frequency = np.sort(10 ** generator.uniform(-4, -1, 400))
    stability = generator.choice([0.0, 0.25, 0.5, 1.0], 400, p=[0.2, 0.2, 0.3, 0.3])
    frequency[::40] = 0
    groups = ablation_groups(stability, frequency, np.random.default_rng(1))
    assert list(groups) == ["stable", "unstable", "random", "frequency-matched"]
    assert np.array_equal(groups["stable"], (stability >= 0.5) & (frequency > 0))
    smaller = groups["unstable"]
    assert np.array_equal(smaller, (stability == 0) & (frequency > 0))
    assert groups["random"].sum() == groups["frequency-matched"].sum() == smaller.sum()
    assert not (groups["frequency-matched"] & smaller).any()
    for mask in groups.values():
        assert (frequency[mask] > 0).all()
    pairs = np.log(np.sort(frequency[smaller])), np.log(np.sort(frequency[groups["frequency-matched"]]))
    assert np.abs(pairs[0] - pairs[1]).max() < 0.2
    again = ablation_groups(stability, frequency, np.random.default_rng(1))
    assert all(np.array_equal(groups[name], again[name]) for name in groups)


@pytest.mark.parametrize(
    ("stability", "sizes"), [(1.0, [4, 0, 4, 0]), (0.0, [0, 4, 4, 0]), (0.2, [0, 0, 0, 0])]
)
def test_one_group_may_be_empty(stability: float, sizes: list[int]) -> None:
    frequency = np.array([0.1, 0.2, 0.3, 0.4, 0.0])
    groups = ablation_groups(np.full(5, stability), frequency, np.random.default_rng(0))
    assert [int(mask.sum()) for mask in groups.values()] == sizes


@pytest.fixture
def run(tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setenv("CONCORDANCE_HOME", str(tmp_path))
    corpus = tmp_path / "texts.jsonl"
    texts = [f"Document {i}: {' '.join(str(i * j) for j in range(60))}." for i in range(120)]
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    write_json(tmp_path / "config.json", {"id": "x", "study": "s", "seeds": [0], "data_seed": 0})
    config = Config(
        model=str(folders["llama"]), hook_point="blocks.1.hook_out", corpus=str(corpus), n_tokens=2_000,
        context_size=16,
    )  # fmt: skip
    yield Run(tmp_path, config)


def test_windows_are_the_first_held_out_ones(run: Run, models: dict[str, LanguageModel]) -> None:
    found = open_activations(run)
    windows = held_out_windows(found, 100)
    assert windows.tokens.shape == windows.kept.shape == (6, 16) and not windows.kept[:, 0].any()
    x = models["llama"].activations(windows.tokens, "blocks.1.hook_out")[windows.kept]
    stored = found.heldout.gather(np.arange(len(x))) / found.scale
    assert np.abs(stored - x.numpy()).max() < 1e-2 * float(x.abs().max())
    assert held_out_windows(found, 3).tokens.shape == (1, 16)
    everything = held_out_windows(found, 10**9)
    assert int(everything.kept.sum()) == found.heldout.n_rows
