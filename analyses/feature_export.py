"""A table of features as Parquet, and the notebook cell that asks the engine for the same view."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

OPTIONAL = {"order": "density", "descending": True, "limit": 100, "offset": 0, "dead": "all"}


def to_parquet(frame: pd.DataFrame) -> bytes:
    """The frame as a Parquet file, zstd."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), buffer, compression="zstd")
    return buffer.getvalue()


def notebook_cell(
    query: Mapping[str, Any], opened: Sequence[tuple[str, int, int]] = (), beside: Sequence[str] = ()
) -> str:
    """Python that asks the engine for a page of features, and for cards with their histograms.

    `query`: arguments of `engine.client.Client.features`; `opened`: run, seed and feature of each card; `beside`: runs
    whose twins stand on the cards.
    """
    kept = {name: value for name, value in query.items() if not _is_default(name, value)}
    arguments = "".join(f"    {name}={value!r},\n" for name, value in kept.items())
    lines = [
        *(["from analyses.feature_card import histogram_figure"] if opened else []),
        "from engine.client import connect",
        "",
        "client = connect()",
        f"table, total = client.features(\n{arguments})",
        "features = table.to_pandas()",
    ]
    if opened:
        others = f", beside={list(beside)!r}" if beside else ""
        calls = "".join(
            f"    client.card({run!r}, {seed}, {feature}{others}),\n" for run, seed, feature in opened
        )
        lines += [
            f"cards = [\n{calls}]",
            "figures = [histogram_figure(card) for card in cards]",
            "figures[0]",
        ]
    else:
        lines.append("features")
    return "\n".join(lines) + "\n"


def _is_default(name: str, value: Any) -> bool:
    return value in (None, "") or (name in OPTIONAL and OPTIONAL[name] == value)
