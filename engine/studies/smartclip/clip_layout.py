"""Names of a CLIP's weights: those of transformers brought into OpenAI's layout, which open_clip, Long-CLIP and SmartCLIP share."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
NEEDED = (
    "visual.conv1.weight",
    "visual.proj",
    "token_embedding.weight",
    "positional_embedding",
    "text_projection",
    "ln_final.weight",
)
OPTIONAL = ("logit_scale", "positional_embedding_res")
PREFIXES = ("visual.", "transformer.", "mask_net.", "token_embedding.", "ln_final.")
SHORT_CONTEXT, KEPT, STRETCH = 77, 20, 4
_LAYER = re.compile(r"(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)")
_IN_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_WHOLE = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "logit_scale": "logit_scale",
}


def to_openai(tensors: Mapping[str, Tensor], layout: str) -> Tensors:
    """Weights in OpenAI's layout as float32. Raises ValueError for what is no CLIP with a vision transformer."""
    plain = {name.removeprefix("module."): value for name, value in tensors.items()}
    found = _from_transformers(plain) if layout == "transformers" else plain
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise ValueError(f"it lacks {missing[0]}, so it is no CLIP with a vision transformer")
    kept = {
        name: value
        for name, value in found.items()
        if name.startswith(PREFIXES) or name in (*NEEDED, *OPTIONAL)
    }
    return {name: value.detach().float().contiguous().clone() for name, value in kept.items()}


def _from_transformers(tensors: Tensors) -> Tensors:
    found: Tensors = {}
    attention: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name in _WHOLE:
            found[_WHOLE[name]] = value
        elif name in ("visual_projection.weight", "text_projection.weight"):
            found["visual.proj" if name.startswith("visual") else "text_projection"] = value.T
        elif matched := _LAYER.fullmatch(name):
            tower = "visual.transformer" if matched[1] == "vision" else "transformer"
            place, part = f"{tower}.resblocks.{matched[2]}", matched[3]
            module, kind = part.rsplit(".", 1)
            if module in _IN_LAYER:
                found[f"{place}.{_IN_LAYER[module]}.{kind}"] = value
            else:
                attention.setdefault(f"{place}.attn.in_proj_{kind}", {})[module] = value
    for name, parts in attention.items():
        wanted = [f"self_attn.{one}_proj" for one in "qkv"]
        if set(parts) != set(wanted):
            raise ValueError(f"the attention of {name} is not whole")
        found[name] = torch.cat([parts[one] for one in wanted])
    return found


def stretched(table: Tensor) -> Tensor:
    """Positions of 77 tokens for 248, as Long-CLIP: the first 20 stay, the rest is interpolated four times as long."""
    kept, rest = table[:KEPT], table[KEPT:]
    places = torch.arange(STRETCH * len(rest)) / STRETCH
    low = places.floor().long()
    high = (low + 1).clamp(max=len(rest) - 1)
    share = (places - low)[:, None]
    return torch.cat([kept, (1 - share) * rest[low] + share * rest[high]])
