"""Checkpoints of other tools compute here what they compute there, and ours what sae-lens makes of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import UserError
from engine.sae_formats.common import Checkpoint, sha256_of
from engine.sae_formats.reading import read_checkpoint
from engine.sae_formats.sae_lens import write_checkpoint

D_IN, D_SAE, K = 10, 24, 4
ARCHITECTURES = ("relu", "gated", "jumprelu", "topk", "batch_topk", "matryoshka_batch_topk")
State = dict[str, Tensor]


def vectors(n: int = 200, seed: int = 9) -> Tensor:
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(seed)) + 0.5


def drawn(*shape: int, seed: int, scale: float = 0.5) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def our_code(found: Checkpoint | State, architecture: str, x: Tensor, k: int | None) -> Tensor:
    """The formulas of the module's docstring, written once more."""
    t = found.tensors if isinstance(found, Checkpoint) else found
    pre = (x - t["b_dec"]) @ t["encoder"].T + t["b_enc"]
    if architecture == "relu":
        return pre.relu()
    if architecture == "topk":
        assert k is not None
        values, places = pre.topk(k, dim=1)
        return torch.zeros_like(pre).scatter(1, places, values.relu())
    if architecture == "gated":
        magnitude = t["r_mag"].exp() * ((x - t["b_dec"]) @ t["encoder"].T) + t["b_mag"]
        return (pre > 0) * magnitude.relu()
    return pre * (pre > t["threshold"])


def our_output(found: Checkpoint, x: Tensor) -> Tensor:
    code = our_code(found, found.architecture, x, found.k)
    return code @ found.tensors["decoder"] + found.tensors["b_dec"]


def assert_close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def fill(module: torch.nn.Module) -> None:
    """Every parameter drawn anew, thresholds positive, decoder rows of unequal norms."""
    with torch.no_grad():
        for seed, (name, parameter) in enumerate(sorted(module.named_parameters())):
            value = drawn(*parameter.shape, seed=seed)
            parameter.copy_(value.abs() if "threshold" in name else value)
        if hasattr(module, "topk_threshold"):
            module.topk_threshold.fill_(0.45)


def sae_lens_sae(layout: str, training: bool, **options: Any) -> Any:
    import sae_lens
    from sae_lens.registry import get_sae_class, get_sae_training_class

    assert sae_lens.__version__
    kind, config = (get_sae_training_class if training else get_sae_class)(layout)
    if "topk" in layout:
        options["k"] = K
    if layout == "matryoshka_batchtopk":
        options["matryoshka_widths"] = [8, D_SAE]
    metadata = sae_lens.saes.sae.SAEMetadata(model_name="gpt2", hook_name="blocks.3.hook_resid_post")
    sae: Any = kind(config(d_in=D_IN, d_sae=D_SAE, metadata=metadata, **options))
    fill(sae)
    return sae


@pytest.mark.parametrize("apply_b_dec", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("layout", "architecture"),
    [("standard", "relu"), ("gated", "gated"), ("jumprelu", "jumprelu"), ("topk", "topk")],
)
def test_sae_lens_files_compute_the_same(
    tmp_path: Path, layout: str, architecture: str, training: bool, apply_b_dec: bool
) -> None:
    sae = sae_lens_sae(layout, training, apply_b_dec_to_input=apply_b_dec)
    sae.save_model(tmp_path)
    found = read_checkpoint(tmp_path)
    assert (found.origin, found.architecture, found.d_in, found.d_sae) == (
        "sae-lens",
        architecture,
        D_IN,
        D_SAE,
    )
    assert found.k == (K if architecture == "topk" else None)
    assert found.metadata["model_name"] == "gpt2"
    assert found.metadata["hook_name"] == "blocks.3.hook_resid_post"
    assert all(t.dtype == torch.float32 and t.is_contiguous() for t in found.tensors.values())
    x = vectors()
    with torch.no_grad():
        assert_close(our_code(found, architecture, x, found.k), sae.encode(x))
        assert_close(our_output(found, x), sae(x))


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize(
    ("layout", "architecture"),
    [("batchtopk", "batch_topk"), ("matryoshka_batchtopk", "matryoshka_batch_topk"), ("topk", "topk")],
)
def test_sae_lens_training_files_and_the_inference_files_made_of_them(
    tmp_path: Path, layout: str, architecture: str, rescale: bool
) -> None:
    from sae_lens import SAE

    sae = sae_lens_sae(layout, True, rescale_acts_by_decoder_norm=rescale)
    sae.save_model(tmp_path / "training")
    sae.save_inference_model(tmp_path / "inference")
    trained, served = read_checkpoint(tmp_path / "training"), read_checkpoint(tmp_path / "inference")
    loaded = SAE.load_from_disk(str(tmp_path / "inference"))
    x = vectors()
    with torch.no_grad():
        for found in (trained, served):
            assert_close(our_code(found, found.architecture, x, found.k), loaded.encode(x))
            assert_close(our_output(found, x), loaded(x))
    assert (trained.architecture, trained.k) == (architecture, K)
    if architecture == "topk":
        assert (served.architecture, served.k) == ("topk", K)
        return
    assert trained.tensors["threshold"].shape == ()
    assert (served.architecture, served.k) == ("jumprelu", None)
    assert served.tensors["threshold"].shape == (D_SAE,)
    pre = our_code({**trained.tensors, "threshold": torch.tensor(0.0)}, "jumprelu", x, None)
    kept = torch.zeros(pre.numel()).scatter(0, *reversed_pair(pre.flatten().topk(K * len(x))))
    with torch.no_grad():
        assert_close(kept.reshape(pre.shape), sae.encode(x))


