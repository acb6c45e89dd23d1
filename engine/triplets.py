"""Pages and summaries of a run's triplets: filtered and ordered in memory, texts and images of the visible rows from the store."""

import json
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from analyses.srf import RIVALS, precision, precision_curve, score_histograms, similarity_plane
from engine.errors import UserError
from engine.reviews import Reviews
from engine.scheduler import Scheduler
from engine.store import Store
from engine.triplet_pool import Cut, Decided, Mask, Pool, Pools, Queue, Recent
from engine.warm_child import finished_run

STUDY, MAP = "srf", "triplet_map"
MAX_PAGE = 200
Order = Literal[
    "share", "score", "sim_question", "sim_answer", "logp_generation", "logp_answer", "triplet", "image", "random"
]  # fmt: skip
QUEUES: tuple[Queue, ...] = (
    "all", "consistent_wrong", "inconsistent_right", "sample", "not_reviewed", "reviewed", "edited", "disputed", "tied",
)  # fmt: skip
TEXTS = ("question", "answer", "question_again", "answer_again")
KEPT = 16
ROWS = """
SELECT t.* EXCLUDE (run_id, rank, share, kept, reason), t.kept AS run_kept, t.reason AS run_reason
FROM srf_triplets t JOIN wanted w ON w.triplet = t.triplet WHERE t.run_id = ? ORDER BY w.place
"""
IMAGES = """
SELECT i.image, i.seed AS image_seed, i.name, i.tier, i.licence, i.factors, i.png FROM srf_images i
WHERE i.run_id = ? AND i.image IN (SELECT image FROM wanted)
"""


class TripletQuery(BaseModel):
    """Which triplets, in which order, which page.

    `shown` kept or rejected is what the cut and the reviewers make of a triplet together; `only` restricts to numbers
    (a lasso), `image` to one image (a triplet's lineage); `place_of` asks where a triplet stands in the list.
    """

    model_config = ConfigDict(extra="forbid")

    seeds: list[int] | None = None
    rounds: list[int] | None = None
    types: list[str] | None = None
    cut: Cut = Field(default_factory=Cut)
    shown: Literal["all", "kept", "rejected"] = "all"
    queue: Queue = "all"
    text: str = Field(default="", max_length=200)
    image: int | None = None
    only: list[int] | None = Field(default=None, max_length=200_000)
    order: Order = "share"
    descending: bool = False
    limit: int = Field(default=12, ge=1, le=MAX_PAGE)
    offset: int = Field(default=0, ge=0)
    place_of: int | None = None


