"""The sparse autoencoder every architecture shares: parameters, one training step, controls and penalties."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Self

import torch
from torch import Tensor

from analyses.streams import stream_seed
from engine.studies.sae_consistency.config import Config
from engine.studies.sae_consistency.saes.code import Code, product

SOFT_FROZEN_COSINE = 0.8
CHUNK = 512


@dataclass(frozen=True)
class Step:
    """What one batch gave, one number per seed: loss, summed squared error, mean L0; and which latents fired (…, d_sae)."""

    loss: Tensor
    squared_error: Tensor
    l0: Tensor
    fired: Tensor


@dataclass(frozen=True)
class Pass:
    """A forward pass: vectors, their code and its values, and the reconstruction's error and products.

    `x` (B × d_in), `centred` and `error` (…, B, d_in), `pre` (…, B, d_sae); `z` and `dz`, the loss's gradient, are
    values of `code`; `loss` and `squared` one number per seed.
    """

    x: Tensor
    centred: Tensor
    pre: Tensor
    code: Code
    z: Tensor
    error: Tensor
    loss: Tensor
    squared: Tensor
    dz: Tensor
    d_decoder: Tensor
    d_bias: Tensor


class Sae(ABC):
    """x̂ = z · decoder + b_dec with z = activation((x − b_dec) · encoderᵀ + b_enc).

    `encoder`, `decoder` (d_sae × d_in), `b_enc` (d_sae), `b_dec` (d_in); with several seeds, a leading dimension of
    seeds on each, and their products are batched. All are contiguous float32: Adam is only right when a gradient's
    strides equal its parameter's. Gradients are written by hand, since the sparse ones cost a fraction of
    autograd's. The loss is the squared error summed over dimensions, mean over the batch, and the architecture's
    penalty.
    """

    own: ClassVar[tuple[str, ...]] = ()
    buffers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Config, d_in: int, seeds: Sequence[int], b_dec: Tensor) -> None:
        self.config, self.seeds = config, tuple(seeds)
        rows = [_unit_directions(config.d_sae, d_in, seed) for seed in seeds]
        self.stacked = len(rows) > 1
        device = b_dec.device
        self.decoder = (torch.stack(rows) if self.stacked else rows[0]).to(device).contiguous()
        self.encoder = self.decoder.clone()
        self.b_enc = torch.zeros(self.decoder.shape[:-1], device=device)
        self.b_dec = b_dec.repeat(len(rows), 1) if self.stacked else b_dec.clone()
        self.start = self.decoder.clone() if config.control == "soft_frozen" else None

    @property
    def parameters(self) -> dict[str, Tensor]:
        names = ("encoder", "decoder", "b_enc", "b_dec", *self.own)
        return {name: getattr(self, name) for name in names}

    @property
    def trained(self) -> dict[str, Tensor]:
        """The parameters an optimiser moves."""
        frozen = ("decoder",) if self.config.control == "frozen_decoder" else ()
        return {name: value for name, value in self.parameters.items() if name not in frozen}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Everything that makes this SAE compute what it computes."""
        return {**self.parameters, **{name: getattr(self, name) for name in self.buffers}}

    def one(self, index: int) -> Self:
        """The SAE of one of the stacked seeds, sharing memory."""
        if not self.stacked:
            return self
        single = copy.copy(self)
        single.seeds, single.stacked = self.seeds[index : index + 1], False
        for name, value in self.tensors.items():
            setattr(single, name, value[index])
        return single

    def to(self, device: str) -> Self:
        """This SAE on another device."""
        moved = copy.copy(self)
        for name, value in self.tensors.items():
            setattr(moved, name, value.to(device))
        return moved

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Copy values into the tensors of an SAE of one seed."""
        for name, value in self.tensors.items():
            value.copy_(tensors[name])
        if self.start is not None:
            self.start.copy_(self.decoder)

    def calibrate(self, sample: Tensor) -> None:  # noqa: B027
        """Set what starts from data, given vectors (n × d_in)."""

    def summed(self, part: Tensor) -> Tensor:
        """The sum over the parts of a dictionary that is cut over processes; of a whole one what it gives itself."""
        return part

    @abstractmethod
    def support(self, pre: Tensor) -> Code:
        """The places that may be active in training, of pre-activations (…, B, d_sae)."""

    def activate(self, code: Code, pre: Tensor) -> Tensor:
        """Latent values at the places of a code."""
        return code.take(pre).relu_()

    def encode(self, x: Tensor) -> Tensor:
        """Latent activations z (B × d_sae) as used after training, dense, of vectors x (B × d_in)."""
        pre = self.pre_activations(x - self.b_dec)
        code = self.support(pre)
        return code.dense(self.activate(code, pre))

    def decode(self, z: Tensor) -> Tensor:
        """Reconstructions (B × d_in) of latents z (B × d_sae)."""
        return torch.addmm(self.b_dec, z, self.decoder)

    def pre_activations(self, centred: Tensor) -> Tensor:
        """(…, B, d_sae); of one SAE in a buffer that the next call overwrites."""
        if self.stacked:
            return product(centred, self.encoder.mT, self.b_enc)
        out = _scratch(len(centred), self.config.d_sae, centred.device)
        return torch.addmm(self.b_enc, centred, self.encoder.T, out=out)

    def step(self, x: Tensor, dead: Tensor, number: int = 0) -> Step:
        """Loss of a batch x (B × d_in); sets every trained parameter's `.grad`.

        `dead` (…, d_sae) marks dead latents; `number` is the step's, for penalties that draw.
        """
        centred = x - self.b_dec.unsqueeze(-2)
        pre = self.pre_activations(centred)
        code = self.support(pre)
        z = self.activate(code, pre)
        p = self.reconstruct(x, centred, pre, code, z)
        for parameter in self.parameters.values():
            parameter.grad = None
        self.decoder.grad = p.d_decoder
        loss = p.loss + self.backward(p)
        loss = loss + self.revive(p, dead)
        self._regularise(number)
        active = (z > 0).to(z.dtype)
        fired = code.over_vectors(active)
        return Step(loss, p.squared, self.summed(fired.sum(dim=-1)) / len(x), fired > 0)

    def reconstruct(self, x: Tensor, centred: Tensor, pre: Tensor, code: Code, z: Tensor) -> Pass:
        """The squared error and its gradients with respect to z, decoder and b_dec."""
        error = self.summed(code.decode(z, self.decoder)).add_(self.b_dec.unsqueeze(-2)).sub_(x)
        squared = error.square().sum(dim=(-2, -1))
        gradient = error * (2 / len(x))
        dz = code.dots(gradient, self.decoder)
        d_decoder = code.transposed(z, gradient)
        loss = squared / len(x)
        return Pass(x, centred, pre, code, z, error, loss, squared, dz, d_decoder, gradient.sum(dim=-2))

    def backward(self, p: Pass) -> Tensor:
        """Set the gradients of everything but the decoder; the penalty's value."""
        self.set_encoder_gradients(p, p.dz * (p.z > 0))
        return torch.zeros_like(p.loss)

    def revive(self, p: Pass, dead: Tensor) -> Tensor:
        """Add what helps dead latents; its loss."""
        return torch.zeros_like(p.loss)

    def set_encoder_gradients(self, p: Pass, d_pre: Tensor, d_gate: Tensor | None = None) -> None:
        """From gradients of the pre-activations at the code's places; `d_gate`: those b_enc gets, where fewer."""
        sums = p.code.over_vectors(d_pre)
        self.encoder.grad = p.code.transposed(d_pre, p.centred)
        self.b_enc.grad = sums if d_gate is None else p.code.over_vectors(d_gate)
        self.b_dec.grad = p.d_bias - self.summed(product(sums.unsqueeze(-2), self.encoder).squeeze(-2))

    def _regularise(self, number: int) -> None:
        """Weight decay, decoder orthogonality, and no decoder gradient along a row of fixed norm."""
        encoder, decoder = self.encoder.grad, self.decoder.grad
        assert encoder is not None and decoder is not None
        if self.config.weight_decay > 0:
            encoder.add_(self.encoder, alpha=self.config.weight_decay)
            decoder.add_(self.decoder, alpha=self.config.weight_decay)
        if self.config.orthogonality > 0:
            for index in range(len(self.seeds)):
                mine = (index,) if self.stacked else ...
                penalty = orthogonality_gradient(self.decoder[mine], self.seeds[index], number)
                decoder[mine].add_(penalty, alpha=self.config.orthogonality)
        if self.config.decoder_norm == "unit":
            decoder.sub_((decoder * self.decoder).sum(dim=-1, keepdim=True) * self.decoder)

    def constrain(self) -> None:
        """After an optimiser step: norms, the soft-frozen cone, the encoder's alignment."""
        if self.config.decoder_norm == "unit":
            self.decoder /= self.decoder.norm(dim=-1, keepdim=True)
        if self.start is not None:
            self.decoder.copy_(_within_cone(self.decoder, self.start))
        if self.config.align_encoder:
            squares = self.decoder.square().sum(dim=-1, keepdim=True)
            missing = 1 - (self.encoder * self.decoder).sum(dim=-1, keepdim=True)
            self.encoder.addcdiv_(missing * self.decoder, squares)


