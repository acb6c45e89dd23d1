"""Opening a published masked-diffusion model: Qwen3 with attention to both sides, or a LLaDA model with its owner's code."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from engine.errors import UserError
from engine.studies.sapo.config import Config
from engine.studies.sapo.text_task import Tokenizer

QWEN_TYPES = ("qwen3", "a2d-qwen3")
LLADA_MASK = 126_336
TRANSFORMERS = {"qwen": "transformers 5", "llada": "transformers below 5, in the environment llada"}


@dataclass(frozen=True)
class Loaded:
    """A frozen model on `device`; `logits(model, tokens, L)` are those of the last L positions (n × L × vocabulary)."""

    model: Any
    tokenizer: Tokenizer
    mask: int
    device: str
    versions: str
    logits: Callable[[Any, Tensor, int], Tensor]


def open_model(config: Config, device: str) -> Loaded:
    """Load a large policy's model and tokenizer. Raises UserError with one sentence where that fails."""
    _require_versions(config)
    options: dict[str, Any] = {
        "dtype": torch.bfloat16 if device == "cuda" else torch.float32,
        "use_safetensors": True,
        "output_loading_info": True,
    }
    if config.four_bit:
        options |= {"quantization_config": _four_bits(device), "device_map": {"": device}}
    try:
        model, tokenizer, info = (_open_qwen if config.policy == "qwen" else _open_llada)(
            config.large_model, options
        )
    except UserError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError("policy_model", f"{config.large_model} could not be loaded ({reason}).") from error
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            "policy_model",
            f"{config.large_model} lacks the weights {', '.join(map(str, missing[:3]))}; name another model.",
        )
    model = (model if config.four_bit else model.to(device)).requires_grad_(False)
    return Loaded(
        model,
        tokenizer,
        _mask_token(config, model.config, tokenizer),
        device,
        f"transformers {version('transformers')}, peft {version('peft')}",
        _qwen_logits if config.policy == "qwen" else _llada_logits,
    )


def _require_versions(config: Config) -> None:
    major = int(version("transformers").partition(".")[0])
    if (config.policy == "qwen") != (major >= 5):
        raise UserError(
            "policy",
            f"{config.policy} needs {TRANSFORMERS[config.policy]}; this worker has transformers {major}.",
        )
    try:
        version("peft")
    except ModuleNotFoundError:
        raise UserError("policy", f"{config.policy} needs LoRA from peft; install the extra [gpu].") from None


def _four_bits(device: str) -> Any:
    """d1's quantisation: NF4 with double quantisation, computing in bfloat16. Raises UserError."""
    import transformers

    if device != "cuda":
        raise UserError("four_bit", "weights in 4 bits need an NVIDIA GPU; set four_bit to false.")
    try:
        version("bitsandbytes")
    except ModuleNotFoundError:
        raise UserError("four_bit", "weights in 4 bits need bitsandbytes; install the extra [gpu].") from None
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _open_qwen(name: str, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Transformers' own Qwen3 with a model's weights; code that comes with them is not run."""
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    kind = Qwen3Config.get_config_dict(name)[0].get("model_type")
    if kind not in QWEN_TYPES:
        raise UserError("policy_model", f"{name} is of type {kind}, and the policy qwen takes Qwen3 models.")
    settings = Qwen3Config.from_pretrained(name)
    found: Any = Qwen3ForCausalLM
    model, info = found.from_pretrained(name, config=settings, **options)
    return model, AutoTokenizer.from_pretrained(name, config=settings), info


def _open_llada(name: str, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    """A model whose owner's code is run to make it."""
    from transformers import AutoModel, AutoTokenizer

    model, info = AutoModel.from_pretrained(name, trust_remote_code=True, **options)
    return model, AutoTokenizer.from_pretrained(name, trust_remote_code=True), info


def _qwen_logits(model: Any, tokens: Tensor, length: int) -> Tensor:
    n, width = tokens.shape
    every = torch.ones((1, 1, width, width), dtype=torch.bool, device=tokens.device).expand(n, -1, -1, -1)
    found: Tensor = model(
        input_ids=tokens, attention_mask=every, use_cache=False, logits_to_keep=length
    ).logits
    return found


def _llada_logits(model: Any, tokens: Tensor, length: int) -> Tensor:
    found: Tensor = model(input_ids=tokens).logits[:, -length:]
    return found


def _mask_token(config: Config, settings: Any, tokenizer: Any) -> int:
    """The mask's id: the model's config says it, or its tokenizer, or it is LLaDA's. Raises UserError."""
    fallback = LLADA_MASK if config.policy == "llada" else None
    told = (getattr(settings, "mask_token_id", None), getattr(tokenizer, "mask_token_id", None), fallback)
    found = next((each for each in told if each is not None), None)
    if found is None or not 0 <= found < settings.vocab_size:
        raise UserError(
            "policy_model",
            f"{config.large_model} tells no mask token; write mask_token_id into its config.json, or name a masked-diffusion model.",
        )
    return int(found)
