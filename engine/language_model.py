"""Language models behind transformer-lens' TransformerBridge, read at a named hook point."""

import fcntl
import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.assets import ASSETS, locate
from data.files import atomic_folder, read_json, sha256_file
from data.paths import cache_dir
from engine.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

BUNDLED = "smollm2-135m-instruct-q4"
LABELS = {BUNDLED: "SmolLM2-135M-Instruct (instruct model, 4-bit origin)"}
ALIASES = {"hook_resid_post": "hook_out", "hook_resid_pre": "hook_in"}
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
HOOK_POINT = re.compile(r"blocks\.(\d+)\.[a-z0-9_.]+")


def model_folder(model: str) -> Path | None:
    """The folder a model name stands for on this machine; None for a Hugging Face id. Raises UserError."""
    if model == BUNDLED:
        return cache_dir() / "models" / BUNDLED
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise UserError(
                "model", f"{folder} has no config.json; name a folder saved with save_pretrained."
            )
        return folder
    if HUB_ID.fullmatch(model) and not model.startswith("."):
        return None
    raise UserError(
        "model",
        f"{model!r} does not exist; give {BUNDLED}, a Hugging Face id (owner/name) or a local folder.",
    )


def model_identity(model: str) -> str:
    """A fingerprint of the model's weights, taken without loading them. Raises UserError."""
    if model == BUNDLED:
        return ASSETS[BUNDLED].sha256
    folder = model_folder(model)
    if folder is None:
        return f"hub {model}"
    names = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".json"))
    return hashlib.sha256(" ".join(f"{p.name} {sha256_file(p)}" for p in names).encode()).hexdigest()


def canonical_hook_point(model: str, hook_point: str) -> str:
    """The hook point under its one stored name. Raises UserError for a name or layer that cannot be."""
    found = HOOK_POINT.fullmatch(hook_point)
    if not found:
        raise UserError(
            "hook_point", f"{hook_point!r} is not a block's hook name; write for example blocks.11.hook_out."
        )
    n_layers = _n_layers(model)
    if n_layers is not None and int(found[1]) >= n_layers:
        raise UserError(
            "hook_point",
            f"{hook_point!r} names layer {found[1]}, and the model has layers 0 to {n_layers - 1}.",
        )
    head, _, last = hook_point.rpartition(".")
    return f"{head}.{ALIASES[last]}" if last in ALIASES and head.count(".") == 1 else hook_point


def _n_layers(model: str) -> int | None:
    folder = model_folder(model)
    if folder is None or not (folder / "config.json").exists():
        return None
    config = read_json(folder / "config.json")
    return config.get("num_hidden_layers") or config.get("n_layer")


def bundled_is_prepared() -> bool:
    return (cache_dir() / "models" / BUNDLED).is_dir()


def prepare_bundled() -> Path:
    """Re-save the bundled GGUF once as bfloat16 safetensors in the cache; its folder. Raises AssetMissing."""
    folder = cache_dir() / "models" / BUNDLED
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _convert(locate(BUNDLED), folder)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    """A model loaded from GGUF cannot be saved as it is, so its weights go into a fresh one."""
    _be_quiet()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    source = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    settings = source.config.to_dict()
    settings.pop("quantization_config", None)
    model: Any = LlamaForCausalLM(LlamaConfig(**settings))
    missing, unexpected = model.load_state_dict(source.state_dict(), strict=False)
    if unexpected or [name for name in missing if name != "lm_head.weight"]:
        raise RuntimeError(f"the bundled model's weights do not fit: {missing} {unexpected}")
    model.tie_weights()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    with atomic_folder(folder) as temporary:
        model.to(torch.bfloat16).save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


def _be_quiet() -> None:
    os.environ.setdefault("WANDB_MODE", "disabled")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@dataclass
class LanguageModel:
    """A model ready to be read. `label` says what it is, `identity` is its fingerprint."""

    bridge: Any
    tokenizer: Any
    device: str
    label: str
    identity: str

    @property
    def d_model(self) -> int:
        return int(self.bridge.cfg.d_model)

    @cached_property
    def separator(self) -> int:
        """Id of the token that joins documents."""
        named = self.tokenizer.convert_tokens_to_ids("<|endoftext|>")
        for token in (named, self.tokenizer.eos_token_id, self.tokenizer.bos_token_id):
            if (token is not None and token != self.tokenizer.unk_token_id) or token == 0:
                return int(token)
        raise UserError("model", "its tokenizer has no end-of-text token; choose another model.")

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, without special tokens."""
        return self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]

    def check_hook_point(self, hook_point: str) -> None:
        """Raises UserError, naming near names, when the model has no such hook point."""
        if hook_point not in self.bridge.hook_dict:
            prefix = ".".join(hook_point.split(".")[:2])
            near = sorted(
                n for n in self.bridge.hook_dict if n.startswith(f"{prefix}.") and n.count(".") == 2
            )
            raise UserError(
                "hook_point", f"{hook_point!r} does not exist in this model; it has {', '.join(near[:8])}."
            )

    def activations(self, tokens: "Tensor", hook_point: str) -> "Tensor":
        """Activations (B × T × d, float32) of token ids (B × T); the forward pass stops at the hook's layer."""
        import torch

        caught: list[Tensor] = []
        layer = int(hook_point.split(".")[1])
        with torch.inference_mode():
            self.bridge.run_with_hooks(
                tokens.to(self.device),
                return_type=None,
                stop_at_layer=layer + 1,
                fwd_hooks=[(hook_point, lambda value, hook: caught.append(value.detach()))],
            )
        return caught[0].float()


def load(model: str, device: str) -> LanguageModel:
    """Load a model on a torch device, float32 on CPU and bfloat16 on CUDA. Raises UserError."""
    _be_quiet()
    folder = prepare_bundled() if model == BUNDLED else model_folder(model)
    if folder is not None:
        os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    try:
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        bridge = TransformerBridge.boot_transformers(str(folder or model), device=device, dtype=dtype)
        tokenizer = AutoTokenizer.from_pretrained(str(folder or model))
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise UserError(
            "model", f"{model!r} cannot be loaded ({reason}); check the id, the folder or the network."
        ) from error
    return LanguageModel(bridge, tokenizer, device, LABELS.get(model, model), model_identity(model))
