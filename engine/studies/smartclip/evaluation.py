"""M1 to M6 of one arm and seed: retrieval, probes with size-matched random masks beside them, overlaps, unions, sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyses.smartclip import (
    LinearProbe,
    attribute_masks,
    block_gap,
    neighbour_accuracy,
    normalised,
    overlap,
    paired_iou,
    recall_at_1,
    same_size,
    satisfaction,
    variance_told,
)
from analyses.streams import stream_seed
from data.pictures import Pictures
from engine.studies.smartclip.captions import Caption, Tokeniser, texts_of
from engine.studies.smartclip.config import Config
from engine.studies.smartclip.losses import similarities
from engine.studies.smartclip.masking import Masks, masks_of

CHUNK = 256
PROBE_ROWS = 2_000
NEIGHBOUR_ROWS, NEIGHBOUR_TEST, NEIGHBOUR_DRAWS = 1_000, 500, 3
SIZE_PICTURES = 100
FEWEST_TRUE = 5
READOUTS = ("plain", "masked")
Row = dict[str, Any]
Bits = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """Rows of the tables by name, z of the evaluated pictures (n × d), and masks of single sentences (phrases × d)."""

    rows: dict[str, list[Row]]
    z: Floats
    masks: Bits


class Evaluator:
    """What an arm's networks are, and the pictures they are asked about; `model` has image, text and mask."""

    def __init__(
        self, config: Config, pictures: Pictures, tokenise: Tokeniser, model: Any, arm: str, fixed: Tensor | None,
        device: str = "cpu", prepare: Callable[[NDArray[np.uint8]], Tensor] | None = None,
    ) -> None:  # fmt: skip
        self.config, self.pictures, self.tokenise = config, pictures, tokenise
        self.model, self.arm, self.fixed, self.device = model, arm, fixed, device
        self.prepare = prepare or as_tensor

    @torch.no_grad()
    def embed(self, rows: NDArray[np.int64]) -> Tensor:
        """z of pictures: n × d."""
        parts = np.array_split(rows, max(1, len(rows) // CHUNK))
        return torch.cat(
            [
                self.model.image(self.prepare(self.pictures.images[part]).to(self.device)).float()
                for part in parts
            ]
        )

    @torch.no_grad()
    def say(self, captions: Sequence[Caption]) -> tuple[Tensor, Masks]:
        """Vectors of captions (n × d) and their masks; all ones for an arm without."""
        vectors, used, gates = [], [], []
        for first in range(0, len(captions), CHUNK):
            part = captions[first : first + CHUNK]
            said = self.model.text(self.tokenise(texts_of(self.pictures, part)).to(self.device))
            masks = masks_of(self.arm, self.model.mask, said, part, self.fixed)
            vectors.append(said.vector.float())
            used.append(torch.ones_like(vectors[-1]) if masks is None else masks.used)
            gates.append(torch.ones_like(vectors[-1]) if masks is None else masks.gates)
        return torch.cat(vectors), Masks(torch.cat(used), torch.cat(gates))

    def run(self, seed: int, split: str = "test") -> Evaluation:
        """Every figure of the arm on a split, from streams of its own."""
        rng = np.random.default_rng(stream_seed("smartclip evaluation", self.config.picture_seed))
        place = {"seed": seed, "arm": self.arm}
        rows = self.pictures.splits[split]
        z = self.embed(rows)
        _, single = self.say([(number,) for number in range(len(self.pictures.phrases))])
        bits = single.bits.cpu().numpy()
        summary: Row = {**place, "lambda": self.config.sparsity_of(self.arm), "n_test": len(rows)}
        summary |= (
            self.long_retrieval(rows, z) | self._short(rows, z, rng) | self._sizes_summary(rows, single)
        )
        tables: dict[str, list[Row]] = {
            "smartclip_arms": [summary],
            "smartclip_masks": self._masks(place, single),
            "smartclip_sizes": self._sizes(place, rows, rng),
        }
        if self.is_masked:
            summary |= self._unions(bits, rng)
        values = z.cpu().numpy().astype(np.float64)
        if self.pictures.attributes:
            more = self._attributes(place, rows, values, bits, summary)
            tables |= more
        return Evaluation(tables, values, bits)

    @property
    def is_masked(self) -> bool:
        from engine.studies.smartclip.masking import UNMASKED

        return self.arm not in UNMASKED

    # M1

    def long_retrieval(self, rows: NDArray[np.int64], z: Tensor) -> Row:
        """Recall at 1 of whole captions both ways, by both readouts; a caption that two pictures share is right for both."""
        captions = [self.pictures.sentences[row] for row in rows]
        numbers = np.unique([str(sorted(caption)) for caption in captions], return_inverse=True)[1]
        right = numbers[:, None] == numbers[None]
        found: Row = {}
        for readout, scores in self._scores(z, captions).items():
            to_text, to_image = recall_at_1(scores, right)
            found |= {f"image_to_text_{readout}": to_text, f"text_to_image_{readout}": to_image}
            found[f"long_{readout}"] = (to_text + to_image) / 2
        return found

    def _scores(self, z: Tensor, captions: Sequence[Caption]) -> dict[str, Floats]:
        """Images × captions by each readout the arm has."""
        vectors, masks = self.say(captions)
        found = {"plain": similarities(z, vectors).cpu().numpy()}
        if self.is_masked:
            found["masked"] = similarities(z, vectors, masks.used).cpu().numpy()
        return found

    def _short(self, rows: NDArray[np.int64], z: Tensor, rng: np.random.Generator) -> Row:
        """Share of the five best pictures that satisfy captions of one and of two sentences, and its value by chance."""
        said = self.pictures.says(rows)
        found: Row = {}
        for many, captions in ((1, self._true_often(said)), (2, self._true_pairs(said, rng))):
            if not captions:
                continue
            right = np.stack([said[:, list(caption)].all(axis=1) for caption in captions], axis=1)
            for readout, scores in self._scores(z, captions).items():
                found[f"short_{many}_{readout}"] = satisfaction(scores, right)
            found[f"short_{many}_chance"] = float(right.mean())
        return found

    def _true_often(self, said: Bits) -> list[Caption]:
        return [(number,) for number in np.flatnonzero(said.sum(axis=0) >= FEWEST_TRUE).tolist()]

    def _true_pairs(self, said: Bits, rng: np.random.Generator) -> list[Caption]:
        """Pairs of sentences that are true together of five pictures or more."""
        together = said.T.astype(np.float64) @ said
        a, b = np.nonzero(np.triu(together >= FEWEST_TRUE, 1))
        kept = rng.permutation(len(a))[: self.config.n_pairs]
        return list(zip(a[kept].tolist(), b[kept].tolist(), strict=True))

    # M3, M5, M6

    def _masks(self, place: Row, single: Masks) -> list[Row]:
        if not self.is_masked:
            return []
        words = ["".join("1" if bit else "0" for bit in row) for row in single.bits.tolist()]
        sizes = single.bits.sum(dim=1).tolist()
        return [
            {**place, "phrase": phrase, "attribute": attribute, "size": size, "mask": word}
            for phrase, attribute, size, word in zip(
                self.pictures.phrases, self.pictures.attribute_of, sizes, words, strict=True
            )
        ]

    def _sizes_summary(self, rows: NDArray[np.int64], single: Masks) -> Row:
        if not self.is_masked:
            return {}
        _, whole = self.say([self.pictures.sentences[row] for row in rows[:SIZE_PICTURES]])
        return {
            "size_single": float(single.bits.sum(dim=1).float().mean()),
            "size_whole": float(whole.bits.sum(dim=1).float().mean()),
        }

    def _sizes(self, place: Row, rows: NDArray[np.int64], rng: np.random.Generator) -> list[Row]:
        """Mask size against the number of sentences: some sentences of pictures, and their quartiles."""
        if not self.is_masked:
            return []
        chosen = [self.pictures.sentences[row] for row in rng.permutation(rows)[:SIZE_PICTURES]]
        found = []
        for many in range(1, max(map(len, chosen)) + 1):
            captions = [tuple(rng.permutation(said)[:many].tolist()) for said in chosen if len(said) >= many]
            sizes = self.say(captions)[1].bits.sum(dim=1).cpu().numpy()
            low, high = np.quantile(sizes, [0.25, 0.75])
            found.append(
                {
                    **place,
                    "sentences": many,
                    "n": len(captions),
                    "size": float(sizes.mean()),
                    "low": float(low),
                    "high": float(high),
                }
            )
        return found

    def _unions(self, bits: Bits, rng: np.random.Generator) -> Row:
        """Overlap of the mask of two sentences with the union of theirs, beside other sentences' and random masks' union;
        and of what two such masks share with the mask of the sentence they share."""
        pairs = self._possible(rng, 2)
        if not pairs:
            return {}
        joint = self.say(pairs)[1].bits.cpu().numpy()
        a, b = np.array(pairs).T
        union = bits[a] | bits[b]
        other = np.roll(np.arange(len(pairs)), 1)
        drawn = np.stack([same_size(bits[i], 1, rng)[0] | same_size(bits[j], 1, rng)[0] for i, j in pairs])
        found = {
            "union": float(paired_iou(joint, union).mean()),
            "union_shuffled": float(paired_iou(joint, union[other]).mean()),
            "union_random": float(paired_iou(joint, drawn).mean()),
        }
        if triples := self._possible(rng, 3):
            first = self.say([(i, j) for i, j, _ in triples])[1].bits.cpu().numpy()
            second = self.say([(i, k) for i, _, k in triples])[1].bits.cpu().numpy()
            shared = bits[np.array(triples)[:, 0]]
            found["intersection"] = float(paired_iou(first & second, shared).mean())
            found["intersection_shuffled"] = float(
                paired_iou(first & second, np.roll(shared, 1, axis=0)).mean()
            )
        return found

    def _possible(self, rng: np.random.Generator, many: int) -> list[Caption]:
        """Captions of `many` sentences that some picture satisfies; none where no caption is that long."""
        rows = [said for said in self.pictures.sentences if len(said) >= many]
        chosen = rng.integers(len(rows), size=self.config.n_pairs).tolist() if rows else []
        return [tuple(rng.permutation(rows[row])[:many].tolist()) for row in chosen]

    # M2, M3, M4

    def _attributes(
        self, place: Row, rows: NDArray[np.int64], z: Floats, bits: Bits, summary: Row
    ) -> dict[str, list[Row]]:
        """Probes of every attribute from the whole embedding, from each attribute's mask, from random masks of its size and
        from what it leaves out; adds the figures of M2 to M4 to the summary."""
        pictures, rng = (
            self.pictures,
            np.random.default_rng(stream_seed("smartclip control", self.config.picture_seed)),
        )
        train = pictures.splits["train"][:PROBE_ROWS]
        z_train = self.embed(train).cpu().numpy().astype(np.float64)
        probing = _Probing(
            z_train, z, {name: (all[train], all[rows]) for name, all in pictures.attributes.items()}
        )
        told = [name for name in pictures.attributes if name in pictures.attribute_of]
        everything = np.ones(z.shape[1], dtype=bool)
        probes = probing.rows({**place, "masked_by": "all", "size": z.shape[1]}, everything)
        whole = [row["normalised"] for row in probes if row["probe"] == "linear" and row["attribute"] in told]
        summary |= {"probe_mean": float(np.mean(whole)), "probe_least": float(np.min(whole))}
        found = {
            "smartclip_dimensions": self._dimensions(place, z, rows, told, bits),
            "smartclip_probes": probes,
        }
        if not self.is_masked:
            return found
        names = [name or "" for name in pictures.attribute_of]
        alike = overlap(bits, names)
        summary |= {
            "iou_same": alike.same,
            "iou_different": alike.different,
            "information": alike.information,
        }
        for name, mask in attribute_masks(bits, pictures.attribute_of).items():
            probes += probing.rows(
                {**place, "masked_by": name, "size": int(mask.sum())},
                mask,
                same_size(mask, self.config.control_draws, rng),
            )
        summary |= gaps(probes, told)
        return found

    def _dimensions(
        self, place: Row, z: Floats, rows: NDArray[np.int64], told: Sequence[str], bits: Bits
    ) -> list[Row]:
        names, found = np.array([name or "" for name in self.pictures.attribute_of]), []
        for name in told:
            variance = variance_told(z, self.pictures.attributes[name][rows])
            share = bits[names == name].mean(axis=0)
            for dimension in range(z.shape[1]):
                kept = float(share[dimension]) if self.is_masked else None
                found.append(
                    {
                        **place,
                        "attribute": name,
                        "dimension": dimension,
                        "kept": kept,
                        "variance": float(variance[dimension]),
                    }
                )
        return found


class _Probing:
    """Probes fitted once on whole embeddings, asked about any choice of dimensions; `labels`: attribute → (train, test)."""

    def __init__(self, z_train: Floats, z_test: Floats, labels: dict[str, tuple[Any, Any]]) -> None:
        self.z_train, self.z_test, self.labels = z_train, z_test, labels
        self.probes = {name: LinearProbe(z_train, train) for name, (train, _) in labels.items()}

    def rows(self, place: Row, kept: Bits, controls: Bits | None = None) -> list[Row]:
        """Accuracy of both probes for every attribute, of the controls (mean and range) and of the dimensions left out."""
        found = []
        for probe, ask, many in (
            ("linear", self._linear, None),
            ("neighbours", self._neighbours, NEIGHBOUR_DRAWS),
        ):
            own, outside = ask(kept), ask(~kept)
            drawn = [] if controls is None else [ask(control) for control in controls[:many]]
            for name in self.labels:
                chance = self.probes[name].chance
                others = [float(normalised(one[name], chance)) for one in drawn]
                row = {**place, "attribute": name, "probe": probe, "accuracy": own[name], "chance": chance}
                row |= {"normalised": float(normalised(own[name], chance)), "outside": None}
                row |= {"control": None, "control_low": None, "control_high": None}
                if others:
                    row |= {
                        "control": float(np.mean(others)),
                        "control_low": min(others),
                        "control_high": max(others),
                    }
                    row["outside"] = float(normalised(outside[name], chance))
                found.append(row)
        return found

    def _linear(self, kept: Bits) -> dict[str, float]:
        return {
            name: self.probes[name].accuracy(self.z_test, test, kept)
            for name, (_, test) in self.labels.items()
        }

    def _neighbours(self, kept: Bits) -> dict[str, float]:
        train = {name: both[0][:NEIGHBOUR_ROWS] for name, both in self.labels.items()}
        test = {name: both[1][:NEIGHBOUR_TEST] for name, both in self.labels.items()}
        return neighbour_accuracy(
            self.z_train[:NEIGHBOUR_ROWS], self.z_test[:NEIGHBOUR_TEST], train, test, kept
        )


def gaps(probes: Sequence[Row], told: Sequence[str]) -> Row:
    """M4 by the linear probe: own and other attributes under a mask, the same of random masks of its size, and how much of
    its own attribute a mask leaves outside."""
    cells = {(row["masked_by"], row["attribute"]): row for row in probes if row["probe"] == "linear"}
    tables = {
        name: np.array(
            [[cells[mask, attribute][name] for attribute in told] for mask in told], dtype=np.float64
        )
        for name in ("normalised", "control", "outside")
    }
    own, other = block_gap(tables["normalised"])
    control_own, control_other = block_gap(tables["control"])
    return {
        "own": own,
        "other": other,
        "control_own": control_own,
        "control_other": control_other,
        "net_gap": (own - other) - (control_own - control_other),
        "outside": block_gap(tables["outside"])[0],
    }


def as_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Pictures (n × side × side × 3) as numbers from 0 to 1 (n × 3 × side × side)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
