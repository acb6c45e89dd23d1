"""A small vision-language model of the published architecture: CLIP's vision tower, a projector and a Llama, from random weights.

Images go through the frozen tower once; what it gives (n × image tokens × width) is all that training and writing need.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from analyses.streams import stream_seed

PAD, END, UNKNOWN, IMAGE, USER, ASSISTANT = "<pad>", "</s>", "<unk>", "<image>", "USER:", "ASSISTANT:"
SPECIAL = (PAD, END, UNKNOWN, IMAGE, USER, ASSISTANT)
PAD_ID, END_ID, UNKNOWN_ID, IMAGE_ID = range(4)
MEAN, STD = 0.5, 0.25
CHUNK = 250
TOWER = "model.vision_tower."


@dataclass(frozen=True)
class Size:
    """Widths and depths: images of `side` pixels in patches of `patch`, a tower and a language model of `width`."""

    side: int = 48
    patch: int = 12
    width: int = 64
    vision_layers: int = 3
    layers: int = 3
    heads: int = 4

    @property
    def image_tokens(self) -> int:
        return (self.side // self.patch) ** 2


@dataclass(frozen=True)
class Written:
    """A text that was written, and the mean log-probability of its tokens, the end among them."""

    text: str
    logp: float


class Words:
    """A tokenizer of whole words between spaces."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = [*SPECIAL, *sorted(set(words) - set(SPECIAL))]
        self.ids = {word: number for number, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: str) -> list[int]:
        return [self.ids.get(word, UNKNOWN_ID) for word in text.split()]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(self.words[number] for number in ids)


