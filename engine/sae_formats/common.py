"""What the formats share: our layout, refusals of one sentence, shapes, and what is folded into the tensors."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from engine.errors import UserError
from engine.plain_text import one_line

Origin = Literal["sae-lens", "dictionary_learning", "sparsify", "gemma-scope"]
Tensors = dict[str, Tensor]

SCALAR_THRESHOLD = ("batch_topk", "matryoshka_batch_topk")
WITH_K = ("topk", *SCALAR_THRESHOLD)
WITHOUT_K = ("standard", "gated")
TRANSPOSED = ("W_enc", "decoder.weight")
NAMED = 6
SENTENCE = 600

MATRICES = {"encoder": "W_enc", "decoder": "W_dec", "b_enc": "b_enc", "b_dec": "b_dec"}
LINEAR = {
    "encoder": "encoder.weight",
    "decoder": "decoder.weight",
    "b_enc": "encoder.bias",
    "b_dec": "b_dec",
}
THRESHOLD = {"threshold": "threshold"}


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


def make_checkpoint(
    folder: Path, origin: Origin, architecture: str, tensors: Tensors, k: Any, metadata: Mapping[str, Any]
) -> Checkpoint:
    """The checkpoint of tensors in our layout, once their values and k are sound. Raises UserError."""
    d_sae, d_in = tensors["encoder"].shape
    if "threshold" in tensors:
        tensors["threshold"] = tensors["threshold"].clamp_min(0)
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise refused(folder, f"has NaN or infinite values in its {name}; train or save it again")
    if architecture not in WITH_K:
        k = k if isinstance(k, int) and not isinstance(k, bool) and 1 <= k <= d_sae else None
    elif isinstance(k, bool) or not isinstance(k, int | float) or not 1 <= k <= d_sae:
        raise refused(folder, f"has k = {shown(k)}; it must be a number from 1 to d_sae = {d_sae}")
    else:
        k = round(k)
    tensors = {name: tensors[name].contiguous() for name in sorted(tensors)}
    known = {name: value for name, value in metadata.items() if value is not None}
    return Checkpoint(origin, architecture, d_in, d_sae, k, tensors, known, sha256_of(tensors.values()))


def take(
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
    check_names(folder, state, names.values(), architecture, optional)
    taken = {}
    for name, theirs in names.items():
        tensor = state[theirs]
        if not tensor.is_floating_point():
            raise refused(folder, f"holds {theirs} as {tensor.dtype}; it must be floating point")
        turned = theirs in TRANSPOSED and tensor.ndim == 2
        taken[name] = tensor.float().mT if turned else tensor.float()
    matrix = tuple(taken["encoder"].shape)
    if len(matrix) != 2 or 0 in matrix:
        raise refused(folder, f"holds {names['encoder']} of shape {matrix}; it must be a matrix")
    d_sae, d_in = taken["encoder"].shape
    for name, tensor in taken.items():
        expected = _shape(name, architecture, d_sae, d_in)
        if tuple(tensor.shape) != expected:
            wanted = expected[::-1] if names[name] in TRANSPOSED else expected
            raise refused(
                folder, f"holds {names[name]} of shape {tuple(state[names[name]].shape)}, expected {wanted} "
                f"beside {names['encoder']}"
            )  # fmt: skip
    for name, size in (("d_in", d_in), ("d_sae", d_sae)):
        if sizes.get(name) not in (None, size):
            raise refused(
                folder, f"declares {name} = {shown(sizes[name])} and holds tensors of {name} = {size}"
            )
    return taken


def check_names(
    folder: Path,
    state: Iterable[str],
    needed: Iterable[str],
    architecture: str,
    optional: tuple[str, ...] = (),
) -> None:
    """Raises UserError when tensors are missing, or there are some that the architecture has no use for."""
    have, needed = set(state), set(needed)
    if missing := sorted(needed - have):
        raise refused(folder, f"lacks the tensors {_some(missing)}, which {architecture} needs")
    if unknown := sorted(have - needed - set(optional)):
        raise refused(folder, f"holds the tensors {_some(unknown)}, which {architecture} has no use for")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(one_line(name, 60) for name in names[:NAMED]) + more


def _shape(name: str, architecture: str, d_sae: int, d_in: int) -> tuple[int, ...]:
    if name in ("encoder", "decoder"):
        return (d_sae, d_in)
    if name == "threshold" and architecture in SCALAR_THRESHOLD:
        return ()
    return (d_in,) if name == "b_dec" else (d_sae,)


def fold_b_dec(tensors: Tensors) -> None:
    """For an encoder that read x where ours reads x − b_dec."""
    shift = tensors["encoder"] @ tensors["b_dec"]
    tensors["b_enc"] = tensors["b_enc"] + shift
    if "b_mag" in tensors:
        tensors["b_mag"] = tensors["b_mag"] + tensors["r_mag"].exp() * shift


def fold_decoder_norm(tensors: Tensors) -> None:
    """For latents that were multiplied by their decoder row's norm when encoded, and divided when decoded."""
    norm = tensors["decoder"].norm(dim=1)
    tensors["encoder"] = tensors["encoder"] * norm[:, None]
    tensors["b_enc"] = tensors["b_enc"] * norm
    tensors["decoder"] = tensors["decoder"] / torch.where(norm == 0, 1, norm)[:, None]


def shown(value: Any) -> str:
    """A value of a settings file for a sentence."""
    return one_line(repr(value), 80)


def brief(error: Exception) -> str:
    return one_line(str(error).partition("\n")[0].rstrip("."), 120) or type(error).__name__


def refused(folder: Path, reason: str) -> UserError:
    """The refusal of a folder, one sentence whatever names and values its files hold."""
    return UserError("checkpoint", one_line(f"{folder} {reason}", SENTENCE) + ".")
