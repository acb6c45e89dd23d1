"""The client's calls for figures kept for a paper."""

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
        """Records of what is kept, newest first: id, name, note, link, created, runs."""
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
