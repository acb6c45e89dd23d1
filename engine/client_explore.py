"""The client's calls behind Explore: cards, the feature table, maps, the library, the lab, and SAEs from elsewhere."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pyarrow as pa

from engine.transport import Transport

LAB_TIMEOUT = httpx.Timeout(30, read=600)
Feature = list[Any] | tuple[str, int, int]


class ExploreCalls(Transport):
    """A feature is named by its run, seed and index. Every call raises EngineError where the engine refuses."""

    def make_cards(self, run_id: str, **settings: Any) -> dict[str, Any]:
        """Queue the job that makes a finished run's feature cards, or return the one that exists."""
        return self._json("POST", f"/runs/{run_id}/cards", json=settings)

    def cards_job(self, run_id: str) -> dict[str, Any] | None:
        """The job that makes, or has made, a run's feature cards; None when there is none."""
        return self._json("GET", f"/runs/{run_id}/cards")

    def card(self, run_id: str, seed: int, feature: int, beside: list[str] | None = None) -> dict[str, Any]:
        """Everything about one feature; twins also in the finished runs `beside`."""
        query = {"beside": ",".join(beside or [])}
        return self._json("GET", f"/runs/{run_id}/features/{seed}/{feature}", params=query)

    def features(self, runs: list[str], **query: Any) -> tuple[pa.Table, int]:
        """A page of features and how many pass the filters; `query` as in `engine.features.FeatureQuery`."""
        table = self._arrow(self._call("POST", "/features", json={"runs": runs, **query}))
        return table, int((table.schema.metadata or {})[b"total"])

    def feature_place(self, runs: list[str], feature: Feature, **query: Any) -> int | None:
        """The position of a feature among those that pass the filters, from 0; None when it is not there."""
        body = {"runs": runs, **query, "limit": 1, "offset": 0, "place_of": list(feature)}
        table = self._arrow(self._call("POST", "/features", json=body))
        found: int | None = json.loads((table.schema.metadata or {})[b"place"])
        return found

    def make_map(self, runs: list[str], seed: int = 0, **settings: Any) -> dict[str, Any]:
        """Queue the layout of the runs' decoder directions, or return the one that exists."""
        return self._json("POST", "/maps", json={"runs": runs, "seed": seed, "settings": settings})

    def library(self) -> dict[str, Any]:
        """Labels, notes and lists."""
        return self._json("GET", "/library")

    def import_library(self, content: dict[str, Any]) -> dict[str, int]:
        """Merge an exported library; how many labels and list entries were new."""
        return self._json("POST", "/library", json=content)

    def set_label(self, run_id: str, seed: int, feature: int, label: str, note: str = "") -> None:
        """Put your label and note of a feature; both empty removes them."""
        row = {"run": run_id, "seed": seed, "feature": feature, "label": label, "note": note}
        self._json("PUT", "/labels", json=[row])

    def add_to_list(self, name: str, features: list[Feature]) -> None:
        """Add features to a list, which is made if it is new."""
        self._json("PUT", "/lists", json={"name": name, "add": [list(feature) for feature in features]})

    def remove_from_list(self, name: str, features: list[Feature]) -> None:
        self._json("PUT", "/lists", json={"name": name, "remove": [list(feature) for feature in features]})

    def delete_list(self, name: str) -> None:
        self._json("DELETE", "/lists", params={"name": name})

    def label_automatically(self, run_id: str, seed: int, features: list[int]) -> list[dict[str, Any]]:
        """Labels by the configured language model, at most 20 features a call."""
        body = {"run": run_id, "seed": seed, "features": features}
        return self._json("POST", "/labels/automatic", json=body, timeout=600)

    def inspect_sae(self, *paths: str) -> list[dict[str, Any]]:
        """What saved SAEs are: folders of this machine or Hugging Face ids."""
        return self._json("POST", "/saes/inspect", json={"paths": list(paths)}, timeout=600)

    def import_sae(self, paths: list[str], **settings: Any) -> dict[str, Any]:
        """Queue a run that evaluates and matches saved SAEs; `settings`: hook_point, model, corpus, n_tokens."""
        return self._json("POST", "/saes/import", json={"paths": paths, **settings}, timeout=600)

    def lab(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Events of one request to the prompt lab, as they come (`engine.lab.LabRequest`)."""
        with self._stream("POST", "/lab", json=request, timeout=LAB_TIMEOUT) as response:
            for line in response.iter_lines():
                yield json.loads(line)
