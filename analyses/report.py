"""A study's claims, kept figures and their provenance as one HTML file that opens without a network."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.offline import get_plotlyjs

from analyses.figures import PLOTLY_CONFIG, webgl_traces
from analyses.sae_frames import claims_table

STYLE = """
body { font: 16px/1.5 Arial, Helvetica, 'DejaVu Sans', sans-serif; color: #1a1a1a; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-size: 14px; }
th, td { border-bottom: 1px solid #ccc; padding: .4rem .6rem; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { border-bottom: 2px solid #1a1a1a; }
figure { margin: 2rem 0; } figcaption { color: #595959; max-width: 60rem; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; }
"""
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
MOST_POINTS = 20_000


def report(
    study: Mapping[str, Any],
    claims: pd.DataFrame,
    figures: Sequence[Mapping[str, Any]],
    runs: Sequence[Mapping[str, Any]],
    made: str,
) -> str:
    """The page of a study: what was claimed and found here, the figures kept of its runs, and the runs behind both.

    `study` has title, paper, bibtex; `claims` is the store's table; each of `figures` has name, note, figure (plotly JSON) and
    runs; each of `runs` id, seeds, data_seed, fingerprint, code_version and command. `made` is the date. Text of all of them is
    data: it is escaped, and the page's policy lets nothing be fetched.
    """
    paper = study["paper"]
    cited = (
        f'<p>After <a href="https://arxiv.org/abs/{escape(paper)}">arXiv {escape(paper)}</a>.</p>'
        if paper
        else ""
    )
    parts = [
        f"<h1>{escape(study['title'])}</h1>",
        f"<p>Made with Concordance on {escape(made)}. Every number comes from a computation that ran on the machine of whoever "
        "made this report.</p>",
        cited,
        "<h2>Claims</h2>",
        _claims(claims),
        "<h2>Figures</h2>",
        *(_figure(number, figure) for number, figure in enumerate(figures, 1)),
        "" if figures else "<p>None were kept.</p>",
        "<h2>Runs</h2>",
        _runs(runs),
        f"<h2>To cite</h2><pre>{escape(study['bibtex'])}</pre>" if study["bibtex"] else "",
    ]
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(study['title'])}</title><style>{STYLE}</style>"
    )
    script = f"<script>{get_plotlyjs()}</script>" if figures else ""
    return f"{head}{script}</head><body>{''.join(parts)}</body></html>\n"


def _claims(claims: pd.DataFrame) -> str:
    if claims.empty:
        return "<p>Not tested on this machine.</p>"
    return _table(claims_table(claims)) + "".join(
        f"<p><b>{escape(str(row['claim']))}</b>: {escape(str(row['rule']))}</p>"
        for row in claims.to_dict("records")
    )


def _table(frame: pd.DataFrame) -> str:
    def row(values: Any, tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(value))}</{tag}>" for value in values) + "</tr>"

    body = "".join(row(values, "td") for values in frame.itertuples(index=False))
    return f"<table><thead>{row(frame.columns, 'th')}</thead><tbody>{body}</tbody></table>"


def _figure(number: int, kept: Mapping[str, Any]) -> str:
    drawn, left_out = _without_webgl(pio.from_json(kept["figure"], skip_invalid=True))
    alt = (drawn.layout.meta or {}).get("alt", kept["name"])
    chart = pio.to_html(drawn, include_plotlyjs=False, full_html=False, config=PLOTLY_CONFIG)
    runs = ", ".join(run["id"] for run in kept["runs"]) or "none named"
    note = f" {escape(kept['note'])}" if kept["note"] else ""
    sql = f" <code>{escape(kept['sql'])}</code>" if kept.get("sql") else ""
    return (
        f'<figure role="group" aria-label="{escape(alt)}">{chart}'
        f"<figcaption><b>Figure {number}: {escape(kept['name'])}.</b>{note} {escape(alt)}{left_out} Runs: {escape(runs)}.{sql}</figcaption></figure>"
    )


def _without_webgl(figure: go.Figure) -> tuple[go.Figure, str]:
    """The figure in SVG alone, and a sentence where more than `MOST_POINTS` would stand in it at once.

    plotly's WebGL traces compile functions from text, which `POLICY` forbids.
    """
    spec = figure.to_plotly_json()
    traces = webgl_traces(spec)
    total = sum(size for _, size in traces)
    for trace, size in traces:
        trace["type"] = "scatter"
        if total > MOST_POINTS:
            trace.setdefault("marker", {})["maxdisplayed"] = max(1, MOST_POINTS * size // total)
    words = f" At most {MOST_POINTS:,} of its {total:,} points are drawn at once; zoom in for the others."
    return go.Figure(spec, skip_invalid=True), words if total > MOST_POINTS else ""


def _runs(runs: Sequence[Mapping[str, Any]]) -> str:
    if not runs:
        return "<p>None.</p>"
    frame = pd.DataFrame(
        [
            {
                "Run": run["id"],
                "Seeds": ", ".join(map(str, run["seeds"])),
                "Data seed": run["data_seed"],
                "Data": run["fingerprint"] or "from the config",
                "Code": run["code_version"],
                "Command": run["command"],
            }
            for run in runs
        ]
    )
    return _table(frame) + "".join(
        f"<details><summary>Settings of {escape(run['id'])}</summary>"
        f"<pre>{escape(json.dumps(run['config'], indent=1, sort_keys=True, ensure_ascii=False))}</pre></details>"
        for run in runs
    )
