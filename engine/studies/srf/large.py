"""A published vision-language model by name: frozen, with a LoRA adapter per seed on its language model.

Any model of transformers' image-text-to-text family with a chat template will do: LLaVA-1.5, Qwen-VL, SmolVLM. The way is tested
with a tiny model of that architecture on a processor; the published sizes need a GPU and were not run by us.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from analyses.streams import stream_seed
from data.pictures import Ints
from engine.errors import UserError
from engine.studies.adapters import adapter_parameters
from engine.studies.srf.config import Config
from engine.studies.srf.policy import Written
from engine.studies.srf.source import Material

TARGETS = (
    r".*(language_model|text_model)\.layers\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
)
SYSTEM = (
    "You are a visual-language assistant. You are given one of three tasks: write an instruction and its answer for an image, write "
    "the instruction that an answer belongs to, or answer an instruction. Complete it."
)
MOST, ROWS, IGNORED = 256, 8, -100


class LargeModels:
    """One model with an adapter for every seed."""

    def __init__(self, config: Config, material: Material, device: str) -> None:
        self.config, self.material, self.device = config, material, device
        self.base, self.processor = _open(config.model_id, device)
        self.peft: Any = None

    def model(self, seed: int) -> "LargeModel":
        """The model a seed trains: the published weights, and an adapter that begins as nothing. Raises UserError."""
        import peft

        rank = self.config.lora_rank
        settings = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS)
        name = f"seed_{seed}"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed("srf adapter", seed))
            try:
                if self.peft is None:
                    self.peft = peft.get_peft_model(self.base, settings, adapter_name=name)
                else:
                    self.peft.add_adapter(name, settings)
            except ValueError:
                raise UserError(
                    "model_id",
                    "its language model has no attention maps that LoRA knows; name another model.",
                ) from None
        return LargeModel(self.peft.eval(), self.processor, self.material, name, self.device)


def _open(name: str, device: str) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        model: Any = AutoModelForImageTextToText.from_pretrained(name, dtype=dtype, use_safetensors=True)
        processor: Any = AutoProcessor.from_pretrained(name)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(
            "model_id", f"{name} could not be loaded as a vision-language model ({reason})."
        ) from error
    if not getattr(processor, "chat_template", None):
        raise UserError(
            "model_id", f"the processor of {name} has no chat template; name a model tuned for conversations."
        )
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return model.to(device).requires_grad_(False), processor


class LargeModel:
    """What a seed trains and lets write; the methods are those of `small.SmallModel`."""

    most = MOST

    def __init__(self, model: Any, processor: Any, material: Material, adapter: str, device: str) -> None:
        self.model, self.processor, self.material = model, processor, material
        self.adapter, self.device = adapter, device

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        return adapter_parameters(self.model, self.adapter)

    def parameters(self) -> Iterator[nn.Parameter]:
        self.model.set_adapter(self.adapter)
        return (parameter for _, parameter in self._named())

    def weights(self) -> dict[str, Tensor]:
        return {
            name: parameter.detach().to("cpu", copy=True).contiguous() for name, parameter in self._named()
        }

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self._named():
            parameter.copy_(weights[name])

    def encode(self, prompt: str, target: str) -> tuple[str, str]:
        """The conversation up to the answer, and the answer with the sign of its end."""
        return self._conversation(prompt), f"{target}{self.processor.tokenizer.eos_token}"

    def _conversation(self, prompt: str) -> str:
        asked = [{"type": "image"}, {"type": "text", "text": f"{SYSTEM}\n{prompt}"}]
        text: str = self.processor.apply_chat_template(
            [{"role": "user", "content": asked}], add_generation_prompt=True
        )
        return text

    def loss_on(self, images: Ints, encoded: Sequence[tuple[str, str]]) -> Tensor:
        """Cross-entropy of the answers' tokens. Eight rows are held at a time: each part is computed again on the way back."""
        self.model.set_adapter(self.adapter)
        total, count = torch.zeros((), device=self.device), 0
        for start in range(0, len(encoded), ROWS):
            inputs, labels = self._labelled(images[start : start + ROWS], encoded[start : start + ROWS])
            total = total + checkpoint(self._summed, inputs, labels, use_reentrant=False)
            count += int((labels[:, 1:] != IGNORED).sum())
        return total / max(1, count)

    def _labelled(self, images: Ints, part: Sequence[tuple[str, str]]) -> tuple[dict[str, Tensor], Tensor]:
        """The model's inputs, and its labels with all but the answers ignored."""
        inputs = self._inputs(images, [prompt + target for prompt, target in part], "right")
        labels = torch.full_like(inputs["input_ids"], IGNORED)
        for row, (_, target) in enumerate(part):
            end = int(inputs["attention_mask"][row].sum())
            n = len(self.processor.tokenizer(target, add_special_tokens=False)["input_ids"])
            labels[row, end - n : end] = inputs["input_ids"][row, end - n : end]
        return inputs, labels

    def _summed(self, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        logits = self.model(**inputs).logits[:, :-1].float()
        return nn.functional.cross_entropy(
            logits.transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="sum"
        )

    @torch.no_grad()
    def write_on(
        self,
        rows: Ints,
        prompts: Sequence[str],
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> list[Written]:
        self.model.set_adapter(self.adapter)
        found: list[Written] = []
        for start in range(0, len(prompts), ROWS):
            asked = [self._conversation(prompt) for prompt in prompts[start : start + ROWS]]
            inputs = self._inputs(rows[start : start + ROWS], asked, "left")
            sampling: dict[str, Any] = {"do_sample": False}
            with torch.random.fork_rng():
                if generator is not None:
                    torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
                    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
                written = self.model.generate(
                    **inputs,
                    **sampling,
                    max_new_tokens=self.most,
                    output_logits=True,
                    return_dict_in_generate=True,
                )
            found += self._read(inputs["input_ids"].shape[1], written)
        return found

    def _read(self, length: int, written: Any) -> list[Written]:
        """Texts after the prompt, with the mean log-probability of their tokens up to the sign of the end."""
        ids = written.sequences[:, length:]
        logp = (
            torch.log_softmax(torch.stack(written.logits, dim=1).float(), dim=-1)
            .gather(2, ids[..., None])
            .squeeze(2)
        )
        ended = (ids == self.processor.tokenizer.eos_token_id).cumsum(dim=1)
        counted = (ended == 0) | ((ended == 1) & (ids == self.processor.tokenizer.eos_token_id))
        means = (logp * counted).sum(dim=1) / counted.sum(dim=1)
        texts = self.processor.batch_decode(ids, skip_special_tokens=True)
        return [Written(" ".join(text.split()), float(mean)) for text, mean in zip(texts, means, strict=True)]

    def _inputs(self, rows: Ints, texts: Sequence[str], side: str) -> Any:
        from PIL import Image

        self.processor.tokenizer.padding_side = side
        images = [[Image.fromarray(self.material.images[row])] for row in rows]
        return self.processor(images=images, text=list(texts), padding=True, return_tensors="pt").to(
            self.device
        )
