"""The part of the API behind Explore: cards, the feature table, maps, the library, the lab, and SAEs from elsewhere."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from engine.access import Access
from engine.bundle_api import add_bundles
from engine.cards import CARDS, CardReader, cards_entry, finished_cards
from engine.errors import UserError
from engine.features import FeatureQuery, query_features
from engine.importing import import_settings, inspect_sae
from engine.lab import Lab, LabRequest
from engine.lab_http import EventStream
from engine.labelling import endpoint, label_features
from engine.library import Label, Library, Listed, Name, Seed
from engine.library import Run as RunId
from engine.sae_matching import SaeMatcher
from engine.scheduler import Scheduler
from engine.store import Store

STUDY = "sae_consistency"
LABELLED_AT_ONCE = 20


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MapRequest(_Request):
    runs: list[str] = Field(min_length=1, max_length=100)
    seed: int = Field(default=0, ge=0, lt=2**31)
    settings: dict[str, Any] = Field(default_factory=dict)


class ListRequest(_Request):
    name: Name
    add: list[tuple[RunId, Seed, Seed]] = Field(default_factory=list, max_length=200_000)
    remove: list[tuple[RunId, Seed, Seed]] = Field(default_factory=list, max_length=200_000)


class LabelRequest(_Request):
    run: str
    seed: int
    features: list[int] = Field(min_length=1, max_length=LABELLED_AT_ONCE)


class ImportRequest(_Request):
    paths: list[str] = Field(min_length=1, max_length=100)
    hook_point: str | None = None
    model: str | None = None
    corpus: str | None = None
    n_tokens: int = Field(default=200_000, ge=1)


def add_explore(
    app: FastAPI,
    access: Access,
    scheduler: Scheduler,
    store: Store,
    matcher: SaeMatcher,
    lab: Lab,
    arrow: Callable[[pa.RecordBatchReader], Response],
) -> None:
    """Add every route of Explore."""
    library = Library(scheduler.home, store)
    add_bundles(app, access, scheduler, library)
    reader = CardReader(scheduler, store, matcher)
    _add_features(app, access, scheduler, store, reader, arrow)
    _add_library(app, access, library, reader)
    _add_imports(app, access, scheduler)

    @app.post("/lab", dependencies=access.live)
    def ask(request: LabRequest) -> EventStream:
        """Events of one request to the prompt lab, as lines of JSON."""
        return EventStream(lab.ask(request))


def _add_features(
    app: FastAPI,
    access: Access,
    scheduler: Scheduler,
    store: Store,
    reader: CardReader,
    arrow: Callable[[pa.RecordBatchReader], Response],
) -> None:
    @app.post("/runs/{run_id}/cards", dependencies=access.launch)
    def make_cards(run_id: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Queue the job that makes a finished run's feature cards, or return the one that exists."""
        seeds = scheduler.get(run_id).record["seeds"]
        made = scheduler.submit(CARDS, None, {**settings, "of": run_id}, seeds, 0)
        return scheduler.describe(scheduler.get(made))

    @app.get("/runs/{run_id}/cards", dependencies=access.view)
    def get_cards(run_id: str) -> dict[str, Any] | None:
        found = cards_entry(scheduler, run_id)
        return None if found is None else scheduler.describe(found)

    @app.get("/runs/{run_id}/features/{seed}/{feature}", dependencies=access.view)
    def card(run_id: str, seed: int, feature: int, beside: str = "") -> dict[str, Any]:
        return reader.card(run_id, seed, feature, [run for run in beside.split(",") if run])

    @app.post("/features", dependencies=access.view)
    def features(query: FeatureQuery) -> Response:
        for run_id in query.runs:
            scheduler.get(run_id)
        return arrow(query_features(store, query, finished_cards(scheduler, query.runs)).to_reader())

    @app.post("/maps", dependencies=access.launch)
    def make_map(request: MapRequest) -> dict[str, Any]:
        """Queue the layout of the decoder directions of runs, or return the one that exists."""
        settings = {**request.settings, "runs": ",".join(request.runs)}
        made = scheduler.submit("feature_map", None, settings, [request.seed], 0)
        return scheduler.describe(scheduler.get(made))


def _add_library(app: FastAPI, access: Access, library: Library, reader: CardReader) -> None:
    @app.get("/library", dependencies=access.view)
    def get_library() -> dict[str, Any]:
        return library.document()

    @app.post("/library", dependencies=access.change)
    def import_library(content: dict[str, Any]) -> dict[str, int]:
        return library.merge(content)

    @app.put("/labels", dependencies=access.change)
    def set_labels(labels: list[Label]) -> dict[str, int]:
        library.set_labels(labels)
        return {"labels": len(labels)}

    @app.put("/lists", dependencies=access.change)
    def change_list(request: ListRequest) -> dict[str, int]:
        rows = {
            name: [
                Listed(name=request.name, run=run, seed=seed, feature=feature)
                for run, seed, feature in getattr(request, name)
            ]
            for name in ("add", "remove")
        }
        library.change_list(request.name, rows["add"], rows["remove"])
        return {name: len(found) for name, found in rows.items()}

    @app.delete("/lists", dependencies=access.change)
    def delete_list(name: str) -> dict[str, str]:
        library.delete_list(name)
        return {"deleted": name}

    @app.post("/labels/automatic", dependencies=access.launch)
    def label(request: LabelRequest) -> list[dict[str, Any]]:
        """Labels by the language model at the configured endpoint; those that people wrote stay."""
        service = endpoint()
        cards = [reader.card(request.run, request.seed, feature, []) for feature in request.features]
        if any(card["cards"] is None for card in cards):
            raise UserError("run", f"{request.run} has no feature cards yet; make them first.")
        texts = label_features(service, cards)
        rows = [
            Label(run=request.run, seed=request.seed, feature=feature, label=text, source=service.model[:80])
            for feature, text in zip(request.features, texts, strict=True)
            if text
        ]
        library.suggest(rows)
        return [row.model_dump() for row in rows]


def _add_imports(app: FastAPI, access: Access, scheduler: Scheduler) -> None:
    @app.post("/saes/inspect", dependencies=access.launch)
    def inspect(request: ImportRequest) -> list[dict[str, Any]]:
        return [inspect_sae(path).model_dump() for path in request.paths]

    @app.post("/saes/import", dependencies=access.launch)
    def import_saes(request: ImportRequest) -> dict[str, Any]:
        """Queue a run of zero steps that evaluates and matches saved SAEs, and their feature cards after it."""
        found = [inspect_sae(path) for path in request.paths]
        settings = import_settings(found, request.hook_point, request.model, request.corpus, request.n_tokens)
        made = scheduler.submit(STUDY, None, settings, list(range(len(found))), 0, cards=True)
        return scheduler.describe(scheduler.get(made))
