"""One arm's model: latents, their priors, the content mask, and its loss (arXiv 2402.15309, section 3)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analyses.streams import stream_seed
from engine.studies.counterfactual_text.config import INDEPENDENT, MATTE, Config
from engine.studies.counterfactual_text.networks import (
    TextDecoder,
    TextEncoder,
    VectorDecoder,
    VectorEncoder,
)
from engine.studies.counterfactual_text.prior import Prior

STEP = 1e-2  # of the finite difference, in standard deviations of a latent
MASKED_BELOW = 0.1
CANDIDATES = 0.3  # share of the outputs among which style-owned ones are sought
LOG_2PI = 1.8378770664093453


@dataclass(frozen=True)
class Latents:
    """Content c (n × d_c), style s (n × d_s) and exogenous style noise s̃ (n × d_s) of n rows."""

    content: Tensor
    style: Tensor
    noise: Tensor


class Model(nn.Module):
    """Encoder, decoder, priors and content mask of an arm; `n_tokens` of a vocabulary, 0 for vectors."""

    encoder: VectorEncoder | TextEncoder
    decoder: VectorDecoder | TextDecoder

    def __init__(self, config: Config, arm: str, n_domains: int, n_tokens: int, seed: int) -> None:
        super().__init__()
        self.config, self.arm = config, arm
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed("counterfactual text start", seed))
            if n_tokens:
                self.encoder, self.decoder = TextEncoder(config, n_tokens), TextDecoder(config, n_tokens)
            else:
                self.encoder, self.decoder = VectorEncoder(config), VectorDecoder(config)
            self.prior = Prior(config, arm, n_domains)
        if self.prior.has_flow:
            self.mask = nn.Parameter(torch.ones(config.d_content))

    @property
    def is_sparse(self) -> bool:
        return self.arm in (MATTE, INDEPENDENT)

    def kept(self, content: Tensor) -> Tensor:
        """Content behind the mask, whose entries of 0.1 or less are off."""
        if not self.prior.has_flow:
            return content
        return content * torch.where(self.mask > MASKED_BELOW, self.mask, 0.0)

    def latents(self, seen: Tensor, domain: Tensor) -> Latents:
        """Abduction from posterior means: c, s and s̃ = r_s(s; c, u)."""
        content, _, style, _ = self.encoder(seen)
        content = self.kept(content)
        return Latents(content, style, self.prior.style_noise(style, content, domain)[0])

    def predict(self, latents: Latents, noise: Tensor, domain: Tensor) -> Tensor:
        """Latents z (n × (d_c + d_s)) under s̃ := `noise` with content and domain kept: s = r_s⁻¹(s̃; c, u)."""
        return torch.cat([latents.content, self.prior.style(noise, latents.content, domain)], dim=1)

    def loss(
        self,
        seen: Tensor,
        domain: Tensor,
        draw: torch.Generator,
        hidden: Tensor | None = None,
        ramp: float = 1.0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, mean over rows, and its parts; divergences and penalties weigh `ramp` of their weight."""
        config = self.config
        c_mean, c_log, s_mean, s_log = self.encoder(seen)
        raw, c_entropy = _drawn(c_mean, c_log, draw)
        style, s_entropy = _drawn(s_mean, s_log, draw)
        content = self.kept(raw)
        c_noise, c_ladj = self.prior.content_noise(raw, domain)
        s_noise, s_ladj = self.prior.style_noise(style, content, domain)
        z = torch.cat([content, style], dim=1)
        parts = {
            "reconstruction": self.decoder.loss(z, seen, hidden).mean(),
            "kl_content": (-c_entropy - _log_normal(c_noise) - c_ladj).mean(),
            "kl_style": (-s_entropy - _log_normal(s_noise) - s_ladj).mean(),
        }
        bounded = [parts[name].clamp(min=config.free_bits) for name in ("kl_content", "kl_style")]
        divergence = config.beta_content * bounded[0] + config.beta_style * bounded[1]
        total = parts["reconstruction"] + ramp * divergence
        for name, weight, value in self._penalties(z, seen):
            parts[name] = value
            total = total + ramp * weight * value
        return total, parts

    def objective(self, parts: dict[str, Tensor]) -> float:
        """The loss without penalties: what settings are chosen by on validation rows."""
        config = self.config
        return float(
            parts["reconstruction"]
            + config.beta_content * parts["kl_content"]
            + config.beta_style * parts["kl_style"]
        )

    def _penalties(self, z: Tensor, seen: Tensor) -> list[tuple[str, float, Tensor]]:
        config, found = self.config, []
        if self.training and self.is_sparse:
            rows = slice(config.jacobian_rows)
            first = 0 if config.lambda_partial else config.d_content
            found_j = influence(self.decoder, z[rows], z.detach().std(dim=0), seen[rows], first)
            style = found_j[..., config.d_content - first :].sum(dim=2)
            found.append(("sparse", config.lambda_sparse, style.sum(dim=1).mean()))
            if config.lambda_partial:
                content = found_j[..., : config.d_content].sum(dim=2)
                found.append(("partial", config.lambda_partial, _owned(style, content)))
        if self.training and self.prior.has_flow:
            found.append(("mask", config.lambda_mask, self.mask.abs().mean()))
        return found


def influence(
    decoder: VectorDecoder | TextDecoder, z: Tensor, spread: Tensor, seen: Tensor, first: int = 0
) -> Tensor:
    """|∂ output / ∂ latent| × the latent's standard deviation (n × O × latents from `first`), summed over time.

    By forward differences. `spread` (latents) closes the loophole that a larger style would have a smaller Jacobian.
    """
    columns = z.shape[1] - first
    moved = z.repeat(columns + 1, 1).view(columns + 1, *z.shape).clone()
    places = torch.arange(columns)
    moved[places + 1, :, first + places] += STEP * spread[first:, None]
    traces = decoder.trace(moved.flatten(0, 1), seen.repeat(columns + 1, 1)).unflatten(0, (columns + 1, -1))
    return ((traces[1:] - traces[0]).abs() / STEP).sum(dim=2).permute(1, 2, 0)


def _owned(style: Tensor, content: Tensor) -> Tensor:
    """Partial overlap: content's influence on outputs among the most styled and the least contentful ones (rows × outputs)."""
    k = max(1, round(CANDIDATES * style.shape[1]))
    most, least = style.topk(k, dim=1).indices, content.topk(k, dim=1, largest=False).indices
    flags = torch.zeros_like(style).scatter(1, most, 1.0) * torch.zeros_like(style).scatter(1, least, 1.0)
    return (flags * content).sum(dim=1).mean()


def _drawn(mean: Tensor, log_variance: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """A draw from a diagonal normal (n × d) and its entropy (n)."""
    log_variance = log_variance.clamp(-12, 6)
    noise = torch.randn(mean.shape, generator=draw)
    entropy = 0.5 * (log_variance + 1 + LOG_2PI).sum(dim=1)
    return mean + noise * (0.5 * log_variance).exp(), entropy


def _log_normal(values: Tensor) -> Tensor:
    return -0.5 * (values**2 + LOG_2PI).sum(dim=1)