def _unit_directions(d_sae: int, d_in: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(stream_seed("init", seed))
    directions = torch.randn(d_sae, d_in, generator=generator)
    return directions / directions.norm(dim=1, keepdim=True)


@lru_cache(maxsize=2)
def _scratch(batch: int, d_sae: int, device: torch.device) -> Tensor:
    """Fresh memory of this size costs as much as a sixth of the product written into it."""
    return torch.empty(batch, d_sae, device=device)


def _within_cone(rows: Tensor, start: Tensor) -> Tensor:
    """Rows turned back to cosine 0.8 with their start where they left it further, of unchanged norm."""
    norms = rows.norm(dim=-1, keepdim=True)
    axis = start / start.norm(dim=-1, keepdim=True)
    along = (rows * axis).sum(dim=-1, keepdim=True)
    across = rows - along * axis
    across = across / across.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    edge = SOFT_FROZEN_COSINE * axis + (1 - SOFT_FROZEN_COSINE**2) ** 0.5 * across
    return torch.where(along < SOFT_FROZEN_COSINE * norms, norms * edge, rows)


def orthogonality_gradient(decoder: Tensor, seed: int, number: int) -> Tensor:
    """Gradient (d_sae × d_in) of mean_i max_j≠i cos²(d_i, d_j), j over a random chunk of 512 (after OrtSAE, 2509.22033)."""
    generator = torch.Generator().manual_seed(stream_seed("chunks", seed, number))
    order = torch.randperm(len(decoder), generator=generator).to(decoder.device)
    gradient = torch.zeros_like(decoder)
    norms = decoder.norm(dim=1, keepdim=True)
    unit = decoder / norms
    for ids in order.split(CHUNK):
        if len(ids) < 2:
            continue
        rows = unit[ids]
        cosine = (rows @ rows.T).fill_diagonal_(0)
        partner = cosine.abs().argmax(dim=1)
        signed = cosine.gather(1, partner[:, None])
        weight = signed * (2 / len(decoder))
        other = rows[partner]
        first = weight * (other - signed * rows) / norms[ids]
        second = weight * (rows - signed * other) / norms[ids[partner]]
        gradient.index_add_(0, ids, first).index_add_(0, ids[partner], second)
    return gradient


def geometric_median(x: Tensor, tolerance: float = 1e-6, max_iterations: int = 200) -> Tensor:
    """The point (d) with the least summed distance to the rows of x (n × d), by Weiszfeld's iteration."""
    point = x.mean(dim=0)
    for _ in range(max_iterations):
        weights = 1 / (x - point).norm(dim=1).clamp_min(1e-12)
        moved = (weights[:, None] * x).sum(dim=0) / weights.sum()
        if (moved - point).norm() <= tolerance * point.norm():
            return moved
        point = moved
    return point
