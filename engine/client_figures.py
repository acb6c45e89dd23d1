"""The client's calls for figures kept for a paper."""

import json
import time
from typing import Any

from engine.transport import Transport


class FigureCalls(Transport):
    """A kept figure is named by its id. Every call raises EngineError where the engine refuses."""

    def save_figure(self, name: str, link: str, figure: str, csv: str, note: str = "") -> dict[str, Any]:
        """Keep a picture (plotly JSON) with the CSV behind it and the address that shows it; its record."""
        body = {"name": name, "link": link, "figure": figure, "csv": csv, "note": note}
        found: dict[str, Any] = self._json("POST", "/saved-figures", json=body)
        return found

    def saved_figures(self) -> list[dict[str, Any]]:
        """Records of what is kept, newest first: id, name, note, link, created, runs, sql."""
        found: list[dict[str, Any]] = self._json("GET", "/saved-figures")
        return found

    def saved_figure(self, figure_id: str) -> dict[str, Any]:
        """A record with "figure" (plotly JSON) and "csv"."""
        found: dict[str, Any] = self._json("GET", f"/saved-figures/{figure_id}")
        return found

    def rename_figure(self, figure_id: str, name: str, note: str = "") -> dict[str, Any]:
        body = {"name": name, "note": note}
        found: dict[str, Any] = self._json("PUT", f"/saved-figures/{figure_id}", json=body)
        return found

    def delete_figure(self, figure_id: str) -> None:
        self._call("DELETE", f"/saved-figures/{figure_id}")

    def figures_archive(self, ids: list[str]) -> bytes:
        """A zip of kept figures with their data and provenance."""
        return self._call("POST", "/saved-figures/archive", json={"ids": ids}).content

    def study_report(self, study: str) -> str:
        """One HTML page of a study (`analyses.report.report`): its claims, the figures kept of its runs, and these runs."""
        from analyses.report import report

        claims = self._arrow(self._call("GET", f"/studies/{study}/claims")).to_pandas()
        (described,) = (one for one in self._json("GET", "/studies") if one["name"] == study)
        kept = [meta for meta in self.saved_figures() if any(run["study"] == study for run in meta["runs"])]
        figures = [self.saved_figure(meta["id"]) for meta in reversed(kept)]
        named = [run["id"] for meta in figures for run in meta["runs"]]
        named += [run for runs in claims["runs"] for run in json.loads(runs)]
        runs = [self._json("GET", f"/runs/{run}") for run in dict.fromkeys(named)]
        return report(described, claims, figures, runs, time.strftime("%-d %B %Y"))
