"""The numbers of a run's triplets, held in memory: places under any score, what a cut keeps, precision, queues.

The texts and images stay in the store; a page of them is asked for by number (`engine.triplets`).
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import RLock
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from analyses.srf import RIGHT, is_kept, places
from analyses.streams import stream_seed
from engine.reviews import RunLog, decisions
from engine.store import Store

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Value = TypeVar("Value")
Score = Literal[
    "run", "triangle", "answer_only", "question_only", "equality", "confidence_generation", "confidence_answer", "random"
]  # fmt: skip
Queue = Literal[
    "all", "consistent_wrong", "inconsistent_right", "sample", "not_reviewed", "reviewed", "edited", "disputed", "tied"
]  # fmt: skip
SAMPLE = 100
POOLS, RANKINGS = 3, 24
COLUMNS = (
    "triplet, seed, round, image, type, sim_question, sim_answer, score, rank, share, logp_generation, logp_answer, truth, "
    "(sim_question IS NULL OR lower(trim(question)) = lower(trim(question_again)))"
    " AND (sim_answer IS NULL OR lower(trim(answer)) = lower(trim(answer_again))) AS equal"
)


class Recent(Generic[Value]):
    """The last few values made, by key; one thread makes a value, others wait for it."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, RLock()
        self._values: OrderedDict[Any, Value] = OrderedDict()

    def get(self, key: Any, make: Callable[[], Value]) -> Value:
        """The value of a key, made now where it is not kept."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
                while len(self._values) > self._most:
                    self._values.popitem(last=False)
            self._values.move_to_end(key)
            return self._values[key]


class Cut(BaseModel):
    """Which score ranks the triplets of a group, how ties are ordered, and the share of every type that is kept.

    `keeps` holds other shares for some types; `least` keeps by value instead: every triplet whose score is at least that.
    """

    model_config = ConfigDict(extra="forbid")

    score: Score = "run"
    ties: Literal["random", "confidence"] = "random"
    keep: float = Field(default=0.2, ge=0, le=1)
    keeps: dict[str, float] = Field(default_factory=dict)
    least: float | None = None


@dataclass(frozen=True)
class Decided:
    """What reviewers decided, parallel to the pool: 1, −1 or 0, right (1, 0, nan), whether reviewed, edited, disputed."""

    version: int
    decision: NDArray[np.int8]
    right: Floats
    reviewed: Mask
    edited: Mask
    disputed: Mask
    by: dict[int, dict[str, Any]]


class Pool:
    """Parallel arrays over the triplets of a finished run, in the order of their numbers."""

    def __init__(self, run_id: str, frame: pd.DataFrame) -> None:
        self.n = len(frame)
        for name in ("triplet", "seed", "round", "image", "rank"):
            setattr(self, name, frame[name].to_numpy(np.int64))
        numbers = ("sim_question", "sim_answer", "score", "share", "logp_generation", "logp_answer")
        for name in numbers:
            setattr(self, name, frame[name].to_numpy(np.float64, na_value=np.nan))
        self.equal = frame["equal"].to_numpy(bool)
        codes, names = pd.factorize(frame["type"], sort=True)
        self.type: NDArray[np.int64] = codes.astype(np.int64)
        self.types: list[str] = [str(name) for name in names]
        self.truth: Floats = frame["truth"].map(RIGHT).to_numpy(np.float64)
        self.group = pd.MultiIndex.from_arrays([self.seed, self.round, self.type]).factorize()[0]
        self.noise = np.random.default_rng(stream_seed(f"srf ties {run_id}")).random(self.n)
        self._ranked: Recent[Floats] = Recent(RANKINGS)
        self._decided: Decided | None = None

    triplet: NDArray[np.int64]
    seed: NDArray[np.int64]
    round: NDArray[np.int64]
    image: NDArray[np.int64]
    rank: NDArray[np.int64]
    sim_question: Floats
    sim_answer: Floats
    score: Floats
    share: Floats
    logp_generation: Floats
    logp_answer: Floats

    def at(self, triplets: Any) -> NDArray[np.int64]:
        """Positions of triplet numbers that are there."""
        wanted = np.asarray(list(triplets), np.int64)
        if not self.n:
            return np.empty(0, np.int64)
        found = np.minimum(np.searchsorted(self.triplet, wanted), self.n - 1)
        return found[self.triplet[found] == wanted]

    def values(self, score: str) -> Floats:
        """The score of every triplet; a type that does not compare questions has only its answer side."""
        if score in ("run", "triangle"):
            return self.score
        if score == "question_only":
            return np.where(np.isnan(self.sim_question), self.sim_answer, self.sim_question)
        if score == "answer_only":
            return np.where(np.isnan(self.sim_answer), self.sim_question, self.sim_answer)
        plain: dict[str, Any] = {
            "equality": self.equal, "confidence_generation": self.logp_generation, "confidence_answer": self.logp_answer,
            "random": self.noise, "oracle": self.truth,
        }  # fmt: skip
        return np.asarray(plain[score], np.float64)

    def shares(self, score: str, ties: str) -> Floats:
        """Place of every triplet inside its group as a share, under a score and an order of ties."""
        if score == "run":
            return self.share
        order = self.noise if ties == "random" else np.nan_to_num(self.logp_answer, nan=-np.inf)
        return self._ranked.get((score, ties), lambda: places(self.values(score), self.group, order)[1])

    def inside(self, cut: Cut) -> Mask:
        """Which triplets the cut keeps, whatever reviewers said."""
        if cut.least is not None:
            return np.asarray(np.nan_to_num(self.values(cut.score), nan=-np.inf) >= cut.least - 1e-9)
        keep = np.array([cut.keeps.get(name, cut.keep) for name in self.types] or [cut.keep])
        return is_kept(self.shares(cut.score, cut.ties), keep[self.type] if self.n else cut.keep)

    def decided(self, log: RunLog) -> Decided:
        """The reviewers' decisions, made anew when the log has grown."""
        if self._decided is None or self._decided.version != log.version:
            version, by = log.version, decisions(log.verdicts())
            known = self.at(sorted(by))
            each = [by[int(number)] for number in self.triplet[known]]
            decision, right = np.zeros(self.n, np.int8), np.full(self.n, np.nan)
            reviewed, edited = np.zeros(self.n, bool), np.zeros(self.n, bool)
            decision[known] = [one["decision"] for one in each]
            right[known] = [np.nan if one["right"] is None else one["right"] for one in each]
            reviewed[known] = True
            edited[known] = [one["edit"] is not None for one in each]
            self._decided = Decided(
                version, decision, right, reviewed, edited, reviewed & (decision == 0), by
            )
        return self._decided

    def right(self, decided: Decided) -> Floats:
        """1 right, 0 wrong, nan unknown: the oracle's truth where there is one, else what reviewers found."""
        return np.where(np.isnan(self.truth), decided.right, self.truth)

    def queue(self, name: Queue, cut: Cut, decided: Decided) -> Mask:
        """The triplets of a queue: consistent is inside the cut, inconsistent outside it with S below 1, tied S = 1 exactly."""
        inside, right = self.inside(cut), self.right(decided)
        if name == "consistent_wrong":
            return inside & (right == 0)
        if name == "inconsistent_right":
            return ~inside & ~self.tied() & (right == 1)
        if name == "sample":
            return self._sample(inside)
        masks: dict[str, Mask] = {
            "all": np.ones(self.n, bool), "not_reviewed": ~decided.reviewed, "reviewed": decided.reviewed,
            "edited": decided.edited, "disputed": decided.disputed, "tied": self.tied(),
        }  # fmt: skip
        return masks[name]

    def tied(self) -> Mask:
        return np.asarray(self.score >= 1 - 1e-9)

    def _sample(self, inside: Mask) -> Mask:
        """A hundred of the kept and a hundred of the rest, at random (Table 7 judges samples of both)."""
        chosen = np.zeros(self.n, bool)
        for side in (inside, ~inside):
            places_of = np.flatnonzero(side)
            chosen[places_of[np.argsort(self.noise[places_of])[:SAMPLE]]] = True
        return chosen


class Pools:
    """Pools of finished runs, the last few kept."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._kept: Recent[Pool] = Recent(POOLS)

    def of(self, run_id: str, finished: float) -> Pool:
        """The pool of a run; `finished` tells a run that was trained again."""
        sql = f"SELECT {COLUMNS} FROM srf_triplets WHERE run_id = ? ORDER BY triplet"
        return self._kept.get(
            (run_id, finished), lambda: Pool(run_id, self.store.sql(sql, [run_id]).to_pandas())
        )
