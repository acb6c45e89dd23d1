"""Claims of studies as Markdown tables, for the documentation: rows as `concordance verify --json` prints them."""

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
HEAD = "| claim | paper | here: mean [95 % interval], seeds | chance | best simple baseline | verdict |\n|---|---|---|---|---|---|"
SUMMARY_HEAD = "| study | shown | not shown | not tested |\n|---|---|---|---|"
VERDICTS = ("shown", "not shown", "not tested")


def claims_markdown(rows: Sequence[Row]) -> str:
    """One row a claim: its sentence, the paper's figure, the figure here beside chance and baseline, the verdict."""
    return "\n".join([HEAD, *map(_line, rows)]) + "\n"


def studies_markdown(rows: Sequence[Row], titles: Mapping[str, str]) -> str:
    """How many claims of each study were shown, then for each study the table of those tested.

    `titles` are the studies' titles by name, in the order to list them; a study's page is NAME.md beside this one.
    """
    by_study = {name: [row for row in rows if row["study"] == name] for name in titles}
    lines = [SUMMARY_HEAD]
    for name, mine in by_study.items():
        counts = " | ".join(str(sum(row["verdict"] == verdict for row in mine)) for verdict in VERDICTS)
        lines.append(f"| [{titles[name]}]({name}.md) | {counts} |")
    parts = ["\n".join(lines) + "\n"]
    for name, mine in by_study.items():
        tested = [row for row in mine if row["verdict"] != "not tested"]
        left = len(mine) - len(tested)
        more = f"{left} of its {len(mine)} claims are not tested at this size; [{name}.md]({name}.md) has them.\n"
        body = [claims_markdown(tested)] if tested else []
        parts.append("\n".join([f"### {titles[name]}\n", *body, *([more] if left else [])]))
    return "\n".join(parts)


def _line(row: Row) -> str:
    figures = [_figure(row), _number(row["chance"]), _baseline(row)]
    cells = [row["sentence"], row["paper"], *figures, f"**{row['verdict']}**"]
    return f"| {' | '.join(_cell(str(cell)) for cell in cells)} |"


def _figure(row: Row) -> str:
    if row["value"] is None:
        return "–"
    interval = "" if row["low"] is None else f" [{_number(row['low'])}, {_number(row['high'])}]"
    return f"{_number(row['value'])}{interval}, {row['seeds']}"


def _baseline(row: Row) -> str:
    named = f" ({row['baseline_name']})" if row["baseline_name"] else ""
    return "–" if row["baseline"] is None else _number(row["baseline"]) + named


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:z.3f}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