def reversed_pair(found: Any) -> tuple[Tensor, Tensor]:
    return found.indices, found.values


@pytest.mark.parametrize("layout", ["gated", "topk", "batchtopk"])
def test_a_scale_kept_beside_a_training_checkpoint_is_folded(tmp_path: Path, layout: str) -> None:
    sae = sae_lens_sae(
        layout, True, normalize_activations="expected_average_only_in", apply_b_dec_to_input=False
    )
    sae.save_model(tmp_path)
    with pytest.raises(UserError, match="expected_average_only_in"):
        read_checkpoint(tmp_path)
    (tmp_path / "activation_scaler.json").write_text(
        json.dumps({"scaling_factor": 0.3, "has_whitening": False})
    )
    found = read_checkpoint(tmp_path)
    sae.fold_activation_norm_scaling_factor(0.3)
    sae.save_model(tmp_path / "folded")
    folded = read_checkpoint(tmp_path / "folded")
    x = vectors() * 3
    assert_close(our_output(found, x), our_output(folded, x))


def test_old_sae_lens_settings(tmp_path: Path) -> None:
    sae = sae_lens_sae("topk", False)
    sae.save_model(tmp_path)
    weights = load_file(tmp_path / "sae_weights.safetensors")
    save_file({**weights, "scaling_factor": torch.ones(D_SAE)}, tmp_path / "sae_weights.safetensors")
    old = {
        "d_in": D_IN, "d_sae": D_SAE, "dtype": "torch.float32", "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": K}, "hook_point": "blocks.1.hook_mlp_out", "model_name": "gpt2",
        "normalize_activations": False,
    }  # fmt: skip
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    found = read_checkpoint(tmp_path)
    assert (found.architecture, found.k) == ("topk", K)
    assert found.metadata == {"model_name": "gpt2", "hook_name": "blocks.1.hook_mlp_out"}
    with torch.no_grad():
        assert_close(our_output(found, vectors()), sae(vectors()))


