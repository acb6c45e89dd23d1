"""dictionary_learning: a state dict in ae.pt, its class in config.json."""

from pathlib import Path

from engine.sae_formats import DICTIONARY_LEARNING
from engine.sae_formats.common import (
    LINEAR,
    MATRICES,
    THRESHOLD,
    Checkpoint,
    fold_b_dec,
    make_checkpoint,
    refused,
    shown,
    take,
)
from engine.sae_formats.files import mapping, read_pt, read_settings

CLASSES: dict[str, tuple[str, dict[str, str]]] = {
    "AutoEncoder": ("relu", LINEAR | {"b_dec": "bias"}),
    "AutoEncoderNew": ("relu", LINEAR | {"b_dec": "decoder.bias"}),
    "GatedAutoEncoder": (
        "gated",
        LINEAR | {"b_enc": "gate_bias", "b_dec": "decoder_bias", "r_mag": "r_mag", "b_mag": "mag_bias"},
    ),
    "AutoEncoderTopK": ("topk", LINEAR),
    "BatchTopKSAE": ("batch_topk", LINEAR | THRESHOLD),
    "JumpReluAutoEncoder": ("jumprelu", MATRICES | THRESHOLD),
    "MatryoshkaBatchTopKSAE": ("matryoshka_batch_topk", MATRICES | THRESHOLD),
}
ENCODES_RAW = ("AutoEncoderNew", "JumpReluAutoEncoder")


def read_dictionary_learning(folder: Path) -> Checkpoint:
    """Raises UserError."""
    config = read_settings(folder / "config.json")
    trainer = mapping(folder, config, "trainer")
    kind = str(trainer.get("dict_class"))
    if kind not in CLASSES:
        raise refused(
            folder, f"has dict_class {shown(kind)} in config.json; {', '.join(CLASSES)} can be read"
        )
    if mapping(folder, config, "buffer").get("io") == "in_and_out":
        raise refused(folder, "is a transcoder (io 'in_and_out'); only SAEs can be read")
    architecture, names = CLASSES[kind]
    state = read_pt(folder / DICTIONARY_LEARNING)
    sizes = {"d_in": trainer.get("activation_dim"), "d_sae": trainer.get("dict_size")}
    k = state["k"].item() if "k" in state and state["k"].numel() == 1 else trainer.get("k")
    tensors = take(folder, state, names, architecture, sizes, optional=("k", "threshold", "group_sizes"))
    if kind in ENCODES_RAW:
        fold_b_dec(tensors)
    metadata = {
        "model_name": trainer.get("lm_name"),
        "hook_name": trainer.get("submodule_name"),
        **{name: trainer.get(name) for name in ("trainer_class", "layer", "seed", "steps")},
    }
    return make_checkpoint(folder, "dictionary_learning", architecture, tensors, k, metadata)
