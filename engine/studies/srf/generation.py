"""Writing triplets on unlabelled images and predicting both halves again, and what can be told of a generator (section 2.3)."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from analyses.streams import stream_seed
from data.pictures import Ints
from data.scene_questions import Pair
from engine.studies.srf.policy import Written
from engine.studies.srf.scoring import (
    Scores,
    Triplets,
    area_under_curve,
    diversity,
    is_known,
    precision,
    score,
    triangle,
)
from engine.studies.srf.similarity import Compare, compare
from engine.studies.srf.source import Material
from engine.studies.srf.tasks import both_prompt, question_prompt, read_pair, read_question

TIED = 1 - 1e-9
PROBED = 600


class Writer(Protocol):
    """What writes: images by rows of the run, a prompt for each; greedy without a generator."""

    most: int

    def write_on(
        self,
        rows: Ints,
        prompts: Sequence[str],
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> list[Written]: ...


def sampler(name: str, *seeds: int) -> torch.Generator:
    """A named stream for sampling."""
    return torch.Generator().manual_seed(stream_seed(f"srf {name}", *seeds))


def generate(
    writer: Writer, material: Material, rows: Ints, generator: torch.Generator, temperature: float
) -> Triplets:
    """One triplet on each image: a sampled pair (I→QA), A′ from (I, Q) and Q′ from (I, A), both greedy, by the same model."""
    written = writer.write_on(rows, [both_prompt()] * len(rows), generator, temperature)
    pairs = [read_pair(one.text) for one in written]
    return complete(writer, material, rows, pairs, [one.logp for one in written])


def complete(
    writer: Writer,
    material: Material,
    rows: Ints,
    pairs: Sequence[tuple[str, str]],
    logp: Sequence[float],
    seen: Ints | None = None,
) -> Triplets:
    """Pairs with what the model predicts again of each, from the image or, in `seen`, from another one."""
    questions, answers = [q for q, _ in pairs], [a for _, a in pairs]
    looked_at = rows if seen is None else seen
    again_a = writer.write_on(looked_at, questions)
    again_q = writer.write_on(looked_at, [question_prompt(answer) for answer in answers])
    truth: list[str] = [material.judge(int(row), q, a) for row, (q, a) in zip(rows, pairs, strict=True)]
    return Triplets(
        rows, [material.type_of(q, a) for q, a in pairs], questions, answers, [read_question(one.text) for one in again_q],
        [one.text for one in again_a], np.array(logp, np.float64), np.array([one.logp for one in again_a], np.float64), truth,
    )  # fmt: skip


def reused_questions(
    writer: Writer, material: Material, rows: Ints, labelled: Sequence[Pair], generator: torch.Generator
) -> tuple[list[tuple[str, str]], list[float]]:
    """A simpler generator: questions of labelled images, drawn at random, answered by sampling."""
    chosen = torch.randint(len(labelled), (len(rows),), generator=generator).tolist()
    questions = [labelled[i].question for i in chosen]
    answers = writer.write_on(rows, questions, generator)
    return [(q, one.text) for q, one in zip(questions, answers, strict=True)], [one.logp for one in answers]


def accuracy(
    writer: Writer, material: Material, pairs: Sequence[Pair]
) -> tuple[float, dict[str, tuple[float, int]]]:
    """Share of labelled questions answered rightly, greedily; of all, and by type with their number."""
    said = writer.write_on(np.array([pair.image for pair in pairs]), [pair.question for pair in pairs])
    right = np.array([one.text.lower() == pair.answer.lower() for one, pair in zip(said, pairs, strict=True)])
    kinds = np.array([pair.type for pair in pairs])
    return float(right.mean()), {
        str(kind): (float(right[kinds == kind].mean()), int((kinds == kind).sum()))
        for kind in np.unique(kinds)
    }


def score_auc(
    writer: Writer, pairs: Sequence[Pair], texts: Compare, generator: torch.Generator
) -> float | None:
    """How well S tells right from wrong answers that are sampled for labelled questions; needs no oracle. None: all alike."""
    asked = list(pairs)[:PROBED]
    rows = np.array([pair.image for pair in asked])
    sampled = [one.text for one in writer.write_on(rows, [pair.question for pair in asked], generator)]
    again_a = [one.text for one in writer.write_on(rows, [pair.question for pair in asked])]
    again_q = [
        read_question(one.text)
        for one in writer.write_on(rows, [question_prompt(answer) for answer in sampled])
    ]
    kinds = [pair.type for pair in asked]
    question = compare(kinds, [pair.question for pair in asked], again_q, "question", texts)
    answer = compare(kinds, sampled, again_a, "answer", texts)
    right = np.array([a.lower() == pair.answer.lower() for a, pair in zip(sampled, asked, strict=True)])
    return area_under_curve(triangle(question, answer), right)


def about(
    kind: str,
    triplets: Triplets,
    scores: Scores,
    vqa: float,
    auc: float | None = None,
    shuffled: float | None = None,
) -> dict[str, Any]:
    """A row of srf_generators, without seed and round."""
    distinct2, ttr = diversity(triplets.question, triplets.answer)
    whole = np.ones(len(triplets), bool)
    return {
        "kind": kind, "vqa": vqa, "distinct2": distinct2, "ttr": ttr,
        "precision": precision(triplets, whole) if is_known(triplets) else None,
        "tied_share": float((scores.triangle >= TIED).mean()), "score_auc": auc, "shuffled_score": shuffled,
        "score_mean": float(scores.triangle.mean()),
    }  # fmt: skip


def shuffled_score(
    writer: Writer, material: Material, triplets: Triplets, texts: Compare, generator: torch.Generator
) -> float:
    """Mean S where both halves are predicted again with another image of the pool; S that hardly falls is not about the image."""
    n = min(len(triplets), PROBED)
    order = torch.randperm(n, generator=generator).numpy()
    other = np.empty(n, np.int64)
    other[order] = triplets.image[np.roll(order, 1)]
    pairs = list(zip(triplets.question[:n], triplets.answer[:n], strict=True))
    found = complete(
        writer, material, triplets.image[:n], pairs, triplets.logp_generation[:n].tolist(), other
    )
    return float(score(found, texts).triangle.mean())