def make_model(size: Size, n_words: int, seed: int) -> Any:
    """A LlavaForConditionalGeneration with weights drawn for `seed`; the draws leave torch's own stream untouched."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    shape: dict[str, Any] = {
        "hidden_size": size.width,
        "intermediate_size": 4 * size.width,
        "num_attention_heads": size.heads,
    }
    vision = CLIPVisionConfig(
        **shape,
        num_hidden_layers=size.vision_layers,
        image_size=size.side,
        patch_size=size.patch,
        projection_dim=size.width,
    )
    shape["intermediate_size"] = 2 * size.width
    text = LlamaConfig(
        **shape,
        num_hidden_layers=size.layers,
        num_key_value_heads=size.heads,
        vocab_size=n_words,
        max_position_embeddings=512,
        pad_token_id=PAD_ID,
        bos_token_id=None,
        eos_token_id=END_ID,
        tie_word_embeddings=False,
        initializer_range=0.05,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE_ID,
        image_seq_length=size.image_tokens,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed("srf initialisation", seed))
        return LlavaForConditionalGeneration(config)


class SmallPolicy:
    """The model with its tokenizer: what it sees, its loss on texts, and what it writes."""

    def __init__(self, size: Size, words: Words, seed: int, device: str = "cpu") -> None:
        self.size, self.words, self.device = size, words, device
        self.model = make_model(size, len(words), seed).to(device).eval()

    # Images

    def see(self, images: NDArray[np.uint8]) -> Tensor:
        """Tokens of the vision tower (n × image tokens × width) of pictures (n × side × side × 3), without gradient."""
        with torch.no_grad():
            return torch.cat(
                [
                    self.tower(pixels(images[start : start + CHUNK], self.device))
                    for start in range(0, len(images), CHUNK)
                ]
            )

    def tower(self, values: Tensor) -> Tensor:
        """The same of pixel values (n × 3 × side × side), with gradient."""
        tokens: Tensor = self.model.model.vision_tower(pixel_values=values).last_hidden_state
        return tokens[:, 1:]

    # Training

    def encode(self, prompt: str, target: str) -> tuple[list[int], int]:
        """Token ids of a row, `USER: <image> prompt ASSISTANT: target </s>`, and where its target begins."""
        ids = self.words.encode(f"{USER} {IMAGE} {prompt} {ASSISTANT}")
        ids[1:2] = [IMAGE_ID] * self.size.image_tokens
        return [*ids, *self.words.encode(target), END_ID], len(ids)

    def loss(self, tokens: Tensor, rows: Sequence[tuple[list[int], int]]) -> Tensor:
        """Cross-entropy of the target tokens of encoded rows, given the tower's tokens of their images."""
        marked = [(ids, [place >= start for place in range(len(ids))]) for ids, start in rows]
        return self.masked_loss(tokens, marked)

    def masked_loss(self, tokens: Tensor, rows: Sequence[tuple[list[int], list[bool]]]) -> Tensor:
        """Cross-entropy of the marked tokens of rows that begin with a word and the image."""
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([row + [PAD_ID] * (longest - len(row)) for row, _ in rows], device=self.device)
        wanted = torch.tensor(
            [mark + [False] * (longest - len(mark)) for _, mark in rows], device=self.device
        )
        states = self._states(self._embed(ids, tokens), None)
        logits = self.model.lm_head(states[:, :-1][wanted[:, 1:]])
        return nn.functional.cross_entropy(logits, ids[:, 1:][wanted[:, 1:]])

    def _embed(self, ids: Tensor, tokens: Tensor) -> Tensor:
        """Word embeddings with the projected image tokens in their places, which are the same in every row."""
        embedded = self.model.get_input_embeddings()(ids)
        image = self.model.model.multi_modal_projector(tokens)
        return torch.cat([embedded[:, :1], image, embedded[:, 1 + image.shape[1] :]], dim=1)

    def _states(self, embedded: Tensor, cache: Any) -> Tensor:
        found: Tensor = self.model.model.language_model(
            inputs_embeds=embedded, past_key_values=cache, use_cache=cache is not None
        ).last_hidden_state
        return found

    def states(self, ids: Tensor, tokens: Tensor) -> list[Tensor]:
        """What leaves each layer of the language model (n × words and image tokens × width), before the last normalisation."""
        found: list[Tensor] = []
        hooks = [
            layer.register_forward_hook(
                lambda _, __, output: found.append(output[0] if isinstance(output, tuple) else output)
            )
            for layer in self.model.model.language_model.layers
        ]
        try:
            self._states(self._embed(ids, tokens), None)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    # Writing

    @torch.no_grad()
    def write(
        self,
        tokens: Tensor,
        prompts: Sequence[str],
        most: int,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> list[Written]:
        """What the model writes for each image (n × image tokens × width) and prompt: greedy, or sampled with a generator.

        Rows with prompts of one length run together, so nothing is padded before its text.
        """
        encoded = [self.encode(prompt, "")[0][:-1] for prompt in prompts]
        by_length: dict[int, list[int]] = defaultdict(list)
        for place, ids in enumerate(encoded):
            by_length[len(ids)].append(place)
        found: dict[int, Written] = {}
        for length in sorted(by_length):
            places = by_length[length]
            for start in range(0, len(places), CHUNK):
                part = places[start : start + CHUNK]
                asked = torch.tensor([encoded[place] for place in part], device=self.device)
                written = self._write(asked, tokens[part], most, generator, temperature)
                found.update(zip(part, written, strict=True))
        return [found[place] for place in range(len(prompts))]

    def _write(
        self, ids: Tensor, tokens: Tensor, most: int, generator: torch.Generator | None, temperature: float
    ) -> list[Written]:
        from transformers import DynamicCache

        n, cache = len(ids), DynamicCache()
        states = self._states(self._embed(ids, tokens), cache)
        texts = torch.full((n, most), END_ID)
        total = torch.zeros(n)
        active = torch.arange(n)
        for step in range(most):
            logp = torch.log_softmax(self.model.lm_head(states[:, -1]).float().cpu() / temperature, dim=-1)
            if generator is None:
                chosen = logp.argmax(dim=-1)
            else:
                chosen = torch.multinomial(logp.exp(), 1, generator=generator).squeeze(1)
            texts[active, step] = chosen
            total[active] += logp.gather(1, chosen[:, None]).squeeze(1)
            going = torch.nonzero(chosen != END_ID).squeeze(1)
            if len(going) == 0 or step == most - 1:
                break
            if len(going) < len(active):
                active, chosen = active[going], chosen[going]
                cache.batch_select_indices(going.to(self.device))
            states = self._states(self.model.get_input_embeddings()(chosen[:, None].to(self.device)), cache)
        lengths = (texts != END_ID).sum(dim=1)
        means = total / (lengths + 1).clamp(max=most)
        return [
            Written(self.words.decode(row[:length]), mean)
            for row, length, mean in zip(texts.tolist(), lengths.tolist(), means.tolist(), strict=True)
        ]


def pixels(images: NDArray[np.uint8], device: str = "cpu") -> Tensor:
    """Pixel values (n × 3 × side × side) as the tower takes them."""
    values = torch.from_numpy(images).to(device, torch.float32).permute(0, 3, 1, 2) / 255
    return (values - MEAN) / STD
