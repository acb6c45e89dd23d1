"""A table of features as LaTeX and Parquet, and the notebook cell that asks the engine for the same view."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analyses.feature_text import number, visible

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}", "–": r"\textendash{}",
}  # fmt: skip
OPTIONAL = {"order": "density", "descending": True, "limit": 100, "offset": 0, "dead": "all"}


def latex(text: str) -> str:
    """`text` as literal characters in LaTeX, hyphens kept apart."""
    shown = "".join(LATEX.get(character, character) for character in visible(text))
    return re.sub("-(?=-)", "-{}", shown)


def table_latex(frame: pd.DataFrame, caption: str = "") -> str:
    """The frame as a booktabs `tabular` in a `table`; numbers with three significant digits, text escaped."""
    numeric = [
        pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) for kind in frame.dtypes
    ]
    head = " & ".join(latex(str(name).replace("_", " ")) for name in frame.columns)
    rows = [
        " & ".join(_latex_cell(value) for value in row) + r" \\"
        for row in frame.itertuples(index=False, name=None)
    ]
    align = "".join("r" if is_number else "l" for is_number in numeric)
    lines = [
        r"% needs \usepackage{booktabs,textcomp}; text of other scripts needs XeLaTeX or LuaLaTeX and a font that has it",
        r"\begin{table}",
        *([rf"\caption{{{latex(caption)}}}"] if caption else []),
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
        head + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_cell(value: Any) -> str:
    if isinstance(value, str):
        return latex(value)
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        return "yes" if value else "no"
    if value is None or pd.isna(value):
        return "--"
    text = number(float(value)).replace(",", r"\,") if not float(value).is_integer() else str(int(value))
    mantissa, _, power = text.partition("e")
    if power:
        return rf"${mantissa}\times10^{{{int(power)}}}$"
    return f"${text}$" if text.startswith("-") else text


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
