"""Triplets as files: LLaVA's JSON with its images, Parquet with images inside, CSV, one HTML sheet."""

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.triplet_pool import Cut

if TYPE_CHECKING:
    from engine.triplets import TripletReader

FORMATS = {
    "llava": ("zip", "application/zip"),
    "parquet": ("parquet", "application/vnd.apache.parquet"),
    "csv": ("csv", "text/csv"),
    "html": ("html", "text/html"),
}
SHEET = 1_000  # triplets of an HTML sheet at most
LIST, FOLDER, README = "llava.json", "images", "README.md"
COLUMNS = (
    "triplet", "seed", "round", "image", "type", "question", "answer", "question_again", "answer_again", "sim_question",
    "sim_answer", "score", "place", "size", "share", "logp_generation", "logp_answer", "truth", "kept", "verdicts", "edited",
    "name", "tier", "licence",
)  # fmt: skip
ABOUT = """# {n:,} triplets of run {run}

`{list}` is LLaVA's conversation format: a list of {{"id", "image", "conversations"}}; `image` is a path beside it.

    from datasets import load_dataset
    rows = load_dataset("json", data_files="{list}", split="train")

Texts that a reviewer edited stand as edited. Images: {origins}.
"""


def write_file(format: str, reader: "TripletReader", run_id: str, at: NDArray[np.int64], cut: Cut) -> bytes:
    """The triplets at these places of the pool in one of `FORMATS`; edited texts stand for the model's."""
    rows = reader.rows(run_id, at[:SHEET] if format == "html" else at, cut)
    if format == "html":
        first = (
            f"The first {SHEET:,} of {len(at):,} triplets." if len(at) > SHEET else f"{len(at):,} triplets."
        )
        from analyses.srf_html import sheet_html

        return sheet_html(
            rows.to_pylist(), f"Triplets of run {run_id}", [first, f"Images: {_origins(rows)}."]
        ).encode()
    writers = {"llava": _llava, "parquet": _parquet, "csv": _csv}
    return writers[format](_final(rows), run_id)


def _final(rows: pa.Table) -> pa.Table:
    """Rows with the reviewers' texts in place of those they edited, and `edited`."""
    edited = [text is not None for text in rows["edited_question"].to_pylist()]
    for name in ("question", "answer"):
        texts = zip(rows[f"edited_{name}"].to_pylist(), rows[name].to_pylist(), strict=True)
        merged = pa.array([own if new is None else new for new, own in texts], pa.string())
        rows = rows.set_column(rows.schema.get_field_index(name), name, merged)
    return rows.append_column("edited", pa.array(edited, pa.bool_()))


def _csv(rows: pa.Table, run_id: str) -> bytes:
    from analyses.figures import to_csv

    return to_csv(rows.select(COLUMNS))


def _parquet(rows: pa.Table, run_id: str) -> bytes:
    """`datasets` reads the images of this file as images."""
    names = [_file_name(row) for row in rows.select(["image", "image_seed"]).to_pylist()]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pictures = pa.StructArray.from_arrays(
        [rows["png"].combine_chunks(), pa.array(names, pa.string())], fields=list(kind)
    )
    table = rows.select(COLUMNS).rename_columns(
        [{"image": "image_number"}.get(name, name) for name in COLUMNS]
    )
    table = table.append_column("image", pictures)
    features: dict[str, Any] = {
        field.name: {"dtype": {"double": "float64"}.get(str(field.type), str(field.type)), "_type": "Value"}
        for field in table.schema
    }
    features["image"] = {"_type": "Image"}
    about = {"huggingface": json.dumps({"info": {"features": features}}), "run": run_id}
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(about), sink)
    return sink.getvalue()


def _llava(rows: pa.Table, run_id: str) -> bytes:
    """A zip of the list and the images it names, each once."""
    entries, images = [], {}
    for row in rows.to_pylist():
        path = f"{FOLDER}/{_file_name(row)}"
        if row["png"]:
            images[path] = row["png"]
        turns = [("human", f"<image>\n{row['question']}"), ("gpt", row["answer"])]
        entries.append(
            {
                "id": f"{run_id}-{row['triplet']}",
                "image": path,
                "conversations": [{"from": who, "value": text} for who, text in turns],
            }
        )
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as file:
        file.writestr(LIST, json.dumps(entries, ensure_ascii=False, indent=1))
        about = ABOUT.format(n=len(entries), run=run_id, list=LIST, origins=_origins(rows))
        file.writestr(README, about)
        for path, content in images.items():
            file.writestr(path, content)
    return sink.getvalue()


def _file_name(row: dict[str, Any]) -> str:
    return f"{row['image_seed'] or 0}-{row['image']:06d}.png"


def _origins(rows: pa.Table) -> str:
    kinds = zip(rows["tier"].to_pylist(), rows["licence"].to_pylist(), strict=True)
    return "; ".join(sorted({", ".join(filter(None, kind)) or "unknown origin" for kind in kinds}))
