"""Names that SAE files give to a model and to the place they read, put into ours."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.files import read_json
from engine.activation_sources import find_source, names_run
from engine.errors import UserError
from engine.language_model import ALIASES, BUNDLED, HOOK_POINT, HUB_ID, LABELS, model_folder

OWNERS = {
    "gpt2": "openai-community",
    "distilgpt2": "distilbert",
    "pythia-": "EleutherAI",
    "gpt-neo": "EleutherAI",
    "gemma-": "google",
    "Llama-3": "meta-llama",
    "Meta-Llama-3": "meta-llama",
    "Qwen": "Qwen",
    "SmolLM2-": "HuggingFaceTB",
    "Mistral-": "mistralai",
}
NORMED_OUTPUTS = re.compile(r"google/gemma-[23]-")
OUTPUTS = {"hook_attn_out": "ln1_post.hook_out", "hook_mlp_out": "ln2_post.hook_out"}
SITES = {
    **ALIASES,
    "hook_resid_mid": "ln2.hook_in",
    "attn.hook_z": "attn.o.hook_in",
    "mlp.hook_post": "mlp.out.hook_in",
}
MODULE = re.compile(
    r"(?:\w+\.)*?(?:layers|h|blocks)\.(?P<layer>\d+)(?:\.(?P<part>mlp|self_attn|attn|attention))?"
)
SUBMODULE = re.compile(r"(?P<site>resid_post|resid_pre|mlp_out|attn_out|attention_out)_layer_?(?P<layer>\d+)")
PARTS = {None: "", "mlp": "mlp.", "self_attn": "attn.", "attn": "attn.", "attention": "attn."}
RESIDUAL_WIDE = ("hook_in", "hook_out", "mlp.hook_out", "attn.hook_out", "ln2.hook_in", *OUTPUTS.values())


def model_named(name: Any) -> str | None:
    """The model that a file's metadata names, as `engine.language_model.load` takes it; None when that is unclear."""
    if not isinstance(name, str) or not name:
        return None
    if name == BUNDLED or name in LABELS.values():
        return BUNDLED
    if names_run(name):
        return name
    if HUB_ID.fullmatch(name) and not name.startswith("."):
        return name
    if Path(name).is_absolute() and (Path(name) / "config.json").is_file():
        return name
    owner = next((owner for start, owner in OWNERS.items() if name.startswith(start)), None)
    return f"{owner}/{name.removesuffix('-small')}" if owner and HUB_ID.fullmatch(f"{owner}/{name}") else None


def hook_point_named(metadata: Mapping[str, Any], model: str | None) -> tuple[str | None, str]:
    """The hook point that metadata names, or None, and what was assumed to find it.

    sae-lens and Gemma Scope give a hook name, dictionary_learning a submodule or a layer, sparsify a module.
    """
    assumed = str(metadata.get("assumed") or "")
    for name in (metadata.get("hook_name"), metadata.get("module")):
        found = _from_name(name, model, bool(metadata.get("module_input"))) if isinstance(name, str) else None
        if found:
            return found, assumed
    layer = metadata.get("layer")
    if isinstance(layer, int) and not isinstance(layer, bool) and layer >= 0:
        return f"blocks.{layer}.hook_out", f"the files give layer {layer} and no site: the residual stream after it is assumed"  # fmt: skip
    return None, ""


def _from_name(name: str, model: str | None, reads_input: bool) -> str | None:
    if HOOK_POINT.fullmatch(name):
        _, layer, site = name.split(".", 2)
        sites = SITES | OUTPUTS if model and NORMED_OUTPUTS.match(model) else SITES
        return f"blocks.{layer}.{sites.get(site, site)}"
    if found := SUBMODULE.fullmatch(name):
        site = found["site"].replace("attention", "attn")
        return f"blocks.{found['layer']}.{SITES[f'hook_{site}']}"
    if found := MODULE.fullmatch(name):
        return f"blocks.{found['layer']}.{PARTS[found['part']]}hook_{'in' if reads_input else 'out'}"
    return None


def expected_width(model: str, hook_point: str) -> int | None:
    """Width of a hook point's vectors by the model's config.json, without loading it; None where that is unknown."""
    if names_run(model):
        return find_source(model).width(hook_point)
    config = _config(model)
    config = config.get("text_config", config)
    width = next((config[name] for name in ("hidden_size", "n_embd", "d_model") if name in config), None)
    site = hook_point.split(".", 2)[2]
    return width if isinstance(width, int) and site in RESIDUAL_WIDE else None


def _config(model: str) -> dict[str, Any]:
    """The model's config.json where it is on this machine; empty where it is not."""
    from huggingface_hub import try_to_load_from_cache

    folder = model_folder(model)
    path = folder / "config.json" if folder else try_to_load_from_cache(model, "config.json")
    try:
        return dict(read_json(Path(path))) if isinstance(path, str | Path) else {}
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, FileNotFoundError):
            return {}
        raise UserError("model", f"{model} has an unreadable config.json; choose another model.") from None