def our_tensors(architecture: str) -> State:
    tensors = {
        "encoder": drawn(D_SAE, D_IN, seed=1),
        "decoder": drawn(D_SAE, D_IN, seed=2),
        "b_enc": drawn(D_SAE, seed=3),
        "b_dec": drawn(D_IN, seed=4),
    }
    if architecture == "gated":
        tensors |= {"r_mag": drawn(D_SAE, seed=5), "b_mag": drawn(D_SAE, seed=6)}
    if architecture == "jumprelu":
        tensors["threshold"] = drawn(D_SAE, seed=7).abs()
    if architecture in ("batch_topk", "matryoshka_batch_topk"):
        tensors["threshold"] = torch.tensor(0.4)
    return tensors


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_written_files_compute_the_same_in_sae_lens_and_come_back(
    tmp_path: Path, architecture: str, scale: float
) -> None:
    from sae_lens import SAE

    tensors, x = our_tensors(architecture), vectors()
    metadata = {"model_name": "gpt2", "hook_name": "blocks.2.hook_out", "init_seed": 7}
    write_checkpoint(tmp_path / "sae", architecture, tensors, k=K, scale=scale, metadata=metadata)
    loaded = SAE.load_from_disk(str(tmp_path / "sae"))
    code = our_code(tensors, architecture, x * scale, K)
    with torch.no_grad():
        assert_close(loaded.encode(x), code)
        assert_close(loaded(x), (code @ tensors["decoder"] + tensors["b_dec"]) / scale)
    assert loaded.cfg.metadata.hook_name == "blocks.2.hook_out"
    found = read_checkpoint(tmp_path / "sae")
    assert found.architecture == architecture
    assert found.k == (None if architecture in ("relu", "gated") else K)
    assert found.metadata.items() >= metadata.items() and found.metadata["activation_scale"] == scale
    assert {n: t.shape for n, t in found.tensors.items()} == {n: t.shape for n, t in tensors.items()}
    assert_close(our_output(found, x), loaded(x).detach())
    if scale == 1:
        assert all(torch.equal(found.tensors[name], tensors[name]) for name in tensors)
        assert found.sha256 == sha256_of(tensors[name] for name in sorted(tensors))
    loaded.save_model(tmp_path / "again")
    assert read_checkpoint(tmp_path / "again").sha256 == found.sha256


def test_writing_again_replaces_the_folder_and_a_negative_threshold_becomes_zero(tmp_path: Path) -> None:
    tensors = our_tensors("batch_topk") | {"threshold": torch.tensor(-1.0)}
    write_checkpoint(tmp_path / "sae", "relu", our_tensors("relu"), k=None, metadata={})
    write_checkpoint(tmp_path / "sae", "batch_topk", tensors, k=K, metadata={})
    assert read_checkpoint(tmp_path / "sae").tensors["threshold"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["sae"]


def dl_linear(b_dec: str = "b_dec") -> State:
    return {
        "encoder.weight": drawn(D_SAE, D_IN, seed=1),
        "encoder.bias": drawn(D_SAE, seed=2),
        "decoder.weight": drawn(D_IN, D_SAE, seed=3),
        b_dec: drawn(D_IN, seed=4),
    }


def dl_matrices() -> State:
    return {
        "W_enc": drawn(D_IN, D_SAE, seed=1),
        "b_enc": drawn(D_SAE, seed=2),
        "W_dec": drawn(D_SAE, D_IN, seed=3),
        "b_dec": drawn(D_IN, seed=4),
    }


K_AND_THRESHOLD = {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.4)}
GATED_STATE = {
    "encoder.weight": drawn(D_SAE, D_IN, seed=1),
    "decoder.weight": drawn(D_IN, D_SAE, seed=3),
    "decoder_bias": drawn(D_IN, seed=4),
    "r_mag": drawn(D_SAE, seed=5),
    "gate_bias": drawn(D_SAE, seed=6),
    "mag_bias": drawn(D_SAE, seed=7),
}
JUMP_STATE = {**dl_matrices(), "threshold": drawn(D_SAE, seed=8)}


def linear_pre(s: State, x: Tensor) -> Tensor:
    return torch.nn.functional.linear(x, s["encoder.weight"], s.get("encoder.bias"))


def dl_top_k(s: State, x: Tensor) -> Tensor:
    found = linear_pre(s, x - s["b_dec"]).relu().topk(K, sorted=False, dim=-1)
    return torch.zeros(len(x), D_SAE).scatter_(-1, found.indices, found.values)


def dl_batch_top_k(s: State, x: Tensor) -> Tensor:
    acts = linear_pre(s, x - s["b_dec"]).relu()
    return acts * (acts > s["threshold"])


def dl_matryoshka(s: State, x: Tensor) -> Tensor:
    acts = ((x - s["b_dec"]) @ s["W_enc"] + s["b_enc"]).relu()
    return acts * (acts > s["threshold"])


def dl_gated(s: State, x: Tensor) -> Tensor:
    encoded = linear_pre(s, x - s["decoder_bias"])
    return (encoded + s["gate_bias"] > 0) * (s["r_mag"].exp() * encoded + s["mag_bias"]).relu()


def dl_jump(s: State, x: Tensor) -> Tensor:
    pre = x @ s["W_enc"] + s["b_enc"]
    return (pre * (pre > s["threshold"])).relu()


