"""sae-lens, training and inference checkpoints; the inference format is also how our own SAEs are saved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from data.files import atomic_folder, write_json
from engine.sae_formats import SAE_LENS
from engine.sae_formats.common import (
    MATRICES,
    SCALAR_THRESHOLD,
    THRESHOLD,
    TRANSPOSED,
    WITHOUT_K,
    Checkpoint,
    fold_b_dec,
    fold_decoder_norm,
    make_checkpoint,
    refused,
    rescaled,
    shown,
    take,
)
from engine.sae_formats.files import mapping, read_safetensors, read_settings

LAYOUTS: dict[str, tuple[str, dict[str, str]]] = {
    "standard": ("relu", MATRICES),
    "topk": ("topk", MATRICES),
    "jumprelu": ("jumprelu", MATRICES | THRESHOLD),
    "gated": ("gated", {**MATRICES, "b_enc": "b_gate", "r_mag": "r_mag", "b_mag": "b_mag"}),
    "batchtopk": ("batch_topk", MATRICES | {"threshold": "topk_threshold"}),
    "matryoshka_batchtopk": ("matryoshka_batch_topk", MATRICES | {"threshold": "topk_threshold"}),
}
WRITTEN_AS = {"relu": "standard", "topk": "topk", "gated": "gated", "jumprelu": "jumprelu",
              "batch_topk": "jumprelu", "matryoshka_batch_topk": "jumprelu"}  # fmt: skip
FORMAT = "6.0.0"


def write_checkpoint(
    folder: Path,
    architecture: str,
    tensors: Mapping[str, Tensor],
    *,
    k: int | None,
    scale: float = 1.0,
    metadata: Mapping[str, Any],
) -> None:
    """Write tensors of our layout (see `Checkpoint`) as `folder` in sae-lens' inference format, atomically.

    `scale` maps raw activations to the vectors the SAE was trained on; it is folded in, so the files take raw
    activations. `metadata` needs to be JSON; `activation_scale` and our architecture and k are added to it.
    """
    layout = WRITTEN_AS[architecture]
    mine = rescaled({name: tensor.detach().cpu() for name, tensor in tensors.items()}, scale)
    if layout == "jumprelu":
        mine["threshold"] = mine["threshold"].clamp_min(0).expand(len(mine["encoder"]))
    weights = {
        theirs: (mine[name].T if theirs in TRANSPOSED else mine[name]).contiguous()
        for name, theirs in LAYOUTS[layout][1].items()
    }
    d_sae, d_in = mine["encoder"].shape
    settings: dict[str, Any] = {
        "architecture": layout,
        "d_in": d_in,
        "d_sae": d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "metadata": {
            **metadata,
            "activation_scale": scale,
            "sae_lens_version": FORMAT,
            "concordance": {"architecture": architecture, "k": None if layout in WITHOUT_K else k},
        },
    }
    if layout == "topk":
        settings |= {"k": k, "rescale_acts_by_decoder_norm": False}
    with atomic_folder(folder) as temporary:
        save_file(weights, temporary / SAE_LENS)
        write_json(temporary / "cfg.json", settings)


def read_sae_lens(folder: Path) -> Checkpoint:
    """Raises UserError."""
    config = read_settings(folder / "cfg.json")
    metadata = mapping(folder, config, "metadata")
    activation = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    if activation not in ("relu", "topk"):
        raise refused(folder, f"has activation_fn {shown(activation)}; only relu and topk can be read")
    layout = str(config.get("architecture", "standard"))
    if activation == "topk" and layout == "standard":
        layout = "topk"
        config.setdefault("k", mapping(folder, config, "activation_fn_kwargs").get("k"))
    if layout not in LAYOUTS:
        raise refused(folder, f"has architecture {shown(layout)}; sae-lens' {', '.join(LAYOUTS)} can be read")
    architecture, names = LAYOUTS[layout]
    state = read_safetensors(folder / SAE_LENS)
    if "log_threshold" in state:
        state["threshold"] = state.pop("log_threshold").exp()
    if "scaling_factor" in state and bool((state["scaling_factor"] == 1).all()):
        del state["scaling_factor"]
    tensors = take(folder, state, names, architecture, config)
    if not config.get("apply_b_dec_to_input", True):
        fold_b_dec(tensors)
    if config.get("rescale_acts_by_decoder_norm", False):
        fold_decoder_norm(tensors)
    tensors = rescaled(tensors, _input_scale(folder, config))
    ours = mapping(folder, metadata, "concordance")
    k = ours.get("k", config.get("k"))
    if ours.get("architecture") in SCALAR_THRESHOLD and layout == "jumprelu":
        architecture = ours["architecture"]
        if tensors["threshold"].unique().numel() != 1:
            raise refused(folder, f"has unequal thresholds, which {architecture} cannot have; write it anew")
        tensors["threshold"] = tensors["threshold"][0].clone()
    hook = config.get("hook_name", config.get("hook_point"))
    described = {"model_name": config.get("model_name"), "hook_name": hook, **metadata, "concordance": None}
    return make_checkpoint(folder, "sae-lens", architecture, tensors, k, described)


def _input_scale(folder: Path, config: dict[str, Any]) -> float:
    """The factor from raw activations to those the weights expect; a training checkpoint keeps it in a file."""
    kind = config.get("normalize_activations") or "none"
    if kind == "none":
        return 1.0
    if kind in (True, "expected_average_only_in"):
        scaler = folder / "activation_scaler.json"
        factor = read_settings(scaler).get("scaling_factor") if scaler.exists() else None
        if isinstance(factor, float | int) and factor > 0:
            return float(factor)
        raise refused(
            folder, "has normalize_activations 'expected_average_only_in' and no scaling_factor in "
            "activation_scaler.json; call fold_activation_norm_scaling_factor in sae-lens and save again"
        )  # fmt: skip
    raise refused(
        folder, f"has normalize_activations {shown(kind)}, which our SAEs do not compute; only 'none' and "
        "'expected_average_only_in' can be read"
    )  # fmt: skip