class TripletReader:
    """Answers about the triplets of finished srf runs."""

    def __init__(self, scheduler: Scheduler, store: Store, reviews: Reviews) -> None:
        self.scheduler, self.store, self.reviews = scheduler, store, reviews
        self.pools = Pools(store)
        self._kept: Recent[dict[str, Any]] = Recent(KEPT)

    def pool(self, run_id: str) -> tuple[Pool, Decided]:
        """The run's numbers and its reviewers' decisions. Raises UserError for another study's or an unfinished run."""
        finished_run(self.scheduler, run_id, STUDY)
        pool = self.pools.of(run_id, float(self.scheduler.get(run_id).state["finished"] or 0))
        return pool, pool.decided(self.reviews.log(run_id))

    def chosen(self, run_id: str, query: TripletQuery) -> NDArray[np.int64]:
        """Positions in the pool that pass the filters, in order."""
        pool, decided = self.pool(run_id)
        mask = (
            self._part(pool, query)
            & self._shown(pool, decided, query)
            & pool.queue(query.queue, query.cut, decided)
        )
        if query.image is not None:
            mask &= pool.image == query.image
        for numbers in (query.only, self._with_text(run_id, query.text) if query.text else None):
            if numbers is not None:
                named = np.zeros(pool.n, bool)
                named[pool.at(numbers)] = True
                mask &= named
        at = np.flatnonzero(mask)
        keys = {
            "share": pool.shares(query.cut.score, query.cut.ties), "score": pool.values(query.cut.score), "random": pool.noise,
        }  # fmt: skip
        key = np.asarray(
            keys[query.order] if query.order in keys else getattr(pool, query.order), np.float64
        )[at]
        key = np.where(np.isnan(key), np.inf, -key if query.descending else key)
        return at[np.argsort(key, kind="stable")]

    def _part(self, pool: Pool, query: TripletQuery) -> Mask:
        """Triplets of the chosen seeds, rounds and types. Raises UserError for an unknown type."""
        mask = np.ones(pool.n, bool)
        for values, wanted in ((pool.seed, query.seeds), (pool.round, query.rounds)):
            if wanted is not None:
                mask &= np.isin(values, wanted)
        if query.types is not None:
            if unknown := [name for name in query.types if name not in pool.types]:
                raise UserError("types", f"{unknown[0]!r} is not there; choose from {', '.join(pool.types)}.")
            mask &= np.isin(pool.type, [pool.types.index(name) for name in query.types])
        return mask

    def _shown(self, pool: Pool, decided: Decided, query: TripletQuery) -> Mask:
        if query.shown == "all":
            return np.ones(pool.n, bool)
        kept = effective(pool, decided, query.cut)
        return kept if query.shown == "kept" else ~kept

    def _with_text(self, run_id: str, text: str) -> list[int]:
        anywhere = " OR ".join(f"contains(lower({name}), lower(?))" for name in TEXTS)
        sql = f"SELECT triplet FROM srf_triplets WHERE run_id = ? AND ({anywhere})"
        return list(self.store.sql(sql, [run_id, *[text] * len(TEXTS)])["triplet"].to_pylist())

    def page(self, run_id: str, query: TripletQuery) -> pa.Table:
        """Visible rows with image, place under the cut, verdict and why; metadata: `total` and `place` of `place_of`."""
        pool, _ = self.pool(run_id)
        chosen = self.chosen(run_id, query)
        place = None
        if query.place_of is not None:
            found = np.flatnonzero(pool.triplet[chosen] == query.place_of)
            place = int(found[0]) if len(found) else None
        shown = chosen[query.offset : query.offset + query.limit]
        rows = self.rows(run_id, shown, query.cut)
        return rows.replace_schema_metadata({"total": json.dumps(len(chosen)), "place": json.dumps(place)})

    def rows(self, run_id: str, at: NDArray[np.int64], cut: Cut) -> pa.Table:
        """Full rows of positions in the pool, in their order."""
        pool, decided = self.pool(run_id)
        wanted = pa.table({"triplet": pool.triplet[at], "place": np.arange(len(at))})
        texts = self.store.sql(ROWS, [run_id], {"wanted": wanted})
        inside, kept = pool.inside(cut)[at], effective(pool, decided, cut)[at]
        share, values, right = (
            pool.shares(cut.score, cut.ties)[at], pool.values(cut.score)[at], pool.right(decided)[at]
        )  # fmt: skip
        size = np.bincount(pool.group, minlength=1)[pool.group[at]] if pool.n else np.empty(0)
        acts = [{} if (one := decided.by.get(int(number))) is None else one for number in pool.triplet[at]]
        edits = [(one.get("edit") or {}) for one in acts]
        more: dict[str, Any] = {
            "share": share, "place": np.rint(share * size).astype(np.int64), "size": size.astype(np.int64), "value": values,
            "inside": inside, "kept": kept, "right": right, "decision": decided.decision[at],
            "edited_question": pa.array([one.get("question") for one in edits], pa.string()),
            "edited_answer": pa.array([one.get("answer") for one in edits], pa.string()),
            "verdicts": [json.dumps({act["who"]: act["verdict"] for act in one.get("acts", [])}) for one in acts],
        }  # fmt: skip
        for name, values_of in more.items():
            texts = texts.append_column(
                name, values_of if isinstance(values_of, pa.Array) else pa.array(values_of)
            )
        return self._with_images(run_id, texts)

    def _with_images(self, run_id: str, rows: pa.Table) -> pa.Table:
        """Rows with name, tier, licence, factors and png of their image; an image of another seed only where it has no own."""
        wanted = (
            pa.table({"image": rows["image"]})
            if rows.num_rows
            else pa.table({"image": pa.array([], pa.int64())})
        )
        found = self.store.sql(IMAGES, [run_id], {"wanted": wanted}).to_pylist()
        own = {(row["image"], row["image_seed"]): row for row in found}
        any_seed = {row["image"]: row for row in found}
        keys = zip(rows["image"].to_pylist(), rows["seed"].to_pylist(), strict=True)
        images = [own.get(key) or any_seed.get(key[0]) or {} for key in keys]
        kinds = {"image_seed": pa.int64(), "png": pa.binary()}
        for name in ("image_seed", "name", "tier", "licence", "factors", "png"):
            kind = kinds.get(name, pa.string())
            rows = rows.append_column(name, pa.array([one.get(name) for one in images], kind))
        return rows

    def overview(self, run_id: str) -> dict[str, Any]:
        """What there is to choose from: types, seeds, rounds, the share the run kept, how many triplets."""
        pool, _ = self.pool(run_id)
        keep = float(self.scheduler.get(run_id).record["config"]["keep"])
        return {
            "n": pool.n, "types": pool.types, "seeds": np.unique(pool.seed).tolist(), "rounds": np.unique(pool.round).tolist(),
            "keep": keep, "known": int(np.isfinite(pool.truth).sum()),
        }  # fmt: skip

    def points(self, run_id: str, map_id: str, query: TripletQuery) -> pa.Table:
        """Where the triplets that pass a query lie on a finished map, and what they are coloured by."""
        finished_run(self.scheduler, map_id, MAP)
        pool, decided = self.pool(run_id)
        sql = "SELECT triplet, x, y FROM triplet_points WHERE run_id = ? AND of_run = ? ORDER BY triplet"
        places = self.store.sql(sql, [map_id, run_id])
        at = pool.at(places["triplet"].to_pylist())
        passing = np.zeros(pool.n, bool)
        passing[self.chosen(run_id, query)] = True
        shown = pa.array(passing[at])
        more = {
            "type": pa.array([pool.types[code] for code in pool.type[at]], pa.string()),
            "right": pool.right(decided)[at], "kept": effective(pool, decided, query.cut)[at],
            "value": pool.values(query.cut.score)[at],
        }  # fmt: skip
        for name, values in more.items():
            places = places.append_column(name, pa.array(values))
        return places.filter(shown)

    def summary(self, run_id: str, query: TripletQuery) -> dict[str, Any]:
        """Counts by type at the cut, queues, histograms, the plane of similarities and the precision curve, over the query's
        seeds, rounds and types. `basis` says who knows what is right: exact (an oracle), verdicts (reviewers), mixed; `seen` changes with what
        does not move with the cut."""
        pool, decided = self.pool(run_id)
        part, cut = self._part(pool, query), query.cut
        inside, kept, right = pool.inside(cut), effective(pool, decided, cut), pool.right(decided)
        tied, values = pool.tied(), pool.values(cut.score)
        rows = []
        for code, name in enumerate(pool.types):
            mine = part & (pool.type == code)
            if mine.any():
                cuts = values[mine & inside]
                at = float(cuts.min()) if len(cuts) else None
                rows.append({"type": name, **_counts(mine, kept, right, tied), "at": at})
        queues = {name: int((part & pool.queue(name, cut, decided)).sum()) for name in QUEUES}
        total = _counts(part, kept, right, tied)
        still = self._still(run_id, query, pool, decided, part)
        return {
            **_plain({"version": decided.version, "types": rows, "total": total, "queues": queues}),
            **still,
        }

    def _still(
        self, run_id: str, query: TripletQuery, pool: Pool, decided: Decided, part: Mask
    ) -> dict[str, Any]:
        """What does not move with the cut; remembered, so that moving it is quick."""
        cut = query.cut
        oracle, right = np.isfinite(pool.truth[part]), pool.right(decided)[part]
        basis = "exact" if oracle.all() else "mixed" if oracle.any() else "verdicts"
        seen = 0 if basis == "exact" else decided.version
        finished = self.scheduler.get(run_id).state["finished"]
        part_of = (query.seeds, query.rounds, query.types)
        key = json.dumps([run_id, finished, seen, cut.score, cut.ties, *part_of])

        def make() -> dict[str, Any]:
            curves = []
            for name in dict.fromkeys((cut.score, *RIVALS)):
                if name != "oracle" or basis == "exact":
                    share = pool.shares(name, cut.ties if name == cut.score else "random")[part]
                    frame = precision_curve(share, right, pool.seed[part], basis == "verdicts")
                    curves += frame.assign(filter=name).to_dict("records")
            values = pool.values(cut.score)[part]
            found = {
                "basis": basis, "seen": seen, "curve": curves,
                "histograms": score_histograms(values, pool.type[part], right, pool.types),
                "plane": similarity_plane(pool.sim_question[part], pool.sim_answer[part], right),
            }  # fmt: skip
            return dict(_plain(found))

        return self._kept.get(key, make)

    def selection(self, run_id: str, query: TripletQuery, note: str = "") -> dict[str, Any]:
        """What a saved selection holds: the numbers that pass the query, and the texts that reviewers gave some of them."""
        pool, decided = self.pool(run_id)
        numbers = pool.triplet[self.chosen(run_id, query)]
        if not len(numbers):
            raise UserError("selection", "no triplet passes these filters; widen them first.")
        edits = {
            str(number): {"question": one["edit"]["question"], "answer": one["edit"]["answer"]}
            for number in numbers.tolist()
            if (one := decided.by.get(number)) and one["edit"]
        }
        asked = query.model_dump(exclude={"limit", "offset", "place_of", "only"}, mode="json")
        return {"triplets": numbers.tolist(), "edits": edits, "query": asked, "note": note}


def effective(pool: Pool, decided: Decided, cut: Cut) -> Mask:
    """What is kept in the end: what reviewers decided, elsewhere what the cut says."""
    return np.asarray((decided.decision > 0) | ((decided.decision == 0) & pool.inside(cut)))


def _counts(mine: Mask, kept: Mask, right: NDArray[np.float64], tied: Mask) -> dict[str, Any]:
    n = int(mine.sum())
    return {
        "n": n, "kept": int((mine & kept).sum()), "known": int((mine & np.isfinite(right)).sum()),
        "known_kept": int((mine & kept & np.isfinite(right)).sum()),
        "precision": precision(right, mine), "precision_kept": precision(right, mine & kept),
        "precision_rest": precision(right, mine & ~kept), "tied": int((mine & tied).sum()),
        "precision_tied": precision(right, mine & tied), "precision_below": precision(right, mine & ~tied),
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """The value with None for what is not a number, as JSON needs."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
