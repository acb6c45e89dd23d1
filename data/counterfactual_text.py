"""Worlds whose content, style and exogenous style noise are known (arXiv 2402.15309, the model of section 3).

u → c, u → s, c → s, s̃ → s, c → x, s → x: content c depends on the domain u, style s = g_s(s̃; c, u) on both, and the noise s̃
on neither. x is what is seen.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
NOISE = 0.02
STRENGTH = 1.2
SCALING_ROWS = 20_000


@dataclass(frozen=True)
class Rows:
    """n rows of a world: domains u (n), content c (n × d_c), style noise s̃ (n × d_s), style s (n × d_s), seen x (n × D)."""

    domain: Ints
    content: Floats
    noise: Floats
    style: Floats
    x: Floats


@dataclass(frozen=True)
class World:
    """Parameters of one world. `touches` (D × (d_c + d_s)) says which latent reaches which output; U domains.

    `means`, `spreads` (U × d_c): law of content; `slopes` (U × d_c × d_s), `shifts`, `log_scales` (U × d_s): style given the rest;
    `linear`, `bent` (D × (d_c + d_s)): the mixing; `centre`, `scale` (D) standardise what is seen.
    """

    means: Floats
    spreads: Floats
    slopes: Floats
    shifts: Floats
    log_scales: Floats
    linear: Floats
    bent: Floats
    touches: Bools
    centre: Floats
    scale: Floats

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Dimensions of content, of style and of what is seen."""
        d_c = self.means.shape[1]
        return d_c, self.touches.shape[1] - d_c, len(self.touches)

    def style_of(self, noise: Floats, content: Floats, domain: Ints) -> Floats:
        """s = g_s(s̃; c, u) (n × d_s), invertible in s̃."""
        pull = STRENGTH * np.tanh(np.einsum("nc,ncs->ns", content, self.slopes[domain]))
        return np.asarray(pull + self.shifts[domain] + np.exp(self.log_scales[domain]) * noise)

    def seen(self, content: Floats, style: Floats) -> Floats:
        """x without observation noise (n × D)."""
        return np.asarray((self._mix(content, style) - self.centre) / self.scale)

    def _mix(self, content: Floats, style: Floats) -> Floats:
        z = np.hstack([content, style])
        return np.asarray(z @ self.linear.T + np.tanh(z @ self.bent.T))

    def sample(self, n: int, rng: np.random.Generator) -> Rows:
        """n rows, domains alike."""
        u = rng.integers(len(self.means), size=n)
        content = self.means[u] + self.spreads[u] * rng.normal(size=(n, self.means.shape[1]))
        noise = rng.normal(size=(n, self.shifts.shape[1]))
        style = self.style_of(noise, content, u)
        x = self.seen(content, style) + NOISE * rng.normal(size=(n, len(self.touches)))
        return Rows(u, content, noise, style, x)

    def counterfactual(self, rows: Rows, donors: Ints) -> Floats:
        """x (n × D) had each row had the style noise of row `donors` (n), content and domain kept."""
        style = self.style_of(rows.noise[donors], rows.content, rows.domain)
        return self.seen(rows.content, style)


def make_world(
    n_domains: int, d_content: int, d_style: int, n_outputs: int, own: int, rng: np.random.Generator
) -> World:
    """A world in which content reaches every output and style j reaches `own` outputs of its own.

    With `own` equal to `n_outputs` style reaches everything, and the relative sparsity that the theorem needs does not hold.
    Raises ValueError when the outputs do not suffice.
    """
    if own < n_outputs and own * d_style > n_outputs:
        raise ValueError(f"{d_style} styles with {own} outputs each need {own * d_style}, not {n_outputs}.")
    touches = np.ones((n_outputs, d_content + d_style), dtype=bool)
    if own < n_outputs:
        touches[:, d_content:] = False
        for j in range(d_style):
            touches[j * own : (j + 1) * own, d_content + j] = True
    shape = (n_outputs, d_content + d_style)
    linear = rng.normal(size=shape) * touches
    bent = rng.normal(size=shape) * touches
    world = World(
        means=rng.uniform(-2, 2, (n_domains, d_content)),
        spreads=rng.uniform(0.5, 1.5, (n_domains, d_content)),
        slopes=rng.normal(size=(n_domains, d_content, d_style)) / np.sqrt(d_content),
        shifts=rng.uniform(-1, 1, (n_domains, d_style)),
        log_scales=rng.uniform(-0.5, 0.3, (n_domains, d_style)),
        linear=linear,
        bent=bent,
        touches=touches,
        centre=np.zeros(n_outputs),
        scale=np.ones(n_outputs),
    )
    u = rng.integers(n_domains, size=SCALING_ROWS)
    content = world.means[u] + world.spreads[u] * rng.normal(size=(SCALING_ROWS, d_content))
    raw = world.seen(content, world.style_of(rng.normal(size=(SCALING_ROWS, d_style)), content, u))
    return World(**{**world.__dict__, "centre": raw.mean(axis=0), "scale": raw.std(axis=0)})
