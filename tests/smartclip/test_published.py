"""CLIP of published layouts, with tiny random weights: the same numbers as transformers, every layout, refusals.

Real weights are not to be had here: what is tested is the layout of their files, not their figures.
"""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from data.scenes import scene_pictures
from engine.errors import UserError
from engine.studies.smartclip.clip_layout import stretched, to_openai
from engine.studies.smartclip.config import Config
from engine.studies.smartclip.converting import read
from engine.studies.smartclip.network import Said
from engine.studies.smartclip.published import BytePairs, Published, PublishedClip, long_context
from engine.studies.smartclip.published_files import ClipFiles, converted, find_clip, published_identity
from tests.smartclip.conftest import train

WORDS = sorted(
    [
        "left",
        "right",
        "background",
        "circle",
        "square",
        "triangle",
        "cross",
        "red",
        "orange",
        "green",
        "blue",
        "purple",
        "white",
        "small",
        "large",
        "grey",
        "dark",
        "stripes",
        "dots",
    ]
)


@pytest.fixture(scope="module")
def transformers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    shared = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 1}
    signs = 3 + len(WORDS)
    config = CLIPConfig(
        text_config={**shared, "vocab_size": signs, "max_position_embeddings": 77, "eos_token_id": signs - 1, "bos_token_id": signs - 2},
        vision_config={**shared, "image_size": 32, "patch_size": 8}, projection_dim=64,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("clip")
    CLIPModel(config).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of CLIP's kind over the words of the scenes, its end token having the largest id."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    signs = {sign: number for number, sign in enumerate([",", *WORDS, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = Tokenizer(models.WordLevel(signs, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    start, end = ("<|startoftext|>", signs["<|startoftext|>"]), ("<|endoftext|>", signs["<|endoftext|>"])
    tokenizer.post_processor = processors.BertProcessing(end, start)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=start[0], eos_token=end[0], unk_token=end[0]
    )
    fast.save_pretrained(folder)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORDANCE_CACHE", str(tmp_path_factory.getbasetemp() / "clip-cache"))


def opened(named: Path) -> Published:
    config = Config(model="clip", clip=str(named))
    return Published(config, scene_pictures((64, 50, 50), np.random.default_rng(0)), "cpu")


def openai_weights(transformers_folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return to_openai(load_file(transformers_folder / "model.safetensors"), "transformers")


def test_image_and_text_vectors_are_those_of_transformers(transformers_folder: Path) -> None:
    from transformers import CLIPModel

    reference = CLIPModel.from_pretrained(transformers_folder).eval()
    model = opened(transformers_folder)
    network = model.network(0).eval()
    images = torch.randn(3, 3, 32, 32)
    ids = torch.tensor([[20, 1, 5, 21, 0, 0], [20, 3, 21, 0, 0, 0], [20, 2, 4, 6, 8, 21]])
    with torch.no_grad():
        z = network.image(images)
        said = network.text(ids)
        text = reference.text_model(input_ids=ids, attention_mask=torch.ones_like(ids))
        vision = reference.vision_model(pixel_values=images)
        wanted_z = reference.visual_projection(vision.pooler_output)
        ends = text.last_hidden_state[torch.arange(3), ids.argmax(dim=1)]
        wanted_t = reference.text_projection(ends)
    assert torch.allclose(z, wanted_z, atol=1e-5)
    assert torch.allclose(said.vector, wanted_t, atol=1e-5) and torch.allclose(
        said.tokens, text.last_hidden_state, atol=1e-5
    )


def test_every_layout_is_told_apart(transformers_folder: Path, tmp_path: Path) -> None:
    weights = openai_weights(transformers_folder)
    named = to_openai({f"module.{name}": value for name, value in weights.items()}, "openai")
    assert named.keys() == weights.keys() and all(torch.equal(named[name], weights[name]) for name in weights)
    ours = tmp_path / "open_clip"
    ours.mkdir()
    save_file(weights, ours / "open_clip_model.safetensors")
    assert find_clip(str(ours)) == ClipFiles(ours / "open_clip_model.safetensors", "open_clip", False, ours)
    (ours / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"quick_gelu": True}}))
    assert find_clip(str(ours)).quick_gelu
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "longclip-B.pt").write_bytes(b"x")
    wanted = ClipFiles(bare / "longclip-B.pt", "openai", True, bare)
    assert find_clip(str(bare)) == find_clip(str(bare / "longclip-B.pt")) == wanted
    assert find_clip(str(transformers_folder)).layout == "transformers"
    assert published_identity(str(bare)) != published_identity(str(ours))


def smartclip_weights(transformers_folder: Path) -> dict[str, Tensor]:
    """A file as SmartCLIP's: stretched positions twice, and a mask network."""
    weights = openai_weights(transformers_folder)
    torch.manual_seed(1)
    long = stretched(weights["positional_embedding"])
    place = "mask_net.resblocks.0"
    made = {
        "positional_embedding": long, "positional_embedding_res": long + 0.1 * torch.randn_like(long),
        f"{place}.attn.in_proj_weight": torch.randn(192, 64) / 8, f"{place}.attn.in_proj_bias": torch.zeros(192),
        f"{place}.attn.out_proj.weight": torch.randn(64, 64) / 8, f"{place}.attn.out_proj.bias": torch.zeros(64),
        f"{place}.mlp.c_fc.weight": torch.randn(256, 64) / 8, f"{place}.mlp.c_fc.bias": torch.zeros(256),
        f"{place}.mlp.c_proj.weight": torch.randn(64, 256) / 16, f"{place}.mlp.c_proj.bias": torch.zeros(64),
        **{f"{place}.{ln}.{kind}": torch.ones(64) * (kind == "weight") for ln in ("ln_1", "ln_2") for kind in ("weight", "bias")},
        "mask_net.attn_pool.attention.weight": torch.randn(1, 64) / 8, "mask_net.attn_pool.attention.bias": torch.zeros(1),
    }  # fmt: skip
    return {**weights, **made}


