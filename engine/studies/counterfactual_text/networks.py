"""Encoders and decoders of vectors and of texts.

An encoder gives the mean and log variance of content (n × d_c) and style (n × d_s); a decoder's `trace` gives the outputs
whose Jacobian is made sparse (n × T × O): what is seen for vectors, the hidden states for texts, as in the authors' code.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from engine.studies.counterfactual_text.config import Config

PAD, UNKNOWN, START, END = range(4)
SPECIAL = 4
TOKENS_AT_ONCE = 128  # logits of more tokens do not stay in a core's cache
Posterior = tuple[Tensor, Tensor, Tensor, Tensor]


class Decoder(Protocol):
    """What a model asks of a decoder; `seen` is what was encoded."""

    def loss(self, z: Tensor, seen: Tensor, hidden: Tensor | None) -> Tensor: ...
    def trace(self, z: Tensor, seen: Tensor) -> Tensor: ...


class VectorEncoder(nn.Module):
    """Two hidden layers with GELU."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.sizes = [config.d_content, config.d_content, config.d_style, config.d_style]
        self.layers = _layers(config.n_outputs, config.hidden, sum(self.sizes))

    def forward(self, seen: Tensor) -> Posterior:
        a, b, c, d = self.layers(seen).split(self.sizes, dim=1)
        return a, b, c, d


class VectorDecoder(nn.Module):
    """Two hidden layers with GELU; `loss` is the squared error summed over outputs."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.layers = _layers(config.d_content + config.d_style, config.hidden, config.n_outputs)

    def forward(self, z: Tensor) -> Tensor:
        return torch.as_tensor(self.layers(z))

    def loss(self, z: Tensor, seen: Tensor, hidden: Tensor | None) -> Tensor:
        return ((self(z) - seen) ** 2).sum(dim=1)

    def trace(self, z: Tensor, seen: Tensor) -> Tensor:
        return self(z)[:, None]


def _layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, outputs)
    )


class TextEncoder(nn.Module):
    """Content from a bidirectional GRU, largest over time; style, linear, from the mean of the word vectors."""

    def __init__(self, config: Config, n_tokens: int) -> None:
        super().__init__()
        width = 2 * config.embedding
        self.words = nn.Embedding(n_tokens, width, padding_idx=PAD)
        self.reader = nn.GRU(width, config.hidden, batch_first=True, bidirectional=True)
        self.content = nn.Linear(config.hidden, 2 * config.d_content)
        self.style = nn.Linear(width, 2 * config.d_style)

    def forward(self, seen: Tensor) -> Posterior:
        real = (seen != PAD)[..., None]
        vectors = self.words(seen)
        states = self.reader(vectors)[0]
        both = states.unflatten(-1, (2, -1)).mean(dim=2).masked_fill(~real, -1e4).amax(dim=1)
        mean = vectors.sum(dim=1) / real.sum(dim=1).clamp(min=1)
        c_mean, c_log = self.content(both).chunk(2, dim=1)
        s_mean, s_log = self.style(mean).chunk(2, dim=1)
        return c_mean, c_log, s_mean, s_log


class TextDecoder(nn.Module):
    """A GRU that reads the latents with every word; `loss` is the cross-entropy summed over tokens."""

    def __init__(self, config: Config, n_tokens: int) -> None:
        super().__init__()
        width, latents = 2 * config.embedding, config.d_content + config.d_style
        self.longest = config.words + 1
        self.words = nn.Embedding(n_tokens, width, padding_idx=PAD)
        self.start = nn.Linear(latents, config.hidden)
        self.writer = nn.GRU(width + latents, config.hidden, batch_first=True)
        self.next = nn.Linear(config.hidden, n_tokens)

    def _states(self, z: Tensor, given: Tensor) -> Tensor:
        inputs = torch.cat([self.words(given), z[:, None].expand(-1, given.shape[1], -1)], dim=2)
        return torch.as_tensor(self.writer(inputs, torch.tanh(self.start(z))[None])[0])

    def loss(self, z: Tensor, seen: Tensor, hidden: Tensor | None) -> Tensor:
        """Of texts (n × T, ending in END); `hidden` (n × T) hides input words from the decoder."""
        given = _shifted(seen)
        if hidden is not None:
            given = torch.where(hidden & (given > UNKNOWN) & (given != START), UNKNOWN, given)
        states, truth = self._states(z, given).flatten(0, 1), seen.flatten()
        lost = [
            nn.functional.cross_entropy(self.next(some), words, ignore_index=PAD, reduction="none")
            for some, words in zip(states.split(TOKENS_AT_ONCE), truth.split(TOKENS_AT_ONCE), strict=True)
        ]
        return torch.cat(lost).view(seen.shape).sum(dim=1)

    def trace(self, z: Tensor, seen: Tensor) -> Tensor:
        return self._states(z, _shifted(seen)) * (seen != PAD)[..., None]

    @torch.no_grad()
    def write(self, z: Tensor) -> Tensor:
        """The most likely next token again and again (n × T): never unknown, PAD after END."""
        state = torch.tanh(self.start(z))[None]
        token = torch.full((len(z), 1), START)
        done = torch.zeros(len(z), dtype=torch.bool)
        written = []
        for _ in range(self.longest):
            inputs = torch.cat([self.words(token), z[:, None]], dim=2)
            out, state = self.writer(inputs, state)
            logits = self.next(out[:, 0])
            logits[:, [PAD, UNKNOWN, START]] = -torch.inf
            token = logits.argmax(dim=1, keepdim=True)
            written.append(torch.where(done[:, None], PAD, token))
            done |= token[:, 0] == END
        return torch.cat(written, dim=1)


def _shifted(seen: Tensor) -> Tensor:
    """What the decoder has read when it writes each token (n × T)."""
    return torch.cat([torch.full_like(seen[:, :1], START), seen[:, :-1]], dim=1)
