"""One seed: it tunes a generator, writes and scores triplets, and retrains an arm for every filter; round after round.

Every training of a seed starts from the same weights and draws its rows by the same numbers, so arms that add as many triplets
see the labelled rows, and the added ones, at the same steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from analyses.streams import stream_seed
from data.pictures import Ints
from data.scene_questions import DESCRIBE, Pair
from engine.studies.srf.config import Config
from engine.studies.srf.generation import (
    Writer,
    about,
    accuracy,
    complete,
    generate,
    reused_questions,
    sampler,
    score_auc,
    shuffled_score,
)
from engine.studies.srf.optimise import Optimiser
from engine.studies.srf.scoring import Scores, Triplets, filter_curves, ranking, score
from engine.studies.srf.selections import chosen, pairs_of, selected_pairs
from engine.studies.srf.similarity import Compare
from engine.studies.srf.small import bundled_generator
from engine.studies.srf.source import Material
from engine.studies.srf.tasks import Row, multi_task, row_of

LOGGED_POINTS = 20
Stage = tuple[str, int, str]
Log = Callable[..., None]
ROWS = ("srf_filters", "srf_arms", "srf_arm_types", "srf_generators")


class Trained(Writer, Protocol):
    """A model that is trained and writes: the small one, or a published one with its adapter."""

    def parameters(self) -> Any: ...
    def weights(self) -> dict[str, Tensor]: ...
    def load(self, weights: Mapping[str, Tensor]) -> None: ...
    def encode(self, prompt: str, target: str) -> Any: ...
    def loss_on(self, images: Ints, encoded: Any) -> Tensor: ...


class Learner:
    """`advance` takes a step of training or writes a round's triplets; `rows` gathers what goes into the tables."""

    def __init__(
        self,
        config: Config,
        material: Material,
        model: Trained,
        texts: Compare,
        seed: int,
        data_seed: int,
        log: Log,
    ) -> None:
        self.config, self.material, self.model, self.texts = config, material, model, texts
        self.seed, self.key, self.data_seed, self.log = seed, str(seed), data_seed, log
        self.start = model.weights()
        self.stages = stages(config)
        self.stage = 0
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ROWS}
        self.triplets: dict[int, Triplets] = {}
        self.ends: dict[str, dict[str, Tensor]] = {}
        if config.generator == "bundled":
            self.ends["generator-1"] = bundled_generator()
        self._scores: dict[int, Scores] = {}
        self._prepare()

    @property
    def finished(self) -> bool:
        return self.stage >= len(self.stages)

    def work(self) -> tuple[float, float]:
        """Steps done and in all, a round's writing counted as many as 300 images take one."""
        costs = [self._cost(stage) for stage in self.stages]
        inside = self.optimiser.done if not self.finished and self.optimiser is not None else 0
        return sum(costs[: self.stage]) + inside, sum(costs)

    def _cost(self, stage: Stage) -> float:
        if stage[0] == "write":
            return 1 + len(self.material.parts[f"pool-{stage[1]}"]) / 30
        return self.config.generator_steps if stage[0] == "tune" else self.config.arm_steps

    def advance(self) -> None:
        """One optimiser step, or all of a round's writing."""
        kind, number, arm = self.stages[self.stage]
        if kind == "write":
            self._write(number)
            self._next()
            return
        assert self.optimiser is not None
        step = self.optimiser.done
        rng = np.random.default_rng(stream_seed("srf order", self.seed, self.data_seed, step))
        places = (rng.random(self.config.batch_size) * len(self.training)).astype(np.int64)
        images = np.array([self.training[place].image for place in places])
        loss = self.optimiser.step(self.model.loss_on(images, [self.encoded[place] for place in places]))
        if (step + 1) % max(1, self.optimiser.steps // LOGGED_POINTS) == 0:
            self.log(
                int(self.work()[0]),
                self.seed,
                **{"generator.loss" if kind == "tune" else "retraining.loss": loss},
            )
        if self.optimiser.done == self.optimiser.steps:
            self._end(kind, number, arm)
            self._next()

    # Stages

    def _next(self) -> None:
        self.stage += 1
        self._prepare()

    def _prepare(self) -> None:
        """Weights, rows and optimiser of the stage that comes."""
        self.optimiser: Optimiser | None = None
        if self.finished or self.stages[self.stage][0] == "write":
            return
        kind, number, arm = self.stages[self.stage]
        labelled = self._labelled(number)
        if kind == "tune":
            rng = np.random.default_rng(stream_seed("srf tasks", self.seed, number))
            self.training: list[Row] = multi_task(labelled, self.config.task_shares, rng)
            steps = self.config.generator_steps
        else:
            self.added = self._added(number, arm)
            self.training = [row_of(pair, "A", 0) for pair in (*labelled, *self.added)]
            steps = self.config.arm_steps
        self.encoded = [self.model.encode(row.prompt, row.target) for row in self.training]
        self.model.load(self.start)
        self.optimiser = Optimiser(self.model.parameters(), self.config.learning_rate, steps)

    def _labelled(self, number: int) -> list[Pair]:
        """The original pairs and what earlier rounds kept."""
        found = list(self.material.pairs["labelled"])
        for earlier in range(1, number):
            found += self._chosen(earlier, self.config.own_arm)
        return found

    def _chosen(self, number: int, arm: str) -> list[Pair]:
        triplets = self.triplets[number]
        mask = chosen(
            arm, self.config.keep, self.config.own_arm, triplets, self.scores(number), self.noise(number)
        )
        return pairs_of(triplets, mask)

    def _added(self, number: int, arm: str) -> list[Pair]:
        """The pairs an arm adds to the labelled ones."""
        if arm in ("base", "no_selection"):
            return []
        if self.config.is_imported:
            wanted, pool = selected_pairs(self.config)
            if arm == "selection":
                return wanted
            rng = np.random.default_rng(stream_seed("srf random selection", self.seed))
            return [pool[i] for i in rng.permutation(len(pool))[: len(wanted)]]
        if arm == "recap":
            return self._captions(number, len(self._chosen(number, "random")))
        return self._chosen(number, arm)

    def _captions(self, number: int, many: int) -> list[Pair]:
        """The base model's captions of images drawn at random: no filter, as the paper's control Recap."""
        rng = np.random.default_rng(stream_seed("srf recap", self.seed, number))
        rows = rng.permutation(self.material.parts[f"pool-{number}"])[:many]
        self.model.load(self.ends["base"])
        said = self.model.write_on(rows, [DESCRIBE] * len(rows))
        return [Pair(int(row), "caption", DESCRIBE, one.text) for row, one in zip(rows, said, strict=True)]

    def _end(self, kind: str, number: int, arm: str) -> None:
        if kind == "tune":
            self.ends[f"generator-{number}"] = self.model.weights()
            vqa, _ = accuracy(self.model, self.material, self.material.pairs["validation"])
            self.log(int(self.work()[0]), self.seed, **{"generator.validation": vqa})
            return
        exact, types = accuracy(self.model, self.material, self.material.pairs["test"])
        shifted, shifted_types = accuracy(self.model, self.material, self.material.pairs["shifted"])
        place = {"round": number, "arm": arm}
        places = [(place, len(self.added))]
        if arm == self.config.own_arm and number < self.config.rounds:
            places.append(({"round": number + 1, "arm": "base"}, 0))  # the next round starts from this model
        for where, added in places:
            about_arm = {
                "added": added,
                "steps": self.config.arm_steps,
                "exact": exact,
                "exact_shifted": shifted,
            }
            self.rows["srf_arms"].append({**where, **about_arm})
            for name, (right, n) in types.items():
                also = shifted_types.get(name, (None, 0))[0]
                self.rows["srf_arm_types"].append(
                    {**where, "type": name, "exact": right, "exact_shifted": also, "n": n}
                )
        if arm == "base" and number == 1:
            self.ends["base"] = self.model.weights()
            if self.config.contrast and not self.config.is_imported:
                self._contrast()
        if arm in (self.config.own_arm, "selection"):
            self.ends[f"refined-{number}"] = self.model.weights()

    # Writing

    def noise(self, number: int) -> NDArray[np.float64]:
        """What orders triplets at random: the random filter, and ties."""
        rng = np.random.default_rng(stream_seed("srf ties", self.seed, number))
        return rng.random(len(self.triplets[number]))

    def scores(self, number: int) -> Scores:
        if number not in self._scores:
            self._scores[number] = score(self.triplets[number], self.texts)
        return self._scores[number]

    def _write(self, number: int) -> None:
        """A round's triplets, the filters' curves and what is told of the generator; test questions are asked here once."""
        self.model.load(self.ends[f"generator-{number}"])
        pool = self.material.parts[f"pool-{number}"]
        draw = sampler("pairs", self.seed, number)
        found = generate(self.model, self.material, pool, draw, self.config.temperature)
        self.triplets[number] = found
        vqa, _ = accuracy(self.model, self.material, self.material.pairs["test"])
        auc = score_auc(
            self.model, self.material.pairs["validation"], self.texts, sampler("probe", self.seed, number)
        )
        shuffled = shuffled_score(
            self.model, self.material, found, self.texts, sampler("shuffle", self.seed, number)
        )
        row = about("multi_task", found, self.scores(number), vqa, auc, shuffled)
        self.rows["srf_generators"].append({"round": number, **row})
        curves = filter_curves(found, self.scores(number), self.noise(number))
        self.rows["srf_filters"] += [{"round": number, **one} for one in curves]

    def _contrast(self) -> None:
        """The base model as generator: asked by the prompt it was never tuned on, and with questions of labelled images."""
        pool = self.material.parts["pool-1"][:1_000]
        vqa = next(
            row["exact"] for row in self.rows["srf_arms"] if row["arm"] == "base" and row["round"] == 1
        )
        found = generate(
            self.model, self.material, pool, sampler("prompted", self.seed), self.config.temperature
        )
        pairs, logp = reused_questions(
            self.model, self.material, pool, self.material.pairs["labelled"], sampler("reused", self.seed)
        )
        reused = complete(self.model, self.material, pool, pairs, logp)
        for kind, triplets in (("prompted", found), ("reused", reused)):
            self.rows["srf_generators"].append(
                {"round": 1, **about(kind, triplets, score(triplets, self.texts), vqa)}
            )

    def triplet_rows(self) -> list[dict[str, Any]]:
        """Rows of srf_triplets, without the seed's offset of their numbers."""
        found = []
        for number, triplets in self.triplets.items():
            name, scores = self.config.own_arm, self.scores(number)
            rank, share = ranking(name, triplets, scores, self.noise(number))
            kept = chosen(name, self.config.keep, name, triplets, scores, self.noise(number))
            for i in range(len(triplets)):
                found.append({
                    "seed": self.seed, "round": number, "triplet": (self.seed * 100 + number) * 1_000_000 + i,
                    "image": int(triplets.image[i]), "type": triplets.type[i], "question": triplets.question[i],
                    "answer": triplets.answer[i], "question_again": triplets.question_again[i],
                    "answer_again": triplets.answer_again[i], "sim_question": _number(scores.question[i]),
                    "sim_answer": _number(scores.answer[i]), "score": float(scores.triangle[i]), "rank": int(rank[i]),
                    "share": float(share[i]), "logp_generation": float(triplets.logp_generation[i]),
                    "logp_answer": float(triplets.logp_answer[i]), "truth": triplets.truth[i], "kept": bool(kept[i]),
                    "reason": _reason(triplets.type[i], int(rank[i]), round(rank[i] / share[i]), self.config.keep, bool(kept[i])),
                })  # fmt: skip
        return found

    # Checkpoints

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resume needs besides `state`, as group/name."""
        groups = {f"end:{name}": held for name, held in self.ends.items()}
        if self.optimiser is not None:
            groups |= {"weights": self.model.weights(), "moments": self.optimiser.moments()}
        return {f"{group}/{name}": value for group, held in groups.items() for name, value in held.items()}

    def state(self) -> dict[str, Any]:
        written = {
            str(number): {
                name: value.tolist() if isinstance(value, np.ndarray) else value
                for name, value in asdict(held).items()
            }
            for number, held in self.triplets.items()
        }
        step = 0 if self.optimiser is None else self.optimiser.done
        return {"stage": self.stage, "step": step, "rows": self.rows, "triplets": written}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        groups: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            group, name = key.split("/", 1)
            groups.setdefault(group, {})[name] = value
        self.ends = {
            group.removeprefix("end:"): held for group, held in groups.items() if group.startswith("end:")
        }
        self.rows = {name: list(rows) for name, rows in state["rows"].items()}
        self.triplets = {int(number): _triplets(held) for number, held in state["triplets"].items()}
        self.stage = state["stage"]
        self._prepare()
        if self.optimiser is not None:
            self.model.load(groups["weights"])
            self.optimiser.restore(groups.get("moments", {}), int(state["step"]))


def stages(config: Config) -> list[Stage]:
    """What a seed does, in order: (tune | write | retrain, round, arm)."""
    if config.is_imported:
        return [("retrain", 1, arm) for arm in config.arms_of(1)]
    found: list[Stage] = []
    for number in range(1, config.rounds + 1):
        if number > 1 or config.generator == "tuned":
            found.append(("tune", number, ""))
        found.append(("write", number, ""))
        found += [("retrain", number, arm) for arm in config.arms_of(number)]
    return found


def _triplets(held: Mapping[str, Any]) -> Triplets:
    arrays: dict[str, Any] = {"image": np.int64, "logp_generation": np.float64, "logp_answer": np.float64}
    read: dict[str, Any] = {
        name: np.array(value, arrays[name]) if name in arrays else value for name, value in held.items()
    }
    return Triplets(**read)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _reason(kind: str, rank: int, many: int, keep: float, kept: bool) -> str:
    """Why a triplet is kept or not, in a sentence."""
    side = "inside" if kept else "outside"
    return f"Rank {rank:,} of {many:,} of type {kind}: {side} the best {100 * keep:g} %."