def test_smartclip_weights_give_masks_over_long_captions(transformers_folder: Path, tmp_path: Path) -> None:
    weights = smartclip_weights(transformers_folder)
    halves = {f"module.{name}": value.half() for name, value in weights.items()}
    torch.save({"state_dict": halves}, tmp_path / "smartclip_b16.pt")
    write_tokenizer(tmp_path)
    model = opened(tmp_path / "smartclip_b16.pt")
    ids = model.tokenise(["left red, right circle", "background dots"])
    assert ids.shape == (2, 248) and (ids[1] != 0).sum() == 4
    network = model.network(0)
    with torch.no_grad():
        said = network.text(ids)
        logits = network.mask(said)
    assert logits.shape == (2, 64) and not torch.equal(logits[0] > 0, logits[1] > 0)
    block = weights["mask_net.resblocks.0.attn.in_proj_weight"]
    assert torch.allclose(network.mask.resblocks[0].attn.in_proj_weight, block, atol=1e-3)
    other = model.network(1)
    assert torch.equal(other.mask(said), logits), "the file's mask network does not depend on the seed"
    fresh = opened(transformers_folder)
    assert not torch.equal(
        fresh.network(0).mask.attn_pool["attention"].weight,
        fresh.network(1).mask.attn_pool["attention"].weight,
    )


def test_positions_are_stretched_as_long_clip_does() -> None:
    table = torch.arange(77.0)[:, None]
    found = stretched(table)[:, 0]
    assert len(found) == 248 and found[:20].tolist() == list(range(20))
    assert found[20:32].tolist() == [20, 20.25, 20.5, 20.75, 21, 21.25, 21.5, 21.75, 22, 22.25, 22.5, 22.75]
    assert found[-4:].tolist() == [76] * 4


def test_only_positions_after_the_twentieth_are_trained(transformers_folder: Path) -> None:
    network = opened(transformers_folder).network(0)
    said: Said = network.text(torch.tensor([[20, *range(1, 19), *range(1, 10), 21]]))
    said.vector.sum().backward()
    assert network.text.positional_embedding.grad is None
    grad = network.text.positional_embedding_res.grad
    assert grad is not None and (grad[:20] == 0).all() and (grad[20:28] != 0).any()


def test_a_run_goes_on_from_published_weights(transformers_folder: Path, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "model": "clip", "clip": str(transformers_folder), "n_train": 64, "n_validation": 50, "n_test": 50, "batch_size": 4,
        "arms": "smartclip", "lambda_sweep": [], "arm_steps": 2, "n_pairs": 4, "control_draws": 2, "learning_rate": 1e-5,
    }  # fmt: skip
    folder = train(tmp_path / "run", config, [0])
    import pyarrow.parquet as pq

    arms = pq.read_table(folder / "tables" / "smartclip_arms.parquet").to_pandas()
    assert arms["arm"].tolist() == ["base", "smartclip"] and arms["size_single"].iloc[1] <= 64
    masks = pq.read_table(folder / "tables" / "smartclip_masks.parquet").to_pandas()
    assert (masks["mask"].str.len() == 64).all()


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.system, (f"touch {self.marker}",)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    torch.save({"visual.proj": Payload(marker)}, tmp_path / "zipped.pt")
    with pytest.raises(UserError) as refused:
        converted(find_clip(str(tmp_path / "zipped.pt")))
    assert refused.value.field == "clip" and "zipped.pt" in refused.value.message
    for name, content in (
        ("pickled.pt", pickle.dumps({"visual.proj": Payload(marker)})),
        ("plain.pt", b"no weights at all"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Exception, match=r"weights_only|Weights only|invalid load key"):
            read(tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no CLIP"),
        ({"config.json": b'{"model_type": "bert"}', "model.safetensors": b""}, "type 'bert'"),
        ({"config.json": b"{", "model.safetensors": b""}, "no JSON of transformers"),
        ({"a.pt": b"x", "b.pt": b"x"}, "2 other files"),
    ],
)
def test_folders_that_are_no_clip_are_named(tmp_path: Path, files: dict[str, bytes], said: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        find_clip(str(tmp_path))


def test_weights_without_vision_or_tokenizer_are_named(transformers_folder: Path, tmp_path: Path) -> None:
    weights = openai_weights(transformers_folder)
    with pytest.raises(ValueError, match=r"lacks visual\.conv1\.weight"):
        to_openai({name: value for name, value in weights.items() if not name.startswith("visual")}, "openai")
    narrow = {
        **weights,
        "visual.proj": weights["visual.proj"][:, :32],
        "text_projection": weights["text_projection"][:, :32],
    }
    with pytest.raises(ValueError, match="64 wide and its embedding 32"):
        PublishedClip(long_context(narrow), True)
    short = {name: value for name, value in weights.items() if "resblocks.1.mlp" not in name}
    with pytest.raises(ValueError, match="do not fit together"):
        PublishedClip(long_context(short), True)
    with pytest.raises(UserError, match=r"has no tokenizer\.json"):
        BytePairs(ClipFiles(tmp_path / "clip.pt", "openai", True, tmp_path), 77)
