"""Tiny random language models on disk, of both kinds a large policy can be: Qwen3, and one that brings its own code."""

import json
from pathlib import Path
from typing import Any

from data.files import write_json

MASK, END = "<|mask|>", "<|end|>"
CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ANSWERS = [f"<answer>{'0' * zeros}{digit}</answer>" for zeros in range(30) for digit in range(10)]
LARGE: dict[str, Any] = {
    "task": "chain", "chain_length": 2, "arms": "diffu_grpo,sapo", "completion_length": 8, "block_length": 4, "denoising_steps": 4,
    "lora_rank": 2, "pass_rows": 6, "iterations": 2, "prompts": 4, "group_size": 4, "inner_iterations": 2,
    "learning_rate": 0.01, "eval_prompts": 4, "eval_every": 2, "value_prompts": 2, "value_rollouts": 1, "kept": 1,
    "checkpoint_every": 1, "process_rollouts": 1,
}  # fmt: skip

OWN_CODE = """
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class TinyDenoiserConfig(PretrainedConfig):
    model_type = "tiny-denoiser"

    def __init__(self, vocab_size=300, d_model=16, n_layers=2, **rest):
        super().__init__(**rest)
        self.vocab_size, self.d_model, self.n_layers = vocab_size, d_model, n_layers


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.attn_out, self.up_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        law = (self.q_proj(x) @ self.k_proj(x).transpose(1, 2) / x.shape[-1] ** 0.5).softmax(-1)
        x = x + self.attn_out(law @ self.v_proj(x))
        return x + torch.tanh(self.up_proj(x))


class TinyDenoiser(PreTrainedModel):
    config_class = TinyDenoiserConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config.d_model) for _ in range(config.n_layers))
        self.head = nn.Linear(config.d_model, config.vocab_size)

    def forward(self, input_ids):
        x = self.embed(input_ids)
        for block in self.blocks:
            x = block(x)
        return CausalLMOutputWithPast(logits=self.head(x))
"""


def tokenizer_in(folder: Path) -> int:
    """Save a byte-level tokenizer with a chat template; how many tokens it has.

    Half of its tokens are whole answers, so that a random model is right now and then and reinforcement has a gradient.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=letters, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    found = PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token=END,
        mask_token=MASK,
        additional_special_tokens=["<|user|>", "<|assistant|>"],
    )
    found.add_tokens(ANSWERS)
    found.chat_template = CHAT
    found.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    for name in ("backend", "extra_special_tokens"):  # as transformers 4 would write it
        settings.pop(name, None)
    write_json(folder / "tokenizer_config.json", {**settings, "tokenizer_class": "PreTrainedTokenizerFast"})
    return len(found)


def tiny_qwen(folder: Path, **settings: Any) -> Path:
    """A random Qwen3 of two layers, its config renamed as the published diffusion model's is."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder.mkdir()
    sizes = {
        "vocab_size": tokenizer_in(folder), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "tie_word_embeddings": True,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Qwen3ForCausalLM(Qwen3Config(**{**sizes, **settings})).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    renamed = {"model_type": "a2d-qwen3", "auto_map": {"AutoModelForMaskedLM": "gone.A2DQwen3LMHeadModel"}}
    write_json(folder / "config.json", {**config, **renamed})
    return folder


def tiny_llada(folder: Path) -> Path:
    """A random denoiser with code of its own, as LLaDA's repository has: `model(input_ids).logits`, its mask in its config."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    size = tokenizer_in(folder)
    (folder / "modeling_tiny.py").write_text(OWN_CODE)
    drawn, width = torch.Generator().manual_seed(0), 16
    square = ("q_proj.weight", "k_proj.weight", "v_proj.weight", "attn_out.weight", "up_proj.weight")
    shapes = {"embed.weight": (size, width), "head.weight": (size, width), "head.bias": (size,)}
    for block in range(2):
        shapes |= {f"blocks.{block}.{name}": (width, width) for name in square}
        shapes |= {f"blocks.{block}.{name}": (width,) for name in ("attn_out.bias", "up_proj.bias")}
    tensors = {name: 0.3 * torch.randn(shape, generator=drawn) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tokens = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    write_json(
        folder / "config.json",
        {
            "model_type": "tiny-denoiser", "architectures": ["TinyDenoiser"], "vocab_size": size, "d_model": width,
            "n_layers": 2, "mask_token_id": next(each["id"] for each in tokens if each["content"] == MASK),
            "auto_map": {"AutoConfig": "modeling_tiny.TinyDenoiserConfig", "AutoModel": "modeling_tiny.TinyDenoiser"},
        },
    )  # fmt: skip
    return folder
