"""A finished run's masks on demand: what captions select, how two masks overlap, and the nearest test pictures.

`python -m engine.studies.smartclip.live IDLE_SECONDS` answers requests, a line of JSON each, until stdin closes or nothing
comes for IDLE_SECONDS.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analyses.smartclip import paired_iou
from data.files import read_json
from data.pictures import Pictures
from data.scenes import read_caption, sentence
from engine.errors import UserError
from engine.studies.smartclip.captions import Caption, words_of
from engine.studies.smartclip.config import Config
from engine.studies.smartclip.evaluation import Evaluator
from engine.studies.smartclip.losses import similarities
from engine.studies.smartclip.masking import Masks, masks_of
from engine.studies.smartclip.models import open_model
from engine.studies.smartclip.results import FIXED, data_uri
from engine.studies.smartclip.source import open_pictures, weights_name
from engine.warm_child import serve

NEAREST = 6
Answer = dict[str, Any]


class Opened:
    """An arm of a finished run with the embeddings of its test pictures."""

    def __init__(self, directory: Path, seed: int, arm: str) -> None:
        from safetensors.torch import load_file

        path = directory / "tensors" / f"{weights_name(seed, arm)}.safetensors"
        if not path.exists():
            raise UserError("arm", f"run {directory.name} holds no arm {arm} of seed {seed}.")
        self.config = Config(**read_json(directory / "config.json")["config"])
        self.pictures: Pictures = open_pictures(self.config)
        model = open_model(self.config, self.pictures, "cpu")
        self.network = model.network(seed)
        tensors = load_file(path)
        fixed = tensors.pop(FIXED, None)
        self.network.load_state_dict(tensors)
        self.network.requires_grad_(False).eval()
        self.evaluator = Evaluator(
            self.config, self.pictures, model.tokenise, self.network, arm, fixed, prepare=model.prepare
        )
        self.rows = self.pictures.splits["test"]
        self.z = self.evaluator.embed(self.rows)
        self.said = self.pictures.says(self.rows)

    def sentences(self, text: str) -> tuple[list[str], Caption | None]:
        """The sentences of a typed caption, and their numbers where all are known. Raises UserError."""
        if self.config.pictures == "scenes":
            try:
                parts = [sentence(name, value) for name, value in read_caption(text).items()]
            except ValueError as error:
                raise UserError("captions", str(error)) from None
        else:
            parts = [
                part for part in (one.strip() for one in text.replace(";", ",").split(",")) if words_of(part)
            ]
        if not parts:
            raise UserError("captions", "write at least one word of the captions.")
        numbers = {phrase.lower(): number for number, phrase in enumerate(self.pictures.phrases)}
        known = [numbers.get(part.lower()) for part in parts]
        return parts, tuple(number for number in known if number is not None) if None not in known else None

    @torch.no_grad()
    def answer(self, captions: list[str]) -> Answer:
        found = [self._one(text) for text in captions]
        bits = np.array([one["mask"] for one in found], dtype=bool)
        answer: Answer = {"captions": found, "d": int(self.z.shape[1]), "masked": self.evaluator.is_masked}
        if len(found) == 2:
            a, b = bits
            answer["overlap"] = {
                "iou": float(paired_iou(bits[:1], bits[1:])[0]),
                "both": int((a & b).sum()),
                "first": int((a & ~b).sum()),
                "second": int((b & ~a).sum()),
                "either": int((a | b).sum()),
            }
        return answer

    def _one(self, text: str) -> Answer:
        parts, numbers = self.sentences(text)
        vector, masks = self._say(parts, numbers)
        right = None if numbers is None else self.said[:, list(numbers)].all(axis=1)
        readouts = {"plain": similarities(self.z, vector)[:, 0]}
        if self.evaluator.is_masked:
            readouts["masked"] = similarities(self.z, vector, masks.used)[:, 0]
        return {
            "sentences": parts,
            "mask": masks.bits[0].int().tolist(),
            "gates": [round(gate, 4) for gate in masks.gates[0].tolist()],
            "prevalence": None if right is None else float(right.mean()),
            "nearest": {name: self._nearest(scores, right) for name, scores in readouts.items()},
        }

    def _say(self, parts: list[str], numbers: Caption | None) -> tuple[Tensor, Masks]:
        evaluator = self.evaluator
        said = self.network.text(evaluator.tokenise([", ".join(parts)]))
        if numbers is None and evaluator.arm == "random_mask":
            known = ", ".join(self.pictures.phrases[:20])
            raise UserError("captions", f"its random masks are of known sentences only, such as {known}.")
        masks = masks_of(evaluator.arm, self.network.mask, said, [numbers or ()], evaluator.fixed)
        ones = torch.ones_like(said.vector)
        return said.vector, Masks(ones, ones) if masks is None else masks

    def _nearest(self, scores: Tensor, right: Any) -> list[Answer]:
        best = scores.topk(min(NEAREST, len(scores)))
        return [
            {
                "picture": int(self.rows[place]),
                "score": round(score, 4),
                "satisfies": None if right is None else bool(right[place]),
                "caption": self.pictures.caption(int(self.rows[place])),
                "image": data_uri(self.pictures.images[self.rows[place]]),
            }
            for score, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]


@lru_cache(maxsize=6)
def opened(directory: Path, seed: int, arm: str) -> Opened:
    """An arm of a finished run. Raises UserError where there is none."""
    return Opened(directory, seed, arm)


def main() -> None:
    torch.set_num_threads(1)
    serve(_answer, "captions")


def _answer(asked: dict[str, Any]) -> Answer:
    if "sae" in asked:
        from engine.state_features import active_features

        return active_features(asked)
    folder, seed, arm = Path(asked["folder"]), asked["seed"], asked["arm"]
    found = opened(folder, seed, arm).answer(asked["captions"])
    if "features_of" in asked:
        check_source(folder, asked["model"], seed, arm)
        for one in found["captions"]:
            one["features"] = kept_features(Path(asked["features_of"]), one["mask"])
    return found


def check_source(folder: Path, named: str, seed: int, arm: str) -> None:
    """Raises UserError where the SAEs read another seed or arm than the masks are of."""
    from engine.studies.smartclip.activation_source import SmartClipSource

    source = SmartClipSource.named(folder, named)
    if (source.seed, source.arm) != (seed, arm):
        raise UserError(
            "sae_run", f"its SAEs read seed {source.seed}, {source.arm}; choose that seed and arm."
        )


def kept_features(folder: Path, mask: list[int]) -> list[float]:
    """How much of each SAE feature's decoder direction (its squared length, 0 to 1) lies in the dimensions a mask keeps."""
    from engine.lab_session import open_sae

    squares = open_sae(folder, "cpu").decoder.detach().float() ** 2
    whole = squares.sum(dim=1)
    inside = squares @ torch.tensor(mask, dtype=squares.dtype)
    return [
        round(share, 4) for share in torch.where(whole > 0, inside / whole.clamp_min(1e-12), 0.0).tolist()
    ]


if __name__ == "__main__":
    main()
