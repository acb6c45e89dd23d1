"""sparsify: TopK SAEs in sae.safetensors, in a folder named for the module they read."""

from pathlib import Path
from typing import Any

from engine.sae_formats import SPARSIFY
from engine.sae_formats.common import (
    LINEAR,
    Checkpoint,
    make_checkpoint,
    refused,
    shown,
    take,
)
from engine.sae_formats.files import read_safetensors, read_settings

NOT_PLAIN = {
    "transcode": "a transcoder",
    "skip_connection": "a coder with a skip connection",
    "signed": "a coder with negative latents",
}


def read_sparsify(folder: Path) -> Checkpoint:
    """Raises UserError."""
    config = read_settings(folder / "cfg.json")
    for flag, meaning in NOT_PLAIN.items():
        if config.get(flag):
            raise refused(folder, f"is {meaning} ({flag} in cfg.json); only plain SAEs can be read")
    if config.get("activation", "topk") != "topk":
        raise refused(
            folder, f"has activation {shown(config['activation'])} in cfg.json; only topk can be read"
        )
    state = read_safetensors(folder / SPARSIFY)
    sizes = {"d_in": config.get("d_in"), "d_sae": config.get("num_latents") or None}
    tensors = take(folder, state, LINEAR | {"decoder": "W_dec"}, "topk", sizes)
    return make_checkpoint(folder, "sparsify", "topk", tensors, config.get("k"), _metadata(folder))


def _metadata(folder: Path) -> dict[str, Any]:
    """The module stands in the folder's name, the model in the settings of the training beside it."""
    beside = folder.parent / "config.json"
    training = read_settings(beside) if beside.is_file() else {}
    if training.get("hook_mode") in ("transcode", "skip_transcode"):
        raise refused(folder, "is a transcoder (hook_mode in config.json); only SAEs can be read")
    return {
        "model_name": training.get("model") if isinstance(training.get("model"), str) else None,
        "module": folder.name,
        "module_input": True if training.get("hook_mode") == "input" else None,
    }
