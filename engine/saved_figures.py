"""Figures kept for a paper: the picture, the numbers behind it, and where they came from; `figures/ID/` in the state folder."""

import io
import json
import re
import shutil
import time
import zipfile
from hashlib import sha256
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote_plus

import pyarrow as pa
import pyarrow.csv as pacsv
from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from data.files import atomic_folder, read_json, write_json
from engine.access import Access
from engine.errors import UserError
from engine.figures import MAX_BYTES
from engine.identity import RUN_ID
from engine.scheduler import Scheduler

PROVENANCE = ("id", "study", "seeds", "data_seed", "fingerprint", "code_version", "config")
MOST = 2_000


class FigureRequest(BaseModel):
    """A picture as a page shows it: plotly JSON, the CSV of its frame, the page's address within the app."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
    link: Annotated[str, StringConstraints(max_length=8_000, pattern=r"^[a-z][a-z0-9-]*(\?\S*)?$")]
    figure: Annotated[str, StringConstraints(max_length=MAX_BYTES)]
    csv: Annotated[str, StringConstraints(max_length=MAX_BYTES)]
    note: Annotated[str, StringConstraints(max_length=10_000)] = ""


class FigureName(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
    note: Annotated[str, StringConstraints(max_length=10_000)] = ""


class ZipRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ids: list[str] = Field(min_length=1, max_length=MOST)


class SavedFigures:
    """A folder a figure: meta.json, figure.json, data.csv. It appears whole or not at all."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler, self.folder = scheduler, scheduler.home / "figures"

    def save(self, request: FigureRequest) -> dict[str, Any]:
        """Keep a figure; one with the same picture, data and link stays as it was kept first. Raises UserError."""
        _sound(request)
        key = "\0".join((request.link, request.figure, request.csv))
        figure_id = sha256(key.encode()).hexdigest()[:12]
        if (path := self.folder / figure_id / "meta.json").exists():
            return dict(read_json(path))
        if len(self.listing()) >= MOST:
            raise UserError("figure", f"{MOST:,} figures are kept already; delete some under Library.")
        runs = [
            {name: self.scheduler.get(run).record[name] for name in PROVENANCE}
            for run in dict.fromkeys(RUN_ID.findall(unquote_plus(request.link)))
            if self.scheduler.knows(run)
        ]
        meta = {
            "id": figure_id,
            "name": request.name,
            "note": request.note,
            "link": request.link,
            "created": time.time(),
            "runs": runs,
            "sql": _sql(request.link, [run["id"] for run in runs]),
        }
        with atomic_folder(self.folder / figure_id) as temporary:
            (temporary / "figure.json").write_text(request.figure)
            (temporary / "data.csv").write_text(request.csv)
            write_json(temporary / "meta.json", meta)
        return meta

    def listing(self) -> list[dict[str, Any]]:
        """What is kept, newest first."""
        found = [
            read_json(path)
            for path in self.folder.glob("*/meta.json")
            if not path.parent.name.startswith(".")
        ]
        return sorted(found, key=lambda meta: meta["created"], reverse=True)

    def read(self, figure_id: str) -> dict[str, Any]:
        folder = self._of(figure_id)
        files = {name: (folder / f"{file}").read_text() for name, file in FILES.items()}
        return {**read_json(folder / "meta.json"), **files}

    def rename(self, figure_id: str, request: FigureName) -> dict[str, Any]:
        path = self._of(figure_id) / "meta.json"
        meta = {**read_json(path), "name": request.name, "note": request.note}
        write_json(path, meta)
        return meta

    def delete(self, figure_id: str) -> None:
        shutil.rmtree(self._of(figure_id))

    def archive(self, ids: list[str]) -> bytes:
        """A zip for a paper's appendix: each figure's plotly JSON, CSV and provenance, and a table of contents."""
        sink, lines = io.BytesIO(), ["# Figures", ""]
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, figure_id in enumerate(ids, 1):
                folder = self._of(figure_id)
                meta = read_json(folder / "meta.json")
                base = f"{number:02d}-{re.sub(r'[^A-Za-z0-9]+', '-', meta['name']).strip('-').lower() or figure_id}"
                for file in (*FILES.values(), "meta.json"):
                    archive.write(folder / file, f"{base}/{file}")
                runs = ", ".join(f"{run['study']} {run['id']} (seeds {run['seeds']})" for run in meta["runs"])
                lines.append(
                    f"{number}. {meta['name']}: {meta['link']}; runs: {runs or 'none'}. {meta['note']}".rstrip()
                )
                if sql := meta.get("sql"):
                    lines.append(indent(f"```sql\n{sql}\n```", "   "))
            archive.writestr("CONTENTS.md", "\n".join(lines) + "\n")
        return sink.getvalue()

    def _of(self, figure_id: str) -> Path:
        folder = self.folder / figure_id
        if not RUN_ID.fullmatch(figure_id) or not (folder / "meta.json").exists():
            raise UserError(
                "figure", f"{figure_id[:40]!r} is not kept here; choose one under Library, Figures."
            )
        return folder


FILES = {"figure": "figure.json", "csv": "data.csv"}


def _sql(link: str, runs: list[str]) -> str:
    """The SELECT that `concordance sql` answers with a picture's origin: the SQL page's own, else its runs; empty without both."""
    page, _, query = link.partition("?")
    if page == "sql":
        return parse_qs(query).get("sql", [""])[0]
    ids = ", ".join(f"'{run}'" for run in runs)
    return f"SELECT {', '.join(PROVENANCE)} FROM runs WHERE id IN ({ids})" if runs else ""


def _sound(request: FigureRequest) -> None:
    try:
        figure = json.loads(request.figure)
        is_figure = (
            isinstance(figure, dict)
            and isinstance(figure["data"], list)
            and isinstance(figure["layout"], dict)
        )
    except (ValueError, KeyError):
        is_figure = False
    if not is_figure:
        raise UserError("figure", "it is not plotly JSON with data and layout; send Figure.to_json().")
    try:
        pacsv.read_csv(io.BytesIO(request.csv.encode()))
    except pa.ArrowInvalid:
        raise UserError(
            "csv", "it is not a CSV table with a header; send the frame behind the figure."
        ) from None


def add_saved_figures(app: FastAPI, access: Access, scheduler: Scheduler) -> None:
    saved = SavedFigures(scheduler)

    @app.post("/saved-figures", dependencies=access.change)
    def save(request: FigureRequest) -> dict[str, Any]:
        return saved.save(request)

    @app.get("/saved-figures", dependencies=access.view)
    def listing() -> list[dict[str, Any]]:
        return saved.listing()

    @app.get("/saved-figures/{figure_id}", dependencies=access.view)
    def read(figure_id: str) -> dict[str, Any]:
        return saved.read(figure_id)

    @app.put("/saved-figures/{figure_id}", dependencies=access.change)
    def rename(figure_id: str, request: FigureName) -> dict[str, Any]:
        return saved.rename(figure_id, request)

    @app.delete("/saved-figures/{figure_id}", dependencies=access.change)
    def delete(figure_id: str) -> None:
        saved.delete(figure_id)

    @app.post("/saved-figures/archive", dependencies=access.view)
    def archive(request: ZipRequest) -> Response:
        return Response(saved.archive(request.ids), media_type="application/zip")
