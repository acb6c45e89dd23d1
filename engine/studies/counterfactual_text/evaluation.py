"""Figures of an arm on a world's test rows, where the true latents and counterfactuals are known; once, after training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from analyses.counterfactual_text import counterfactual_error
from analyses.identifiability import block_r2
from analyses.streams import stream_seed
from engine.studies.counterfactual_text.config import Config
from engine.studies.counterfactual_text.model import Latents, Model, influence
from engine.studies.counterfactual_text.source import Source

Floats = NDArray[np.float64]
EXAMPLES = 10
INFLUENCE_ROWS = 256
EXO, RAW = "noise", "style"


@dataclass(frozen=True)
class Codes:
    """Learnt content (n × d_c), style and style noise (n × d_s each) of the test rows."""

    content: Floats
    style: Floats
    noise: Floats


@torch.no_grad()
def codes_of(model: Model, source: Source, split: str = "test") -> Codes:
    """Abduction of every row of a split."""
    part = source.parts[split]
    found = model.eval().latents(part.seen, part.domain)
    return Codes(*(value.double().numpy() for value in (found.content, found.style, found.noise)))


def donors_of(n: int, data_seed: int) -> NDArray[np.int64]:
    """Which row gives each row (n) its style noise, the same for all arms and seeds."""
    return np.random.default_rng(stream_seed("counterfactual donors", data_seed, n)).permutation(n)


@torch.no_grad()
def counterfactuals(model: Model, source: Source, donors: NDArray[np.int64]) -> dict[str, Floats]:
    """x under each row's donor noise (n × D), through s̃ as the paper does, and by swapping s itself."""
    part = source.parts["test"]
    latents: Latents = model.eval().latents(part.seen, part.domain)
    through = model.predict(latents, latents.noise[donors], part.domain)
    swapped = torch.cat([latents.content, latents.style[donors]], dim=1)
    decoder: Any = model.decoder
    return {EXO: decoder(through).double().numpy(), RAW: decoder(swapped).double().numpy()}


def bench_row(
    config: Config, model: Model, source: Source, seed: int, data_seed: int, codes: Codes
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The figures of an arm, and a few rows with their true and predicted counterfactuals."""
    assert source.test is not None and source.world is not None
    truth = source.test
    rng = np.random.default_rng(stream_seed("counterfactual probes", seed))
    shuffled = rng.permutation(len(truth.x))

    def r2(target: Floats, given: Floats) -> float:
        return block_r2(target, given, rng, config.probe_rows)

    donors = donors_of(len(truth.x), data_seed)
    wanted = source.world.counterfactual(truth, donors)
    found = counterfactuals(model, source, donors)
    row = {
        "r2_content": r2(truth.content, codes.content),
        "r2_content_back": r2(codes.content, truth.content),
        "r2_noise": r2(truth.noise, codes.noise),
        "r2_noise_back": r2(codes.noise, truth.noise),
        "leak": r2(truth.noise, codes.content),
        "leak_back": r2(truth.content, codes.noise),
        "null": r2(truth.content, codes.content[shuffled]),
        "cf_noise": counterfactual_error(found[EXO], wanted, truth.x),
        "cf_style": counterfactual_error(found[RAW], wanted, truth.x),
    }
    return row, _examples(source, wanted, found, donors)


def _examples(
    source: Source, wanted: Floats, found: Mapping[str, Floats], donors: NDArray[np.int64]
) -> list[dict[str, Any]]:
    assert source.test is not None
    return [
        {
            "pair": pair,
            "domain": source.domains[source.test.domain[pair]],
            "donor": int(donors[pair]),
            "donor_domain": source.domains[source.test.domain[donors[pair]]],
            "output": output,
            "factual": float(source.test.x[pair, output]),
            "truth": float(wanted[pair, output]),
            "by_noise": float(found[EXO][pair, output]),
            "by_style": float(found[RAW][pair, output]),
        }
        for pair in range(min(EXAMPLES, len(wanted)))
        for output in range(wanted.shape[1])
    ]


@torch.no_grad()
def influence_of(model: Model, source: Source) -> Floats:
    """Influence of every latent on every output (O × (d_c + d_s)), mean over test rows."""
    part = source.parts["test"]
    rows = slice(INFLUENCE_ROWS)
    latents = model.eval().latents(part.seen[rows], part.domain[rows])
    z = torch.cat([latents.content, latents.style], dim=1)
    total, step = np.zeros(1), 32
    for start in range(0, len(z), step):
        piece = slice(start, start + step)
        found = influence(model.decoder, z[piece], z.std(dim=0), part.seen[rows][piece])
        total = total + found.double().sum(dim=0).numpy()
    return np.asarray(total / len(z))
