"""`concordance match`: two dictionaries from files, matched without an engine."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from data.files import atomic_write
from engine.errors import UserError

if TYPE_CHECKING:
    from engine.match_report import MatchReport, Pair, Side

USAGE_ERROR = 2
SHOWN = 10


def match_command(
    a: Annotated[
        str,
        typer.Argument(
            help="Folder saved by sae-lens, dictionary_learning, sparsify or Concordance; or RUN:SEED."
        ),
    ],
    b: Annotated[str, typer.Argument(help="The other dictionary, named the same way.")],
    out: Annotated[
        Path | None, typer.Option(help="Write the JSON (docs/match.schema.json) to this file.")
    ] = None,
    subset: Annotated[
        Literal["all", "alive"], typer.Option(help="Features to match; alive needs RUN:SEED.")
    ] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Match the features of two SAEs one to one by absolute cosine, beside what chance gives."""
    from engine.match_report import match_report, open_dictionary

    try:
        report = match_report(open_dictionary(a, subset), open_dictionary(b, subset), subset)
        text = report.model_dump_json(indent=2)
        if out is not None:
            _write(out, text + "\n")
    except UserError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(USAGE_ERROR) from None
    print(text if as_json else table(report))


def _write(path: Path, text: str) -> None:
    try:
        atomic_write(path, text)
    except OSError as error:
        raise UserError("out", f"{path} cannot be written ({error.strerror}); name another file.") from None


def table(report: "MatchReport") -> str:
    """The summary, the warnings, and the best and worst pairs, for reading in a terminal."""
    s = report.summary
    lines = [
        _side("A", report.a),
        _side("B", report.b),
        "",
        f"PW-MCC      {s.pw_mcc_abs:.4f}  over {s.n} pairs, {100 * s.shared_share:.1f} % of them at |cosine| ≥ 0.7",
        f"signed      {s.pw_mcc_signed:.4f}",
        f"chance      {s.null_mean:.4f}" + (f" ± {s.null_std:.4f}" if s.null_draws else "  (analytic)"),
        f"calibrated  {s.calibrated:.4f}",
        f"max cosine  {s.max_cosine_ab:.4f} of A in B, {s.max_cosine_ba:.4f} of B in A (many to one)",
    ]
    if report.method.optimality_gap > 0:
        lines.append(f"within      {report.method.optimality_gap:.1e} of the best matching")
    lines += ["", *report.warnings] if report.warnings else []
    if s.n <= 2 * SHOWN:
        return "\n".join([*lines, "", *_pairs("Pairs", report.pairs)])
    best, worst = _pairs("Best pairs", report.pairs[:SHOWN]), _pairs("Worst pairs", report.pairs[-SHOWN:])
    return "\n".join([*lines, "", *best, "", *worst])


def _side(name: str, side: "Side") -> str:
    part = "" if side.n_features == side.d_sae else f", {side.n_features} alive"
    return f"{name}  {side.source}  ({side.format}, {side.architecture}, {side.d_sae} × {side.d_in}{part})"


def _pairs(title: str, pairs: "list[Pair]") -> list[str]:
    head = f"{title:<12}  feature of A  feature of B   cosine"
    return [head, *(f"{p.rank:>12}  {p.feature_a:>12}  {p.feature_b:>12}  {p.cosine:>7.4f}" for p in pairs)]
