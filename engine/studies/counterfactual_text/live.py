"""Content kept and style noise moved, on demand: sentences of a reader, or rows of a world, with a finished run's model.

`python -m engine.studies.counterfactual_text.live IDLE_SECONDS` answers requests, a line of JSON each, until stdin closes or
nothing comes for IDLE_SECONDS.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from analyses.counterfactual_text import moved
from data.files import read_json
from engine.errors import UserError
from engine.studies.counterfactual_text.classifier import StyleClassifier
from engine.studies.counterfactual_text.config import BETA_VAE, Config
from engine.studies.counterfactual_text.evaluation import EXO
from engine.studies.counterfactual_text.model import Latents, Model
from engine.studies.counterfactual_text.results import BLOCKS, weights_name
from engine.studies.counterfactual_text.rewriting import Rewriter, styles_of
from engine.studies.counterfactual_text.source import Source, encode, open_source, typed
from engine.warm_child import serve

USUAL = 0.95
Answer = dict[str, Any]


class Opened:
    """An arm of a finished run, with its data, its judge of styles and where its codes usually lie."""

    def __init__(self, directory: Path, seed: int, arm: str) -> None:
        from safetensors.torch import load_file

        path = directory / "tensors" / f"{weights_name(seed, arm)}.safetensors"
        if not path.exists():
            raise UserError("arm", f"run {directory.name} holds no arm {arm} of seed {seed}.")
        record = read_json(directory / "config.json")
        self.config = Config(**record["config"])
        self.source: Source = open_source(self.config, seed, record["data_seed"])
        self.model = Model(self.config, arm, len(self.source.domains), self.source.n_tokens, seed)
        self.model.load_state_dict(load_file(path))
        self.model.requires_grad_(False).eval()
        test = self.source.parts["test"]
        self.test = self.model.latents(test.seen, test.domain)
        self.spread = self.test.noise.std(dim=0)
        self.usual = float(torch.quantile(_surprise(self.test.noise), USUAL))
        self.rewriter: Rewriter | None = None
        self.judge: StyleClassifier | None = None
        if self.config.reads_text:
            self.rewriter = Rewriter(self.config, self.model, self.source, record["data_seed"])
            table = pq.read_table(directory / "tables" / "cf_classifier.parquet")
            self.judge = StyleClassifier.load(table) if table.num_rows else None

    def answer(self, asked: Answer) -> Answer:
        """What the move does in the asked domain and in another one. Raises UserError."""
        domain, other = (self._domain(asked[name], name) for name in ("domain", "other"))
        seen, domain = self._seen(asked, domain)
        before = self.model.latents(seen, torch.tensor([domain]))
        noise = self._noise(before, asked)
        found = self._after(before, noise, domain)
        elsewhere = self.model.latents(seen, torch.tensor([other]))
        there = self._after(elsewhere, self._noise(elsewhere, asked), other)
        unmoved = self.model.predict(before, before.noise, torch.tensor([domain]))
        return {
            "domain": self.source.domains[domain],
            "other": self.source.domains[other],
            "seen": self._shown(seen),
            "unmoved": self._written(unmoved),
            "after": found,
            "after_other": there,
            "latents": _latent_rows(before, noise, found["style"]),
            "surprise": {
                "before": float(_surprise(before.noise)),
                "after": float(_surprise(noise)),
                "usual": self.usual,
            },
            "spread": self.spread.tolist(),
            "styles": list(styles_of(self.source)) if self.rewriter else [],
            "prior": self.model.arm != BETA_VAE,
        }

    def _domain(self, name: str, field: str) -> int:
        if name not in self.source.domains:
            raise UserError(
                field, f"{name!r} is no domain; choose one of {', '.join(self.source.domains[:10])}."
            )
        return self.source.domains.index(name)

    def _seen(self, asked: Answer, domain: int) -> tuple[Tensor, int]:
        """What is moved: a typed sentence in the asked domain, or a test row in its own."""
        if self.config.reads_text:
            places = {word: number for number, word in enumerate(self.source.words, 4)}
            return encode([typed(asked["text"], self.config)], places, self.config.words), domain
        test = self.source.parts["test"]
        if not 0 <= asked["row"] < len(test.seen):
            raise UserError("row", f"there are {len(test.seen):,} test rows, counted from 0.")
        return test.seen[asked["row"]][None], int(test.domain[asked["row"]])

    def _noise(self, latents: Latents, asked: Answer) -> Tensor:
        """s̃ after the move: to a style or donor where one is asked for, then by `moves` spreads in each dimension."""
        noise = latents.noise
        if asked["target"] is not None and self.rewriter is not None:
            axis = self.rewriter.axes.get(EXO)
            if axis is None:
                raise UserError(
                    "target", "the β-VAE has no style noise; move its dimensions or choose another arm."
                )
            level = axis.level(np.array([asked["target"]]), self.config.push)
            noise = torch.from_numpy(moved(noise.numpy(), axis.unit, level).astype(np.float32))
        if asked["donor"] is not None and not self.config.reads_text:
            if not 0 <= asked["donor"] < len(self.test.noise):
                raise UserError("donor", f"there are {len(self.test.noise):,} test rows, counted from 0.")
            noise = self.test.noise[asked["donor"]][None]
        if len(asked["moves"]) > noise.shape[1]:
            raise UserError("moves", f"there are {noise.shape[1]} dimensions of style noise.")
        moves = torch.tensor([*asked["moves"], *[0.0] * (noise.shape[1] - len(asked["moves"]))])
        return noise + moves * self.spread

    def _after(self, latents: Latents, noise: Tensor, domain: int) -> Answer:
        z = self.model.predict(latents, noise, torch.tensor([domain]))
        return {"written": self._written(z), "style": z[0, self.config.d_content :].tolist()}

    def _written(self, z: Tensor) -> Answer:
        if self.rewriter is None:
            decoder: Any = self.model.decoder
            return {"values": decoder(z)[0].tolist()}
        words = self.rewriter.write(z)[0]
        return {"words": list(words), "probability": self._probability(words)}

    def _shown(self, seen: Tensor) -> Answer:
        if self.rewriter is None:
            return {"values": seen[0].tolist()}
        from engine.studies.counterfactual_text.source import decode

        words = decode(seen, self.source.words)[0]
        return {"words": list(words), "probability": self._probability(words)}

    def _probability(self, words: tuple[str, ...]) -> float | None:
        """Probability of the second style."""
        return None if self.judge is None else float(self.judge.probability([words])[0])


def _surprise(noise: Tensor) -> Tensor:
    """−log N(s̃; 0, I) (n), in nats."""
    return 0.5 * (noise**2 + np.log(2 * np.pi)).sum(dim=1)


def _latent_rows(before: Latents, noise: Tensor, style: list[float]) -> list[Answer]:
    blocks = (
        (BLOCKS[0], before.content, before.content[0].tolist()),
        ("style", before.style, style),
        (BLOCKS[1], before.noise, noise[0].tolist()),
    )
    return [
        {"block": name, "dim": dim, "before": float(values[0, dim]), "after": float(after[dim])}
        for name, values, after in blocks
        for dim in range(values.shape[1])
    ]


@lru_cache(maxsize=6)
def opened(directory: Path, seed: int, arm: str) -> Opened:
    """An arm of a finished run. Raises UserError where there is none."""
    return Opened(directory, seed, arm)


@torch.no_grad()
def _answer(asked: Answer) -> Answer:
    return opened(Path(asked["folder"]), asked["seed"], asked["arm"]).answer(asked)


def main() -> None:
    torch.set_num_threads(1)
    serve(_answer, "text")


if __name__ == "__main__":
    main()
