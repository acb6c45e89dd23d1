"""Language models behind transformer-lens' TransformerBridge, read at a named hook point."""

import difflib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import corpora
from data.assets import ASSETS, AssetMissing, locate
from data.files import atomic_folder, read_json, sha256_file
from data.paths import cache_dir
from engine.activation_sources import Window, find_source, names_run
from engine.errors import UserError
from engine.text_windows import text_windows

if TYPE_CHECKING:
    from torch import Tensor

BUNDLED = "smollm2-135m-instruct-q4"
LABELS = {BUNDLED: "SmolLM2-135M-Instruct (instruct model, 4-bit origin)"}
ALIASES = {
    "hook_resid_post": "hook_out",
    "hook_resid_pre": "hook_in",
    "hook_attn_out": "attn.hook_out",
    "hook_mlp_out": "mlp.hook_out",
}
WEIGHTS = (".safetensors", ".bin")
READING_LEVEL = 1_000_000
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
HOOK_POINT = re.compile(r"blocks\.(\d+)\.[a-z0-9_.]+")


def model_folder(model: str) -> Path | None:
    """The folder a model name stands for on this machine; None for a Hugging Face id. Raises UserError."""
    if model == BUNDLED:
        return cache_dir() / "models" / BUNDLED
    if names_run(model):
        raise UserError("model", f"{model} is a run's model; this needs a language model.")
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
    if names_run(model):
        return find_source(model).identity
    folder = model_folder(model)
    if folder is None:
        return f"hub {model}"
    files = sorted(p for p in folder.iterdir() if p.suffix in (*WEIGHTS, ".json"))
    if not any(p.suffix in WEIGHTS for p in files):
        raise UserError("model", f"{folder} has no weights; name a folder saved with save_pretrained.")
    lines = (f"{p.name} {_file_hash(p, p.stat().st_size, p.stat().st_mtime_ns)}" for p in files)
    return hashlib.sha256(" ".join(lines).encode()).hexdigest()


@lru_cache(maxsize=256)
def _file_hash(path: Path, size: int, modified: int) -> str:
    """sha256 of a file, taken again only when its size or time of change differs."""
    return sha256_file(path)


def model_provenance(model: str) -> dict[str, str]:
    """Licence and tier of a model."""
    if model == BUNDLED:
        return {"licence": ASSETS[BUNDLED].licence, "tier": ASSETS[BUNDLED].tier}
    return {"licence": "stated by its owner", "tier": "real pretrained"}


def canonical_hook_point(model: str, hook_point: str) -> str:
    """The hook point under its one stored name. Raises UserError for a name or layer that cannot be."""
    if names_run(model):
        find_source(model).check_hook_point(hook_point)
        return hook_point
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
    skipped = 1

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

    def window_size(self, config: Any) -> int:
        return int(config.context_size)

    def windows(self, config: Any, wanted: Mapping[str, int]) -> Iterator[Window]:
        """Windows of the config's corpus; `wanted` tokens of each split. Raises UserError."""
        return text_windows(config.corpus, self.encode, self.separator, config.context_size, wanted)

    def save_tokenizer(self, path: Path) -> None:
        self.tokenizer.backend_tokenizer.save(str(path))

    def describe(self, config: Any) -> dict[str, Any]:
        """Sources, licences and tier of the model and the config's corpus, for the manifest."""
        model, sources = model_provenance(config.model), corpora.describe(config.corpus)
        return {
            "sources": sources,
            "missing_sources": corpora.missing(config.corpus),
            "tier": model["tier"],
            "licences": sorted({model["licence"], *(source["licence"] for source in sources)}),
        }

    def check_hook_point(self, hook_point: str) -> None:
        """Raises UserError, naming near names, when the model has no such hook point."""
        if hook_point not in self.bridge.hook_dict:
            names = {point.name for point in self.bridge.hook_dict.values()}
            near = difflib.get_close_matches(hook_point, sorted(names), n=4, cutoff=0)
            raise UserError(
                "hook_point",
                f"{hook_point!r} does not exist in this model; the nearest names are {', '.join(near)}.",
            )

    def width(self, hook_point: str) -> int:
        """Dimension d of a hook point's vectors. Raises UserError when it has none."""
        import torch

        return int(self.activations(torch.full((1, 2), self.separator), hook_point).shape[2])

    def activations(self, tokens: "Tensor", hook_point: str) -> "Tensor":
        """Activations (B × T × d, float32) of token ids (B × T); the forward pass stops at the hook's layer.

        Raises UserError when the hook point holds anything else than one vector per token.
        """
        import torch

        caught: list[Tensor] = []
        layer = int(hook_point.split(".")[1])
        point = self.bridge.hook_dict[hook_point]
        point.add_hook(lambda value, hook: caught.append(value.detach()), level=READING_LEVEL)
        try:
            with torch.inference_mode():
                self.bridge(tokens.to(self.device), return_type=None, stop_at_layer=layer + 1)
        finally:
            point.remove_hooks(level=READING_LEVEL)
        if not caught:
            raise UserError(
                "hook_point",
                f"{hook_point!r} is not computed by this model; choose another, such as {_example(layer)}.",
            )
        found = caught[0]
        if found.ndim != 3 or found.shape[:2] != tokens.shape:
            shape = " × ".join(map(str, found.shape))
            raise UserError(
                "hook_point",
                f"{hook_point!r} gives {shape} values, not a vector per token; choose another, such as {_example(layer)}.",
            )
        return found.float()


def _example(layer: int) -> str:
    return f"blocks.{layer}.hook_out"


def load(model: str, device: str) -> LanguageModel:
    """Load a model on a torch device, float32 on CPU and bfloat16 on CUDA. Raises UserError."""
    _be_quiet()
    try:
        folder = prepare_bundled() if model == BUNDLED else model_folder(model)
    except AssetMissing as error:
        raise UserError("model", str(error)) from error
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
    if not tokenizer.is_fast:
        raise UserError("model", f"{model!r} has no tokenizer.json; choose a model with a fast tokenizer.")
    return LanguageModel(bridge, tokenizer, device, LABELS.get(model, model), model_identity(model))
