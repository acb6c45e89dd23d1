"""The direct path to the logits in models with other norms, against the weights of plain transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma2Config, GPT2Config, GPTNeoXConfig

from engine.language_model import load, prepare_bundled
from engine.tools.feature_cards.logits import direct_unembedding

D = 32
MODELS: dict[str, tuple[Any, str, float, bool]] = {
    "gpt2": (GPT2Config(n_embd=D, n_layer=1, n_head=2, vocab_size=49_152), "transformer.ln_f", 0, True),
    "neox": (
        GPTNeoXConfig(hidden_size=D, num_attention_heads=2, num_hidden_layers=1, intermediate_size=48, vocab_size=49_152),
        "gpt_neox.final_layer_norm", 0, True,
    ),
    "gemma": (
        Gemma2Config(
            hidden_size=D, num_attention_heads=2, num_key_value_heads=1, head_dim=16, num_hidden_layers=1,
            intermediate_size=48, vocab_size=49_152, pad_token_id=0,
        ),
        "model.norm", 1, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_final_norm_is_in_the_direct_unembedding(tmp_path: Path, name: str) -> None:
    config, norm, offset, centres = MODELS[name]
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        model.get_submodule(norm).weight.uniform_(0.2, 2)
        if centres:
            model.get_submodule(norm).bias.uniform_(-3, 3)
    model.save_pretrained(tmp_path)
    tokenizer: Any = AutoTokenizer.from_pretrained(prepare_bundled())
    tokenizer.save_pretrained(tmp_path)
    rows = torch.randn(5, D)
    centred = rows - rows.mean(dim=1, keepdim=True) if centres else rows
    weight = model.get_submodule(norm).weight + offset
    wanted = (centred * weight) @ model.get_output_embeddings().weight.T
    with torch.no_grad():
        found = rows @ direct_unembedding(load(str(tmp_path), "cpu"))
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()
