"""SAE checkpoints of sae-lens, dictionary_learning and sparsify, read into our layout; our own, written for sae-lens.

Ours: x̂ = z · decoder + b_dec with pre = (x − b_dec) · encoderᵀ + b_enc and, by architecture,
relu z = max(pre, 0); topk the k largest of those; jumprelu, batch_topk and matryoshka_batch_topk z = pre where
pre > threshold ≥ 0 (a threshold per latent, or one for all); gated z = max(exp(r_mag) · (pre − b_enc) + b_mag, 0)
where pre > 0. What another tool does otherwise is folded into the tensors, or refused.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from data.files import atomic_folder, write_json
from engine.errors import UserError

Origin = Literal["sae-lens", "dictionary_learning", "sparsify"]
Tensors = dict[str, Tensor]

SCALAR_THRESHOLD = ("batch_topk", "matryoshka_batch_topk")
WITH_K = ("topk", *SCALAR_THRESHOLD)
WITHOUT_K = ("standard", "gated")
TRANSPOSED = ("W_enc", "decoder.weight")

_MATRICES = {"encoder": "W_enc", "decoder": "W_dec", "b_enc": "b_enc", "b_dec": "b_dec"}
_GATED = {**_MATRICES, "b_enc": "b_gate", "r_mag": "r_mag", "b_mag": "b_mag"}
_LINEAR = {
    "encoder": "encoder.weight",
    "decoder": "decoder.weight",
    "b_enc": "encoder.bias",
    "b_dec": "b_dec",
}
_THRESHOLD = {"threshold": "threshold"}

SAE_LENS: dict[str, tuple[str, dict[str, str]]] = {
    "standard": ("relu", _MATRICES),
    "topk": ("topk", _MATRICES),
    "jumprelu": ("jumprelu", _MATRICES | _THRESHOLD),
    "gated": ("gated", _GATED),
    "batchtopk": ("batch_topk", _MATRICES | {"threshold": "topk_threshold"}),
    "matryoshka_batchtopk": ("matryoshka_batch_topk", _MATRICES | {"threshold": "topk_threshold"}),
}
DICTIONARY_LEARNING: dict[str, tuple[str, dict[str, str]]] = {
    "AutoEncoder": ("relu", _LINEAR | {"b_dec": "bias"}),
    "AutoEncoderNew": ("relu", _LINEAR | {"b_dec": "decoder.bias"}),
    "GatedAutoEncoder": (
        "gated",
        _LINEAR | {"b_enc": "gate_bias", "b_dec": "decoder_bias", "r_mag": "r_mag", "b_mag": "mag_bias"},
    ),
    "AutoEncoderTopK": ("topk", _LINEAR),
    "BatchTopKSAE": ("batch_topk", _LINEAR | _THRESHOLD),
    "JumpReluAutoEncoder": ("jumprelu", _MATRICES | _THRESHOLD),
    "MatryoshkaBatchTopKSAE": ("matryoshka_batch_topk", _MATRICES | _THRESHOLD),
}
ENCODES_RAW = ("AutoEncoderNew", "JumpReluAutoEncoder")
WRITTEN_AS = {"relu": "standard", "topk": "topk", "gated": "gated", "jumprelu": "jumprelu",
              "batch_topk": "jumprelu", "matryoshka_batch_topk": "jumprelu"}  # fmt: skip
SAE_LENS_FORMAT = "6.0.0"


@dataclass(frozen=True)
class Checkpoint:
    """One SAE in our layout, reading raw activations.

    `tensors`, float32 and contiguous: `encoder`, `decoder` (d_sae × d_in), `b_enc` (d_sae), `b_dec` (d_in);
    `threshold` (d_sae) for jumprelu, a scalar for batch_topk and matryoshka_batch_topk; `r_mag`, `b_mag` (d_sae)
    for gated. `metadata` is what the files say of model, hook point and training; `sha256` is that of the
    tensors' bytes in the order of their names.
    """

    origin: Origin
    architecture: str
    d_in: int
    d_sae: int
    k: int | None
    tensors: Tensors
    metadata: dict[str, Any]
    sha256: str


def sha256_of(tensors: Iterable[Tensor]) -> str:
    """The sha256 of the bytes of contiguous tensors on the CPU, one after the other."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().reshape(-1).numpy().data)
    return digest.hexdigest()


