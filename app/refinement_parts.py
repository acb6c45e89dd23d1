"""What the parts of the page Refinement share: the run, the runs beside it, boards, the first strip."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from analyses.matching import mean_interval
from analyses.sr2_frames import Puzzle, stored_puzzle, with_changes
from app.connection import table
from app.refinement_words import labels, puzzles, same_puzzles
from app.study_runs import Run
from app.widgets import describe

STUDY = "sr2"
MOST_BESIDE = 16
TIER = "synthetic, from a generator; every puzzle has exactly one solution, proved by an exact solver"


@dataclass(frozen=True)
class Board:
    """One solver on one puzzle: its cells and boards over the iterations (as stored, or as solved live)."""

    label: str
    puzzle: Puzzle
    cells: pd.DataFrame
    boards: pd.DataFrame
    run: Run
    seed: int

    @property
    def steps(self) -> list[int]:
        return [int(step) for step in self.boards["iteration"]]

    @property
    def trained(self) -> int:
        """The last iteration that was trained."""
        return int(self.boards.loc[self.boards["trained"].astype(bool), "iteration"].max())

    def at(self, step: int) -> int:
        """The last stored iteration up to `step`."""
        return max([one for one in self.steps if one <= step], default=self.steps[0])


def choose_beside(run: Run, known: dict[str, Run]) -> list[Run]:
    """The run and those chosen beside it, which were tested on the same puzzles; kept in the link as ?beside=."""
    others = {
        id: other for id, other in known.items()
        if id != run["id"] and other["state"] == "done" and same_puzzles(run, other)
    }  # fmt: skip
    if not others:
        st.session_state.pop("beside", None)
        return [run]
    launched = [id for id, other in others.items() if run["group"] and other["group"] == run["group"]]
    asked = [id for id in st.query_params.get("beside", "").split(",") if id in others]
    if st.session_state.get("beside_of") != run["id"]:
        st.session_state["beside_of"] = run["id"]
        st.session_state["beside"] = (asked or launched)[:MOST_BESIDE]
    st.session_state["beside"] = [id for id in st.session_state["beside"] if id in others]
    chosen = st.multiselect(
        "Beside it, runs tested on the same puzzles",
        list(others),
        key="beside",
        format_func=lambda id: describe(others[id]),
        max_selections=MOST_BESIDE,
        placeholder="none",
    )
    if st.query_params.get("beside", "") != ",".join(chosen):
        st.query_params["beside"] = ",".join(chosen)
    return [run, *(others[id] for id in chosen)]


def named(runs: Sequence[Run]) -> dict[str, Run]:
    """The runs by what sets them apart."""
    return dict(zip(labels(runs), runs, strict=True))


@st.cache_data(max_entries=200, show_spinner=False)
def _cells(run_id: str, seed: int, puzzle: int) -> pd.DataFrame:
    return with_changes(table(run_id, "sr2_cells", {"seed": seed, "puzzle": puzzle}))


def puzzle_of(run: Run, number: int) -> Puzzle:
    """A kept test puzzle."""
    rows = table(run["id"], "sr2_puzzles", {"puzzle": number})
    return stored_puzzle(run["config"]["puzzle"], run["config"]["side"], rows.iloc[0].to_dict())


def stored_board(run: Run, seed: int, number: int, label: str) -> Board:
    """What a seed did with a kept test puzzle."""
    boards = table(run["id"], "sr2_boards", {"seed": seed, "puzzle": number}, "iteration")
    return Board(label, puzzle_of(run, number), _cells(run["id"], seed, number), boards, run, seed)


def interval_words(values: pd.Series, format: str = ".3f") -> str:
    """The 95 % interval over seeds in words, cut at 0 and 1."""
    if len(values) < 2:
        return "no interval from one seed"
    low, high = mean_interval(values)
    return f"95 % {max(0.0, low):{format}} to {min(1.0, high):{format}}"


def first_strip(run: Run) -> None:
    """Consistency across seeds · null · what is solved; and of which data."""
    models, alike = table(run["id"], "sr2_models"), table(run["id"], "sr2_consistency")
    last = _last_block(run, alike)
    cells: list[tuple[str, str, str]] = []
    for name, column, chance in (
        ("MCC between seeds", "mcc_pearson", "mcc_null"),
        ("CKA between seeds", "cka", "cka_null"),
    ):
        cells.append((name, _mean(last, column), _range(last, column)))
        cells.append((f"Chance, {name[:3]}", _mean(last, chance), "one seed's puzzles shuffled"))
    cells.append(("Solved exactly", f"{models['exact'].mean():.1%}", interval_words(models["exact"], ".1%")))
    cells.append(("Open cells right", f"{models['cell'].mean():.1%}", interval_words(models["cell"], ".1%")))
    for place, (name, value, note) in zip(st.columns(len(cells)), cells, strict=True):
        place.metric(name, value)
        place.caption(note)
    st.caption(f"Data: {puzzles(run['config'])}, {TIER}.")


def _last_block(run: Run, alike: pd.DataFrame) -> pd.DataFrame:
    """The pairs of seeds at the end of the last trained block."""
    return alike[alike["block"] == n_blocks(run) - 1]


def n_blocks(run: Run) -> int:
    """Alignment blocks that were trained."""
    config: dict[str, Any] = run["config"]
    return 1 if config["model"] == "feed_forward" else int(config["blocks"])


def _mean(rows: pd.DataFrame, column: str) -> str:
    return f"{rows[column].mean():.3f}" if len(rows) else "–"


def _range(rows: pd.DataFrame, column: str) -> str:
    if rows.empty:
        return "needs two seeds"
    if len(rows) == 1:
        return "last trained block, one pair"
    return f"{rows[column].min():.3f} to {rows[column].max():.3f}, {len(rows)} pairs"
