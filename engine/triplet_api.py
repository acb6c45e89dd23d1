"""The routes behind Vision › Triplets: pages and summaries of triplets, reviews, saved selections, files."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import pyarrow as pa
from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from engine.access import Access
from engine.errors import UserError
from engine.reviews import MOST_ACTS, Act, Reviews, Who
from engine.scheduler import Scheduler
from engine.store import Store
from engine.triplet_files import FORMATS, write_file
from engine.triplets import TripletQuery, TripletReader


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ActsRequest(_Request):
    acts: list[Act] = Field(min_length=1, max_length=MOST_ACTS)


class BulkRequest(_Request):
    """The same verdict on everything that passes a query."""

    who: Who
    verdict: Literal["keep", "reject"]
    query: TripletQuery


class UndoRequest(_Request):
    who: Who


class SelectionRequest(_Request):
    name: Annotated[str, StringConstraints(strip_whitespace=True)]
    query: TripletQuery
    note: str = Field(default="", max_length=1_000)


class PointsRequest(_Request):
    """Triplets of a finished map that pass a query."""

    map: str = Field(pattern=r"^[0-9a-f]{12}$")
    query: TripletQuery = Field(default_factory=TripletQuery)


class FileRequest(_Request):
    """A file of a saved selection, or of what passes a query."""

    format: Literal["llava", "parquet", "csv", "html"]
    selection: str | None = None
    query: TripletQuery = Field(default_factory=TripletQuery)


def add_triplets(
    app: FastAPI,
    access: Access,
    scheduler: Scheduler,
    store: Store,
    arrow: Callable[[pa.RecordBatchReader], Response],
) -> None:
    """Add every route of the page Triplets."""
    reviews = Reviews(scheduler.home)
    reader = TripletReader(scheduler, store, reviews)
    _add_pages(app, access, reader, arrow)
    _add_reviews(app, access, scheduler, reader, reviews)
    _add_selections(app, access, scheduler, reader, reviews)

    @app.post("/runs/{run_id}/triplets/file", dependencies=access.view)
    def file(run_id: str, request: FileRequest) -> Response:
        pool, _ = reader.pool(run_id)
        if request.selection is None:
            at = reader.chosen(run_id, request.query)
        else:
            at = pool.at(reviews.selection(run_id, request.selection)["triplets"])
        if not len(at):
            raise UserError("query", "no triplet passes these filters, so there is nothing to put in a file.")
        content = write_file(request.format, reader, run_id, at, request.query.cut)
        return Response(content, media_type=FORMATS[request.format][1])


def _add_pages(
    app: FastAPI,
    access: Access,
    reader: TripletReader,
    arrow: Callable[[pa.RecordBatchReader], Response],
) -> None:
    @app.get("/runs/{run_id}/triplets", dependencies=access.view)
    def overview(run_id: str) -> dict[str, Any]:
        return reader.overview(run_id)

    @app.post("/runs/{run_id}/triplets", dependencies=access.view)
    def page(run_id: str, query: TripletQuery) -> Response:
        return arrow(reader.page(run_id, query).to_reader())

    @app.post("/runs/{run_id}/triplets/points", dependencies=access.view)
    def points(run_id: str, request: PointsRequest) -> Response:
        return arrow(reader.points(run_id, request.map, request.query).to_reader())

    @app.post("/runs/{run_id}/triplets/summary", dependencies=access.view)
    def summary(run_id: str, query: TripletQuery) -> dict[str, Any]:
        return reader.summary(run_id, query)


def _add_reviews(
    app: FastAPI, access: Access, scheduler: Scheduler, reader: TripletReader, reviews: Reviews
) -> None:
    @app.get("/runs/{run_id}/reviews", dependencies=access.view)
    def get_reviews(run_id: str) -> dict[str, Any]:
        scheduler.get(run_id)
        return reviews.summary(run_id)

    @app.post("/runs/{run_id}/reviews", dependencies=access.change)
    def record(run_id: str, request: ActsRequest) -> list[dict[str, Any]]:
        """Verdicts as one batch; answered once they are on the disk."""
        pool, _ = reader.pool(run_id)
        wanted = {act.triplet for act in request.acts}
        if missing := wanted - set(pool.triplet[pool.at(sorted(wanted))].tolist()):
            raise UserError("triplet", f"run {run_id} has no triplet {min(missing)}.")
        return reviews.record(run_id, request.acts)

    @app.post("/runs/{run_id}/reviews/bulk", dependencies=access.change)
    def bulk(run_id: str, request: BulkRequest) -> dict[str, int]:
        pool, _ = reader.pool(run_id)
        numbers = pool.triplet[reader.chosen(run_id, request.query)].tolist()
        if not 0 < len(numbers) <= MOST_ACTS:
            raise UserError(
                "query", f"{len(numbers):,} triplets pass; judge between 1 and {MOST_ACTS:,} at once."
            )
        acts = [Act(who=request.who, triplet=number, verdict=request.verdict) for number in numbers]
        return {"acts": len(reviews.record(run_id, acts))}

    @app.post("/runs/{run_id}/reviews/undo", dependencies=access.change)
    def undo(run_id: str, request: UndoRequest) -> dict[str, Any] | None:
        """Take back the reviewer's last act, or all of their last act on many; null where none is left."""
        scheduler.get(run_id)
        return reviews.log(run_id).undo(request.who)


def _add_selections(
    app: FastAPI, access: Access, scheduler: Scheduler, reader: TripletReader, reviews: Reviews
) -> None:
    @app.get("/runs/{run_id}/selections", dependencies=access.view)
    def selections(run_id: str) -> list[dict[str, Any]]:
        scheduler.get(run_id)
        return reviews.selections(run_id)

    @app.post("/runs/{run_id}/selections", dependencies=access.change)
    def save(run_id: str, request: SelectionRequest) -> dict[str, Any]:
        return reviews.save_selection(
            run_id, request.name, reader.selection(run_id, request.query, request.note)
        )

    @app.delete("/runs/{run_id}/selections", dependencies=access.change)
    def delete(run_id: str, name: str) -> dict[str, str]:
        scheduler.get(run_id)
        reviews.delete_selection(run_id, name)
        return {"deleted": name}
