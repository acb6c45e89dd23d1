"""One feature's card: its numbers, examples, logits, neighbours, twins, label and lists, put together on request."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data.files import read_json
from engine.activation_sources import names_run
from engine.entries import Entry
from engine.errors import UserError
from engine.features import COLUMNS
from engine.sae_matching import SaeMatcher
from engine.scheduler import Scheduler
from engine.store import Store
from engine.tools.feature_cards.reading import read_examples

CARDS = "feature_cards"
NUMBERS = (
    "alive", "frequency", "mean_activation", "stability", "max_cosine", "encoder_alignment", "near_duplicate",
    "gt_feature", "gt_cosine",
)  # fmt: skip
LABELS = f"""
SELECT f.seed, f.feature, {COLUMNS["label"]} AS label, {COLUMNS["label_source"]} AS source, {COLUMNS["note"]} AS note
FROM wanted f
LEFT JOIN labels l ON l.run = ? AND l.seed = f.seed AND l.feature = f.feature
LEFT JOIN cards c ON c.run_id = ? AND c.seed = f.seed AND c.feature = f.feature
"""


def cards_entry(scheduler: Scheduler, run_id: str) -> Entry | None:
    """The feature_cards job of a run: the one under way, or the newest that is done, or the newest."""
    found = [
        entry
        for entry in scheduler.entries(CARDS)
        if entry.record["config"]["of"] == run_id and entry.state["state"] != "cancelled"
    ]
    if not found:
        return None
    preferred = {"running": 3, "queued": 2, "done": 1}
    return max(found, key=lambda e: (preferred.get(e.state["state"], 0), e.record["created"]))


def finished_cards(scheduler: Scheduler, run_ids: list[str]) -> dict[str, str]:
    """The newest finished feature_cards job of each run that has one."""
    found: dict[str, Entry] = {}
    for entry in scheduler.entries(CARDS):
        of = entry.record["config"]["of"]
        if of in run_ids and entry.state["state"] == "done":
            old = found.get(of)
            if old is None or old.record["created"] < entry.record["created"]:
                found[of] = entry
    return {of: entry.record["id"] for of, entry in found.items()}


class CardReader:
    """Reads cards from the store and the sorted activations of the feature_cards runs."""

    def __init__(self, scheduler: Scheduler, store: Store, matcher: SaeMatcher) -> None:
        self.scheduler, self.store, self.matcher = scheduler, store, matcher

    def card(self, run_id: str, seed: int, feature: int, beside: list[str]) -> dict[str, Any]:
        """The card as JSON; twins are those of the run's other seeds and of the runs `beside`. Raises UserError."""
        entry = self.scheduler.get(run_id)
        numbers = self._numbers(entry, seed, feature)
        made = finished_cards(self.scheduler, [run_id, *beside])
        cards = made.get(run_id)
        twins = self._twins(entry, seed, feature, beside, made)
        neighbours = self._neighbours(cards, seed, feature)
        labels = self._labels(run_id, cards, [(seed, feature), *((seed, n["feature"]) for n in neighbours)])
        label, source, note = labels[seed, feature]
        for row in neighbours:
            row["label"] = labels[seed, row["feature"]][0]
        return {
            "run": run_id,
            "seed": seed,
            "feature": feature,
            "cards": cards,
            **self._provenance(entry, cards),
            **numbers,
            **self._examples(cards, seed, feature),
            "logits": self._logits(cards, seed, feature),
            "neighbours": neighbours,
            "twins": twins,
            "label": label,
            "label_source": source,
            "note": note,
            "lists": self._lists(run_id, seed, feature),
        }

    def _numbers(self, entry: Entry, seed: int, feature: int) -> dict[str, Any]:
        run_id = entry.record["id"]
        if seed not in entry.record["seeds"]:
            known = ", ".join(map(str, entry.record["seeds"]))
            raise UserError("seed", f"run {run_id} has no seed {seed}; it has {known}.")
        rows = self.store.sql(
            f"SELECT {', '.join(NUMBERS)} FROM features WHERE run_id = ? AND seed = ? AND feature = ?",
            [run_id, seed, feature],
        ).to_pylist()
        if not rows:
            if not self.scheduler.is_done(run_id):
                raise UserError("run", f"{run_id} is {entry.state['state']}; wait until it is done.")
            raise UserError(
                "feature", f"{feature} does not exist; choose 0 to {entry.record['config']['d_sae'] - 1}."
            )
        return rows[0]

    def _provenance(self, entry: Entry, cards: str | None) -> dict[str, Any]:
        config = entry.record["config"]
        found = {
            "model_label": config["model"] if config["source"] == "language_model" else "synthetic world",
            "hook_point": config["hook_point"] if config["source"] == "language_model" else None,
            "corpus": config["corpus"] if config["source"] == "language_model" else config["world"],
            "tier": "synthetic" if config["source"] == "synthetic" else None,
            "recipe": {name: config[name] for name in ("architecture", "k", "d_sae", "l1_coefficient")},
            "is_text": config["source"] == "language_model" and not names_run(config["model"]),
        }
        if cards:
            found |= read_json(self._directory(cards) / "tensors" / "cards.json")
        return found

    def _directory(self, run_id: str) -> Path:
        return self.scheduler.get(run_id).directory

    def _examples(self, cards: str | None, seed: int, feature: int) -> dict[str, Any]:
        missing = {"density": None, "n_active": None, "max_activation": None, "histogram": None}
        if cards is None:
            return {**missing, "examples": []}
        rows = self.store.sql(
            "SELECT n_active, density, max_activation, mean_activation FROM cards"
            " WHERE run_id = ? AND seed = ? AND feature = ?",
            [cards, seed, feature],
        ).to_pylist()
        return {
            **missing,
            **(rows[0] if rows else {}),
            **read_examples(self._directory(cards), seed, feature),
        }

    def _logits(self, cards: str | None, seed: int, feature: int) -> dict[str, list[dict[str, Any]]]:
        rows = self.store.sql(
            "SELECT rank, token, logit FROM card_logits WHERE run_id = ? AND seed = ? AND feature = ?"
            " ORDER BY abs(rank)",
            [cards, seed, feature],
        ).to_pylist()
        parts: dict[str, list[dict[str, Any]]] = {"top": [], "bottom": []}
        for row in rows:
            parts["top" if row.pop("rank") > 0 else "bottom"].append(row)
        return parts

    def _neighbours(self, cards: str | None, seed: int, feature: int) -> list[dict[str, Any]]:
        return self.store.sql(
            "SELECT neighbour AS feature, cosine FROM card_neighbours"
            " WHERE run_id = ? AND seed = ? AND feature = ? ORDER BY rank",
            [cards, seed, feature],
        ).to_pylist()

    def _twins(
        self, entry: Entry, seed: int, feature: int, beside: list[str], made: dict[str, str]
    ) -> list[dict[str, Any]]:
        run_id = entry.record["id"]
        rows = self.store.sql(
            "SELECT seed_b AS seed, feature_b AS feature, cosine, code_correlation FROM matches"
            " WHERE run_id = ? AND subset = 'all' AND seed_a = ? AND feature_a = ? UNION ALL"
            " SELECT seed_a, feature_a, cosine, code_correlation FROM matches"
            " WHERE run_id = ? AND subset = 'all' AND seed_b = ? AND feature_b = ? ORDER BY seed",
            [run_id, seed, feature] * 2,
        ).to_pylist()
        twins = [{"run": run_id, **row} for row in rows]
        for other in beside:
            if other != run_id and self.scheduler.is_done(other):
                twins += self._twins_in(run_id, seed, feature, other)
        for run in dict.fromkeys(twin["run"] for twin in twins):
            mine = [twin for twin in twins if twin["run"] == run]
            labels = self._labels(run, made.get(run), [(twin["seed"], twin["feature"]) for twin in mine])
            for twin in mine:
                twin["label"] = labels[twin["seed"], twin["feature"]][0]
        return twins

    def _twins_in(self, run_id: str, seed: int, feature: int, other: str) -> list[dict[str, Any]]:
        """The matched features in every seed of another run; matched once, then remembered."""
        found = []
        for seed_b in self.scheduler.get(other).record["seeds"]:
            table = self.matcher.match((run_id, seed), (other, seed_b), "all")
            mine = table.filter(pc.equal(table["feature_a"], feature)).to_pylist()
            found += [
                {"run": other, "seed": seed_b, "feature": row["feature_b"], "cosine": row["cosine"],
                 "code_correlation": None}
                for row in mine
            ]  # fmt: skip
        return found

    def labels(self, run_id: str, seed: int, features: list[int]) -> dict[int, str]:
        """The label of each feature of a seed, empty where it has none."""
        cards = finished_cards(self.scheduler, [run_id]).get(run_id)
        found = self._labels(run_id, cards, [(seed, feature) for feature in features])
        return {feature: label for (_, feature), (label, _, _) in found.items()}

    def _labels(
        self, run_id: str, cards: str | None, features: list[tuple[int, int]]
    ) -> dict[tuple[int, int], tuple[str, str, str]]:
        """(label, source, note) of (seed, feature) pairs of a run."""
        wanted = pa.table(
            {
                "seed": pa.array([s for s, _ in features], pa.int64()),
                "feature": pa.array([f for _, f in features], pa.int32()),
            }
        )
        rows = self.store.sql(LABELS, [run_id, cards], {"wanted": wanted}).to_pylist()
        return {(row["seed"], row["feature"]): (row["label"], row["source"], row["note"]) for row in rows}

    def _lists(self, run_id: str, seed: int, feature: int) -> list[str]:
        rows = self.store.sql(
            "SELECT name FROM lists WHERE run = ? AND seed = ? AND feature = ? ORDER BY name",
            [run_id, seed, feature],
        )
        return [str(name) for name in rows["name"].to_pylist()]