def rescaled(tensors: Mapping[str, Tensor], scale: float) -> Tensors:
    """The SAE that does on x what the one of `tensors` does on `scale` · x."""
    changed = dict(tensors)
    if scale != 1:
        changed["encoder"] = tensors["encoder"] * scale
        changed["decoder"], changed["b_dec"] = tensors["decoder"] / scale, tensors["b_dec"] / scale
    return changed


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a folder saved by sae-lens (training or inference), dictionary_learning, sparsify or Concordance.

    Raises UserError("checkpoint") where files are missing or damaged, a shape or value is wrong, or the SAE
    computes what our architectures cannot.
    """
    if not folder.is_dir():
        raise UserError("checkpoint", f"{folder} is not a folder; name one that holds an SAE's files.")
    if (folder / "ae.pt").exists():
        return _read_dictionary_learning(folder)
    if (folder / "sae.safetensors").exists():
        return _read_sparsify(folder)
    if (folder / "sae_weights.safetensors").exists():
        return _read_sae_lens(folder)
    raise _refused(
        folder, "holds no sae_weights.safetensors (sae-lens), ae.pt (dictionary_learning) or sae.safetensors "
        "(sparsify); name the folder of one SAE"
    )  # fmt: skip


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
        for name, theirs in SAE_LENS[layout][1].items()
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
            "sae_lens_version": SAE_LENS_FORMAT,
            "concordance": {"architecture": architecture, "k": None if layout in WITHOUT_K else k},
        },
    }
    if layout == "topk":
        settings |= {"k": k, "rescale_acts_by_decoder_norm": False}
    with atomic_folder(folder) as temporary:
        save_file(weights, temporary / "sae_weights.safetensors")
        write_json(temporary / "cfg.json", settings)


def _read_sae_lens(folder: Path) -> Checkpoint:
    config = _read_settings(folder / "cfg.json")
    metadata = _mapping(folder, config, "metadata")
    activation = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    if activation not in ("relu", "topk"):
        raise _refused(folder, f"has activation_fn {activation!r}; only relu and topk can be read")
    layout = str(config.get("architecture", "standard"))
    if activation == "topk" and layout == "standard":
        layout = "topk"
        config.setdefault("k", _mapping(folder, config, "activation_fn_kwargs").get("k"))
    if layout not in SAE_LENS:
        raise _refused(folder, f"has architecture {layout!r}; sae-lens' {', '.join(SAE_LENS)} can be read")
    architecture, names = SAE_LENS[layout]
    state = _read_safetensors(folder / "sae_weights.safetensors")
    if "log_threshold" in state:
        state["threshold"] = state.pop("log_threshold").exp()
    if "scaling_factor" in state and bool((state["scaling_factor"] == 1).all()):
        del state["scaling_factor"]
    tensors = _take(folder, state, names, architecture, config)
    if not config.get("apply_b_dec_to_input", True):
        _fold_b_dec(tensors)
    if config.get("rescale_acts_by_decoder_norm", False):
        _fold_decoder_norm(tensors)
    tensors = rescaled(tensors, _sae_lens_scale(folder, config))
    ours = _mapping(folder, metadata, "concordance")
    k = ours.get("k", config.get("k"))
    if ours.get("architecture") in SCALAR_THRESHOLD and layout == "jumprelu":
        architecture = ours["architecture"]
        if tensors["threshold"].unique().numel() != 1:
            raise _refused(folder, f"has unequal thresholds, which {architecture} cannot have; write it anew")
        tensors["threshold"] = tensors["threshold"][0].clone()
    hook = config.get("hook_name", config.get("hook_point"))
    described = {"model_name": config.get("model_name"), "hook_name": hook, **metadata, "concordance": None}
    return _checkpoint(folder, "sae-lens", architecture, tensors, k, described)


def _sae_lens_scale(folder: Path, config: dict[str, Any]) -> float:
    """The factor from raw activations to those the weights expect; a training checkpoint keeps it in a file."""
    kind = config.get("normalize_activations") or "none"
    if kind == "none":
        return 1.0
    if kind in (True, "expected_average_only_in"):
        scaler = folder / "activation_scaler.json"
        factor = _read_settings(scaler).get("scaling_factor") if scaler.exists() else None
        if isinstance(factor, float | int) and factor > 0:
            return float(factor)
        raise _refused(
            folder, "has normalize_activations 'expected_average_only_in' and no scaling_factor in "
            "activation_scaler.json; call fold_activation_norm_scaling_factor in sae-lens and save again"
        )  # fmt: skip
    raise _refused(
        folder, f"has normalize_activations {kind!r}, which our SAEs do not compute; only 'none' and "
        "'expected_average_only_in' can be read"
    )  # fmt: skip


def _read_dictionary_learning(folder: Path) -> Checkpoint:
    config = _read_settings(folder / "config.json")
    trainer = _mapping(folder, config, "trainer")
    kind = str(trainer.get("dict_class"))
    if kind not in DICTIONARY_LEARNING:
        raise _refused(
            folder, f"has dict_class {kind!r} in config.json; {', '.join(DICTIONARY_LEARNING)} can be read"
        )  # fmt: skip
    if _mapping(folder, config, "buffer").get("io") == "in_and_out":
        raise _refused(folder, "is a transcoder (io 'in_and_out'); only SAEs can be read")
    architecture, names = DICTIONARY_LEARNING[kind]
    state = _read_pt(folder / "ae.pt")
    sizes = {"d_in": trainer.get("activation_dim"), "d_sae": trainer.get("dict_size")}
    k = state["k"].item() if "k" in state and state["k"].numel() == 1 else trainer.get("k")
    tensors = _take(folder, state, names, architecture, sizes, optional=("k", "threshold", "group_sizes"))
    if kind in ENCODES_RAW:
        _fold_b_dec(tensors)
    metadata = {
        "model_name": trainer.get("lm_name"),
        "hook_name": trainer.get("submodule_name"),
        **{name: trainer.get(name) for name in ("trainer_class", "layer", "seed", "steps")},
    }
    return _checkpoint(folder, "dictionary_learning", architecture, tensors, k, metadata)


def _read_sparsify(folder: Path) -> Checkpoint:
    config = _read_settings(folder / "cfg.json")
    for flag, meaning in (
        ("transcode", "a transcoder"),
        ("skip_connection", "a coder with a skip connection"),
        ("signed", "a coder with negative latents"),
    ):
        if config.get(flag):
            raise _refused(folder, f"is {meaning} ({flag} in cfg.json); only plain SAEs can be read")
    if config.get("activation", "topk") != "topk":
        raise _refused(folder, f"has activation {config['activation']!r} in cfg.json; only topk can be read")
    state = _read_safetensors(folder / "sae.safetensors")
    sizes = {"d_in": config.get("d_in"), "d_sae": config.get("num_latents") or None}
    tensors = _take(folder, state, _LINEAR | {"decoder": "W_dec"}, "topk", sizes)
    return _checkpoint(folder, "sparsify", "topk", tensors, config.get("k"), {})


def _checkpoint(
    folder: Path, origin: Origin, architecture: str, tensors: Tensors, k: Any, metadata: Mapping[str, Any]
) -> Checkpoint:
    d_sae, d_in = tensors["encoder"].shape
    if "threshold" in tensors:
        tensors["threshold"] = tensors["threshold"].clamp_min(0)
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise _refused(folder, f"has NaN or infinite values in its {name}; train or save it again")
    if architecture not in WITH_K:
        k = k if isinstance(k, int) else None
    elif isinstance(k, bool) or not isinstance(k, int | float) or not 1 <= k <= d_sae:
        raise _refused(folder, f"has k = {k!r}; it must be a number from 1 to d_sae = {d_sae}")
    else:
        k = round(k)
    tensors = {name: tensors[name].contiguous() for name in sorted(tensors)}
    known = {name: value for name, value in metadata.items() if value is not None}
    return Checkpoint(origin, architecture, d_in, d_sae, k, tensors, known, sha256_of(tensors.values()))


def _take(
    folder: Path,
    state: Tensors,
    names: Mapping[str, str],
    architecture: str,
    sizes: Mapping[str, Any],
    optional: tuple[str, ...] = (),
) -> Tensors:
    """The tensors of `state` under our names, float32 and in our orientation, once their shapes are right.

    `sizes` may hold `d_in` and `d_sae` as the settings declare them. Raises UserError.
    """
    missing = sorted(set(names.values()) - set(state))
    if missing:
        raise _refused(folder, f"lacks the tensors {', '.join(missing)}, which {architecture} needs")
    unknown = sorted(set(state) - set(names.values()) - set(optional))
    if unknown:
        raise _refused(folder, f"holds the tensors {', '.join(unknown)}, which {architecture} has no use for")
    taken = {}
    for name, theirs in names.items():
        tensor = state[theirs]
        if not tensor.is_floating_point():
            raise _refused(folder, f"holds {theirs} as {tensor.dtype}; it must be floating point")
        turned = theirs in TRANSPOSED and tensor.ndim == 2
        taken[name] = tensor.float().mT if turned else tensor.float()
    matrix = tuple(taken["encoder"].shape)
    if len(matrix) != 2 or 0 in matrix:
        raise _refused(folder, f"holds {names['encoder']} of shape {matrix}; it must be a matrix")
    d_sae, d_in = taken["encoder"].shape
    for name, tensor in taken.items():
        expected = _shape(name, architecture, d_sae, d_in)
        if tuple(tensor.shape) != expected:
            shown = expected[::-1] if names[name] in TRANSPOSED else expected
            raise _refused(
                folder, f"holds {names[name]} of shape {tuple(state[names[name]].shape)}, expected {shown} "
                f"beside {names['encoder']}"
            )  # fmt: skip
    for name, size in (("d_in", d_in), ("d_sae", d_sae)):
        if sizes.get(name) not in (None, size):
            raise _refused(folder, f"declares {name} = {sizes[name]} and holds tensors of {name} = {size}")
    return taken


def _shape(name: str, architecture: str, d_sae: int, d_in: int) -> tuple[int, ...]:
    if name in ("encoder", "decoder"):
        return (d_sae, d_in)
    if name == "threshold" and architecture in SCALAR_THRESHOLD:
        return ()
    return (d_in,) if name == "b_dec" else (d_sae,)


def _fold_b_dec(tensors: Tensors) -> None:
    """For an encoder that read x where ours reads x − b_dec."""
    shift = tensors["encoder"] @ tensors["b_dec"]
    tensors["b_enc"] = tensors["b_enc"] + shift
    if "b_mag" in tensors:
        tensors["b_mag"] = tensors["b_mag"] + tensors["r_mag"].exp() * shift


def _fold_decoder_norm(tensors: Tensors) -> None:
    """For latents that were multiplied by their decoder row's norm when encoded, and divided when decoded."""
    norm = tensors["decoder"].norm(dim=1)
    tensors["encoder"] = tensors["encoder"] * norm[:, None]
    tensors["b_enc"] = tensors["b_enc"] * norm
    tensors["decoder"] = tensors["decoder"] / torch.where(norm == 0, 1, norm)[:, None]


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text())
    except FileNotFoundError:
        raise _refused(path.parent, f"has no {path.name}; copy it from where the SAE was saved") from None
    except (OSError, ValueError) as error:
        raise _refused(path.parent, f"has an unreadable {path.name} ({_brief(error)})") from None
    if not isinstance(settings, dict):
        raise _refused(path.parent, f"has a {path.name} that is not a JSON object")
    return settings


def _mapping(folder: Path, settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = settings.get(name) or {}
    if not isinstance(value, dict):
        raise _refused(folder, f"has {name} in its settings that is not a JSON object")
    return value


def _read_safetensors(path: Path) -> Tensors:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _refused(path.parent, f"has a damaged {path.name} ({_brief(error)}); copy it again") from None


def _read_pt(path: Path) -> Tensors:
    """A state dict saved with torch.save; anything but tensors in it is refused before it is built."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _refused(
            path.parent, f"has an {path.name} that is not a plain state dict ({_brief(error)})"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise _refused(path.parent, f"has an {path.name} that is not a plain state dict of tensors")
    return state


def _brief(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")[:120] or type(error).__name__


def _refused(folder: Path, reason: str) -> UserError:
    return UserError("checkpoint", f"{folder} {reason}.")
