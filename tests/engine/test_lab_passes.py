"""Interventions and their controls as plain arithmetic, and passes whose rows part at the hook point."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, BloomConfig, GPTNeoXConfig, LlamaConfig

from engine.interventions import Edit, Intervention, direction_of, random_directions
from engine.lab_passes import Passes
from engine.language_model import load, prepare_bundled


@dataclass
class ReluCode:
    """z = relu(x · encoderᵀ)."""

    encoder: Tensor
    decoder: Tensor

    def encode(self, x: Tensor) -> Tensor:
        return (x @ self.encoder.T).relu()


def edit(**changes: Any) -> Edit:
    matrix = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0))).Q
    sae = ReluCode(matrix, matrix)
    intervention = Intervention("patch", 2.5, direction_of(sae, 4, None, None), 0.5, sae, 4)
    controls = random_directions(3, 16, 0, "cpu")
    return replace(Edit(intervention, controls, "all", True, 6, 100.0), **changes)


def test_patch_sets_the_activation_and_controls_have_its_norm_everywhere() -> None:
    x = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(1))
    x[0, 3] *= 1000
    change = edit()(x, 0)
    norms = change.norm(dim=-1)
    assert (change[0] == 0).all() and (change[:, [0, 3]] == 0).all()
    assert (norms[1, [1, 2, 4, 5]] > 0).all()
    torch.testing.assert_close(norms[2:], norms[1].expand(3, -1))
    sae = edit().intervention.sae
    before, after = sae.encode(x[0])[:, 4], sae.encode((x + change)[1])[:, 4]
    active = (before > 0) & (torch.arange(6) > 0) & (torch.arange(6) != 3)
    assert active.any()
    torch.testing.assert_close(after[active], torch.full_like(after[active], 2.5))
    torch.testing.assert_close(change[1, 1:3], (2.5 - before[1:3])[:, None] * sae.decoder[4])
    flat = torch.nn.functional.cosine_similarity(change[2], change[3], dim=-1)
    assert flat[1].abs() < 0.9 and torch.equal(change[2:], edit()(x, 0)[2:])


def test_positions_and_generated_tokens() -> None:
    x = torch.randn(5, 8, 16, generator=torch.Generator().manual_seed(2))
    for changes, expected in (
        ({}, [1, 2, 3, 4, 5, 6, 7]),
        ({"generated": False}, [1, 2, 3, 4, 5]),
        ({"positions": "last"}, [5, 6, 7]),
        ({"positions": [2, 4], "generated": False}, [2, 4]),
    ):
        whole = edit(**changes)(x, 0)
        assert whole[1].norm(dim=-1).nonzero().flatten().tolist() == expected
        torch.testing.assert_close(edit(**changes)(x[:, 6:], 6), whole[:, 6:])


SIZES: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 2, "vocab_size": 49_152}
CONFIGS: dict[str, Any] = {
    "llama": LlamaConfig(
        intermediate_size=48, num_hidden_layers=4, num_key_value_heads=1, initializer_range=0.3, **SIZES
    ),
    "neox": GPTNeoXConfig(intermediate_size=48, num_hidden_layers=4, initializer_range=0.3, **SIZES),
    "bloom": BloomConfig(n_layer=4, n_head=2, hidden_size=32, vocab_size=49_152, initializer_range=0.3),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("hook_point", ["blocks.2.hook_out", "blocks.1.hook_in", "blocks.2.mlp.hook_out"])
def test_hooks_fire_in_a_cached_loop_with_the_logits_of_whole_passes(
    name: str, hook_point: str, tmp_path: Path
) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(prepare_bundled())
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(CONFIGS[name]).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    passes = Passes(load(str(tmp_path), "cpu"), hook_point)
    assert passes.caches
    assert passes.grows == (name != "bloom")
    steps: list[tuple[int, ...]] = []

    def change(rows: int) -> Any:
        def add(x: Tensor, start: int) -> Tensor:
            steps.append((*x.shape[:2], start))
            return (torch.arange(rows) % 3 - 1)[:, None, None] * (1 + x.abs())

        return add

    found = []
    for caches, grows in ((True, passes.grows), (True, False), (False, False)):
        passes.caches, passes.grows = caches, grows
        rows = passes.begin([0, 5, 9, 11, 40], change(6), 6)
        rows.keep(3)
        rows.change = change(3)
        logits = [rows.logits]
        for token in (7, 8):
            rows.advance([token, token + 1, token + 2])
            logits.append(rows.logits)
        found.append(torch.stack(logits))
    assert (3, 1, 5) in steps and (3, 1, 6) in steps and (3, 7, 0) in steps
    assert (found[0][:, 0] - found[0][:, 1]).norm() > 1e-2 * found[0][:, 0].norm()
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[2], found[0], rtol=1e-4, atol=1e-4)
    assert not passes.model.bridge.list_hooks()


def test_an_interrupt_ends_a_pass_and_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(prepare_bundled())
    AutoModelForCausalLM.from_config(CONFIGS["llama"]).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    passes = Passes(load(str(tmp_path), "cpu"), "blocks.2.hook_out")
    reached: list[int] = []

    def interrupt() -> None:
        reached.append(1)
        if len(reached) == 2:
            raise KeyboardInterrupt

    passes.interrupt = interrupt
    with pytest.raises(KeyboardInterrupt):
        passes.begin([0, 5], lambda x, start: 0 * x, 1)
    assert len(reached) == 2 and not passes.model.bridge.list_hooks()
    assert all(not block._forward_pre_hooks for block in passes.blocks)
