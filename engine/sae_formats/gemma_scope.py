"""Gemma Scope: JumpReLU SAEs in params.npz (the first) or params.safetensors (the second), named by their folders."""

import re
from pathlib import Path
from typing import Any

from engine.sae_formats import GEMMA_SCOPE, GEMMA_SCOPE_2
from engine.sae_formats.common import (
    MATRICES,
    THRESHOLD,
    Checkpoint,
    Tensors,
    check_names,
    fold_b_dec,
    make_checkpoint,
    refused,
    shown,
    take,
)
from engine.sae_formats.files import read_safetensors, read_settings
from engine.sae_formats.npz import read_npz

RELEASE = re.compile(r"gemma-scope-(?P<size>2b|9b|27b)-(?P<kind>pt|it)-(?P<site>res|mlp|att)")
SITES = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z"}
NAMED_SITES = {
    "resid_post": "hook_resid_post",
    "mlp_out": "hook_mlp_out",
    "attn_out": "attn.hook_z",
}


def read_gemma_scope(folder: Path) -> Checkpoint:
    """Encoders read x itself: pre = x · W_enc + b_enc, z = pre where pre > threshold. Raises UserError."""
    where = folder.as_posix()
    if "transcoder" in where.rpartition("gemma-scope")[2]:
        raise refused(folder, "is a transcoder by its name; only SAEs can be read")
    if folder.name.startswith("embedding") or folder.parent.name.startswith("embedding"):
        raise refused(folder, "reads the token embedding by its name, which is no block's hook point")
    tensors = take(folder, _state(folder), MATRICES | THRESHOLD, "jumprelu", {})
    fold_b_dec(tensors)
    return make_checkpoint(folder, "gemma-scope", "jumprelu", tensors, None, _metadata(folder))


def _state(folder: Path) -> Tensors:
    found = (
        read_npz(folder / GEMMA_SCOPE)
        if (folder / GEMMA_SCOPE).is_file()
        else read_safetensors(folder / GEMMA_SCOPE_2)
    )
    state = {re.sub("^w_", "W_", name): tensor for name, tensor in found.items()}
    scaling = state.get("scaling_factor")
    if scaling is not None and bool((scaling == 1).all()):
        del state["scaling_factor"]
    check_names(folder, state, [*MATRICES.values(), *THRESHOLD], "jumprelu")
    return state


def _metadata(folder: Path) -> dict[str, Any]:
    settings = read_settings(folder / "config.json") if (folder / "config.json").is_file() else {}
    if settings.get("architecture", "jump_relu") != "jump_relu":
        raise refused(
            folder, f"has architecture {shown(settings['architecture'])}; only jump_relu can be read"
        )
    where = folder.as_posix()
    release = RELEASE.search(where)
    layers = re.findall(r"(?:^|[/_])layer_(\d+)(?=[/_]|$)", where)
    site = SITES[release["site"]] if release else _named_site(where)
    model = str(settings.get("model_name") or "").replace("-v3", "-3") or None
    if release:
        model = f"google/gemma-2-{release['size']}" + ("-it" if release["kind"] == "it" else "")
    return {
        "model_name": model,
        "hook_name": f"blocks.{layers[-1]}.{site or 'hook_resid_post'}" if layers else None,
        "assumed": None if site or not layers else f"the folder's name gives layer {layers[-1]} and no site: "
        "the residual stream after it is assumed",
    }  # fmt: skip


def _named_site(where: str) -> str | None:
    return next((hook for name, hook in NAMED_SITES.items() if name in where), None)
