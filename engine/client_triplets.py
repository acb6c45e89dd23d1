"""The client's calls about triplets: pages, summaries, reviews, selections, files."""

import json
from typing import Any

import pyarrow as pa

from engine.transport import Transport


class TripletCalls(Transport):
    """Calls behind Vision › Triplets; `query` holds fields of `engine.triplets.TripletQuery`."""

    def triplet_overview(self, run_id: str) -> dict[str, Any]:
        """Types, seeds and rounds of a finished srf run's triplets, how many, and the share the run kept."""
        found: dict[str, Any] = self._json("GET", f"/runs/{run_id}/triplets")
        return found

    def triplets(self, run_id: str, **query: Any) -> tuple[pa.Table, int, int | None]:
        """A page of triplets, how many pass the filters, and the place of `place_of` among them (from 0)."""
        table = self._arrow(self._call("POST", f"/runs/{run_id}/triplets", json=query))
        metadata = table.schema.metadata or {}
        return table, int(metadata[b"total"]), json.loads(metadata[b"place"])

    def triplet_summary(self, run_id: str, **query: Any) -> dict[str, Any]:
        """Counts at the cut by type and queue, score histograms and the precision curve."""
        found: dict[str, Any] = self._json("POST", f"/runs/{run_id}/triplets/summary", json=query)
        return found

    def triplet_points(self, run_id: str, map_id: str, **query: Any) -> pa.Table:
        """Triplets of a finished triplet_map job that pass the query: triplet, x, y, type, right, kept, value."""
        body = {"map": map_id, "query": query}
        return self._arrow(self._call("POST", f"/runs/{run_id}/triplets/points", json=body))

    def reviews(self, run_id: str) -> dict[str, Any]:
        """Reviewers, their agreement and the newest acts."""
        found: dict[str, Any] = self._json("GET", f"/runs/{run_id}/reviews")
        return found

    def review(self, run_id: str, acts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Record verdicts (who, triplet, verdict keep, reject or edit; of an edit question and answer) as one batch."""
        found: list[dict[str, Any]] = self._json("POST", f"/runs/{run_id}/reviews", json={"acts": acts})
        return found

    def review_all(self, run_id: str, who: str, verdict: str, **query: Any) -> int:
        """The same verdict on everything that passes the query; how many."""
        body = {"who": who, "verdict": verdict, "query": query}
        return int(self._json("POST", f"/runs/{run_id}/reviews/bulk", json=body)["acts"])

    def undo_review(self, run_id: str, who: str) -> dict[str, Any] | None:
        """Take back a reviewer's last act; None where none is left."""
        found: dict[str, Any] | None = self._json("POST", f"/runs/{run_id}/reviews/undo", json={"who": who})
        return found

    def selections(self, run_id: str) -> list[dict[str, Any]]:
        """Saved selections, newest first."""
        found: list[dict[str, Any]] = self._json("GET", f"/runs/{run_id}/selections")
        return found

    def save_selection(self, run_id: str, name: str, note: str = "", **query: Any) -> dict[str, Any]:
        """Save what passes the query under a name; the selection's `path` is what a new run's config names."""
        body = {"name": name, "note": note, "query": query}
        found: dict[str, Any] = self._json("POST", f"/runs/{run_id}/selections", json=body)
        return found

    def delete_selection(self, run_id: str, name: str) -> None:
        self._json("DELETE", f"/runs/{run_id}/selections", params={"name": name})

    def triplet_file(self, run_id: str, format: str, selection: str | None = None, **query: Any) -> bytes:
        """A saved selection, or what passes the query, as llava (zip), parquet, csv or html."""
        body = {"format": format, "selection": selection, "query": query}
        return self._call("POST", f"/runs/{run_id}/triplets/file", json=body, timeout=600).content
