"""The bundled model read through TransformerBridge, against plain transformers."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from data.assets import ASSETS
from data.files import write_json
from engine.errors import UserError
from engine.language_model import (
    BUNDLED,
    LanguageModel,
    canonical_hook_point,
    load,
    model_identity,
    prepare_bundled,
)

TEXT = "The first computer was built to calculate tables, and a second one to break codes."


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load(BUNDLED, "cpu")


@pytest.fixture(scope="module")
def tokens(model: LanguageModel) -> torch.Tensor:
    ids = model.encode([TEXT, TEXT[::-1]])
    length = min(map(len, ids))
    return torch.tensor([row[:length] for row in ids])


@pytest.fixture(scope="module")
def hidden_states(tokens: torch.Tensor) -> Any:
    from transformers import LlamaForCausalLM

    plain: Any = LlamaForCausalLM.from_pretrained(prepare_bundled(), dtype=torch.float32).eval()
    plain.model.layers = plain.model.layers[:7]
    with torch.inference_mode():
        return plain.model(tokens, output_hidden_states=True).hidden_states


@pytest.mark.parametrize(
    ("hook_point", "after"), [("blocks.0.hook_in", 0), ("blocks.0.hook_out", 1), ("blocks.5.hook_out", 6)]
)
def test_activations_equal_transformers_hidden_states(
    model: LanguageModel, tokens: torch.Tensor, hidden_states: Any, hook_point: str, after: int
) -> None:
    found, wanted = model.activations(tokens, hook_point), hidden_states[after]
    assert found.shape == wanted.shape and found.dtype == torch.float32
    assert float((found - wanted).norm() / wanted.norm()) < 1e-5
    assert float(((found - wanted).norm(dim=-1) / wanted.norm(dim=-1)).max()) < 1e-4


def test_the_forward_pass_stops_at_the_layer(model: LanguageModel, tokens: torch.Tensor) -> None:
    reached: list[int] = []
    handles = [
        model.bridge.blocks[layer].mlp.register_forward_hook(lambda *_, layer=layer: reached.append(layer))
        for layer in (2, 3, 4)
    ]
    model.activations(tokens, "blocks.3.hook_out")
    for handle in handles:
        handle.remove()
    assert reached == [2, 3]


@pytest.mark.parametrize("alias", ["hook_resid_post", "hook_resid_pre", "hook_attn_out", "hook_mlp_out"])
def test_aliases_have_one_stored_name(model: LanguageModel, alias: str) -> None:
    name = f"blocks.3.{alias}"
    assert canonical_hook_point(BUNDLED, name) == model.bridge.hook_dict[name].name != name


def test_tokens_carry_nothing_special(model: LanguageModel) -> None:
    (ids,) = model.encode([TEXT])
    assert model.separator == 0
    assert model.tokenizer.decode(ids) == TEXT and not set(ids) & {0, 1, 2}


def test_the_label_names_the_instruct_model(model: LanguageModel) -> None:
    assert "Instruct" in model.label and "4-bit" in model.label
    assert model.identity == ASSETS[BUNDLED].sha256 == model_identity(BUNDLED)


@pytest.mark.parametrize("hook_point", ["blocks.30.hook_out", "layers.3", "blocks.3", "blocks.-1.hook_out"])
def test_impossible_hook_points_are_refused_before_loading(hook_point: str) -> None:
    with pytest.raises(UserError) as caught:
        canonical_hook_point(BUNDLED, hook_point)
    assert caught.value.field == "hook_point" and repr(hook_point) in str(caught.value)


def test_an_unknown_hook_point_is_answered_with_near_names(model: LanguageModel) -> None:
    with pytest.raises(UserError, match=r"nearest names are .*blocks\.11\.hook_out"):
        model.check_hook_point("blocks.11.hook_outt")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("attn.hook_pattern", "not a vector per token"), ("hook_mlp_in", "not computed by this model")],
)
def test_hook_points_without_a_vector_per_token(model: LanguageModel, name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        model.width(f"blocks.1.{name}")


@pytest.mark.parametrize("name", ["nowhere", "/nowhere/at/all", "a/b/c", "no-such-owner/no-such-model"])
def test_unknown_models_end_in_a_sentence(name: str) -> None:
    with pytest.raises(UserError) as caught:
        load(name, "cpu")
    assert caught.value.field == "model" and name in str(caught.value)


def test_identity_follows_the_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        model_identity(str(tmp_path))
    write_json(tmp_path / "config.json", {"num_hidden_layers": 2})
    with pytest.raises(UserError, match="no weights"):
        model_identity(str(tmp_path))
    save_file({"w": torch.zeros(2)}, tmp_path / "model.safetensors")
    first = model_identity(str(tmp_path))
    assert model_identity(str(tmp_path)) == first
    save_file({"w": torch.ones(3)}, tmp_path / "model.safetensors")
    assert model_identity(str(tmp_path)) != first


def test_names_and_identities_need_no_torch() -> None:
    code = (
        "import sys; from engine import language_model as m; m.model_identity(m.BUNDLED);"
        "m.canonical_hook_point(m.BUNDLED, 'blocks.5.hook_out'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