DICTIONARY_LEARNING: dict[str, tuple[str, State, Callable[[State, Tensor], Tensor], str]] = {
    "AutoEncoder": ("relu", dl_linear("bias"), lambda s, x: linear_pre(s, x - s["bias"]).relu(), "bias"),
    "AutoEncoderNew": ("relu", dl_linear("decoder.bias"), lambda s, x: linear_pre(s, x).relu(), "decoder.bias"),
    "GatedAutoEncoder": ("gated", GATED_STATE, dl_gated, "decoder_bias"),
    "AutoEncoderTopK": ("topk", {**dl_linear(), **K_AND_THRESHOLD}, dl_top_k, "b_dec"),
    "BatchTopKSAE": ("batch_topk", {**dl_linear(), **K_AND_THRESHOLD}, dl_batch_top_k, "b_dec"),
    "JumpReluAutoEncoder": ("jumprelu", JUMP_STATE, dl_jump, "b_dec"),
    "MatryoshkaBatchTopKSAE": (
        "matryoshka_batch_topk",
        {**dl_matrices(), **K_AND_THRESHOLD, "group_sizes": torch.tensor([8, 16])},
        dl_matryoshka,
        "b_dec",
    ),
}  # fmt: skip


def dictionary_learning_folder(folder: Path, kind: str, state: State, **trainer: Any) -> Path:
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / "ae.pt")
    settings = {
        "trainer": {
            "dict_class": kind, "activation_dim": D_IN, "dict_size": D_SAE, "lm_name": "EleutherAI/pythia-70m",
            "submodule_name": "resid_post_layer_3", "layer": 3, "seed": 42, **trainer,
        },
        "buffer": {"io": "out", "ctx_len": 128},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("kind", DICTIONARY_LEARNING)
def test_dictionary_learning_files_compute_the_same(tmp_path: Path, kind: str) -> None:
    architecture, state, encode, bias = DICTIONARY_LEARNING[kind]
    found = read_checkpoint(dictionary_learning_folder(tmp_path, kind, state))
    assert (found.origin, found.architecture) == ("dictionary_learning", architecture)
    assert found.k == (K if "k" in state else None)
    assert found.metadata["model_name"] == "EleutherAI/pythia-70m" and found.metadata["seed"] == 42
    x = vectors()
    code = encode(state, x)
    decoder = state["W_dec"] if "W_dec" in state else state["decoder.weight"].T
    assert_close(our_code(found, architecture, x, found.k), code)
    assert_close(our_output(found, x), code @ decoder + state[bias])


def test_an_untrained_threshold_lets_everything_positive_through(tmp_path: Path) -> None:
    state = {**dl_linear(), **K_AND_THRESHOLD, "threshold": torch.tensor(-1.0)}
    found = read_checkpoint(dictionary_learning_folder(tmp_path, "BatchTopKSAE", state))
    assert_close(our_code(found, "batch_topk", vectors(), K), dl_batch_top_k(state, vectors()))


def test_k_of_an_old_top_k_file_stands_in_its_settings(tmp_path: Path) -> None:
    found = read_checkpoint(dictionary_learning_folder(tmp_path, "AutoEncoderTopK", dl_linear(), k=3))
    assert found.k == 3


SPARSIFY = {"activation": "topk", "expansion_factor": 32, "num_latents": 0, "k": K, "d_in": D_IN}


def sparsify_folder(folder: Path, **changes: Any) -> tuple[Path, State]:
    state = dl_linear()
    state["W_dec"] = state.pop("decoder.weight").T.contiguous()
    folder.mkdir(exist_ok=True)
    save_file(state, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(json.dumps({**SPARSIFY, **changes}))
    return folder, state


def test_sparsify_files_compute_the_same(tmp_path: Path) -> None:
    folder, state = sparsify_folder(tmp_path, transcode=False, skip_connection=False)
    found = read_checkpoint(folder)
    assert (found.origin, found.architecture, found.k) == ("sparsify", "topk", K)
    x = vectors()
    values, places = linear_pre(state, x - state["b_dec"]).relu().topk(K, dim=-1, sorted=False)
    expected = (values[..., None] * state["W_dec"][places]).sum(dim=1) + state["b_dec"]
    assert_close(our_output(found, x), expected)


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    folder, state = sparsify_folder(tmp_path)
    save_file({name: t.bfloat16() for name, t in state.items()}, folder / "sae.safetensors")
    found = read_checkpoint(folder)
    assert torch.equal(found.tensors["decoder"], state["W_dec"].bfloat16().float())
