"""Frames and pictures of recurrent reasoners: what changes, what is wrong, intervals over seeds, attention, likeness."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analyses.sr2_board import COLOURS, attention_figure, board_figure
from analyses.sr2_figures import (
    accuracy_curves,
    arms_figure,
    cell_timeline,
    likeness_figure,
    paths_figure,
    residual_curves,
    rules_curves,
    training_figure,
)
from analyses.sr2_frames import (
    ALL_HEADS,
    Puzzle,
    accuracy,
    arm_scores,
    attended,
    broken_rules,
    cell_name,
    likeness_by_block,
    live_frames,
    over_seeds,
    puzzle_text,
    stored_puzzle,
    total_broken,
    with_changes,
)

VERMILLION = "#D55E00"
GIVEN = "1000" + "0200" + "0030" + "0004"
SOLVED = "1342" + "4213" + "2431" + "3124"


@pytest.fixture
def puzzle() -> Puzzle:
    return stored_puzzle("sudoku", 4, {"given": GIVEN, "solution": SOLVED})


def cells_of(*boards: str, solution: str | None = SOLVED) -> pd.DataFrame:
    rows = [
        {
            "iteration": step, "cell": cell, "token": int(token), "confidence": 0.5 + step / 10, "entropy": 0.1,
            "correct": None if solution is None else token == solution[cell], "residual": 1 / step,
        }
        for step, board in enumerate(boards, 1)
        for cell, token in enumerate(board)
    ]  # fmt: skip
    return with_changes(pd.DataFrame(rows))


def drawn(figure: Any, colour: str) -> int:
    """Squares outlined in a colour."""
    lines = [trace for trace in figure.select_traces({"mode": "lines"}) if trace.line.color == colour]
    return sum(x is None for trace in lines for x in trace.x)


class TestFrames:
    def test_last_change_counts_from_the_last_new_token(self) -> None:
        cells = cells_of("1" * 16, "1" * 16, "2" + "1" * 15, "2" + "1" * 15)
        first = cells[cells["cell"] == 0].sort_values("iteration")
        other = cells[cells["cell"] == 7].sort_values("iteration")
        assert list(first["since"]) == [0, 1, 0, 1] and list(first["changed"]) == [True, False, True, False]
        assert list(other["since"]) == [0, 1, 2, 3]

    def test_a_change_back_counts_too(self) -> None:
        cells = cells_of("1" * 16, "2" * 16, "1" * 16)
        assert set(cells.loc[cells["iteration"] == 3, "since"]) == {0}

    def test_a_puzzle_is_written_as_one_would_type_it(self, puzzle: Puzzle) -> None:
        assert puzzle_text(puzzle) == "1...\n.2..\n..3.\n...4"
        maze = Puzzle("maze", 3, np.array([0, 2, 0, 0, 1, 0, 0, 3, 0]), None)
        assert puzzle_text(maze) == "#S#\n#.#\n#G#"
        assert list(maze.is_wall.nonzero()[0]) == [0, 2, 3, 5, 6, 8] and list(maze.is_given.nonzero()[0]) == [
            1,
            7,
        ]

    def test_intervals_are_over_seeds_and_none_for_one(self) -> None:
        rows = pd.DataFrame({"iteration": [1, 1, 1, 2], "exact": [0.2, 0.4, 0.6, 0.9]})
        found = over_seeds(rows, ["iteration"], "exact")
        half = 4.30265 * 0.2 / np.sqrt(3)
        assert found.loc[0, ["mean", "low", "high"]].tolist() == pytest.approx(
            [0.4, max(0, 0.4 - half), 0.4 + half]
        )
        assert pd.isna(found.loc[1, "low"]) and found.loc[1, "seeds"] == 1

    def test_a_live_answer_has_the_columns_of_a_stored_one(self) -> None:
        answer = _answer(solution=[1, 2])
        cells, boards = live_frames(answer)
        assert cells["correct"].tolist() == [True, False, True, True]
        assert boards["trained"].tolist() == [True, False] and boards["block_end"].tolist() == [True, True]
        assert total_broken(boards).tolist() == [3, 0]
        assert set(broken_rules(boards)["kind"]) == {"row", "column"}
        cells, boards = live_frames(_answer(solution=None))
        assert cells["correct"].isna().all() and boards["exact"].isna().all()

    def test_attention_is_a_mean_over_heads_with_gaps_where_nothing_is_stored(self) -> None:
        rows = pd.DataFrame(
            {
                "head": [0, 0, 1, 1],
                "cell": [3, 3, 3, 2],
                "attended": [0, 1, 1, 0],
                "weight": [0.6, 0.4, 0.8, 1.0],
            }
        )
        both = attended(rows, 3, ALL_HEADS, 4)["weight"]
        assert both.iloc[:2].tolist() == pytest.approx([0.3, 0.6]) and both.iloc[2:].isna().all()
        one = attended(rows, 3, 1, 4)["weight"]
        assert one.iloc[1] == 0.8 and one.drop(1).isna().all()


def _answer(solution: list[int] | None) -> dict[str, Any]:
    boards = [([1, 1], 0, {"row": 1, "column": 2}), ([1, 2], 1, {"row": 0, "column": 0})]
    return {
        "solution": solution,
        "trained_blocks": 1,
        "iterations": [
            {
                "iteration": step, "block": block, "tokens": tokens, "confidence": [0.9, 0.8], "entropy": [0.1, 0.2],
                "cell_residual": [1.0, 2.0], "residual": 2.2, "violations": broken,
                "solved": None if solution is None else tokens == solution,
            }
            for step, (tokens, block, broken) in enumerate(boards, 1)
        ],
    }  # fmt: skip


class TestBoard:
    def test_wrong_cells_are_framed_and_clues_bold(self, puzzle: Puzzle) -> None:
        wrong = "2342" + SOLVED[4:15] + "1"
        cells = cells_of(wrong)
        figure = board_figure(puzzle, cells, COLOURS["Confidence"], title="seed 0", subtitle="")
        assert drawn(figure, VERMILLION) == 2
        text = next(figure.select_traces({"mode": "text"})).text
        assert list(text[:6]) == ["<b>1</b>", "3", "4", "2", "4", "<b>2</b>"]
        assert "2 wrong" in figure.layout.meta["alt"]

    def test_nothing_is_wrong_without_a_solution(self) -> None:
        unknown = Puzzle("sudoku", 4, np.array([int(c) for c in GIVEN]), None)
        cells = cells_of("2" * 16, solution=None)
        figure = board_figure(unknown, cells, COLOURS["Confidence"], title="", subtitle="")
        assert drawn(figure, VERMILLION) == 0 and "not known" in figure.layout.meta["alt"]

    @pytest.mark.parametrize("name", list(COLOURS))
    def test_every_colour_and_a_chosen_cell(self, puzzle: Puzzle, name: str) -> None:
        cells = cells_of(SOLVED, SOLVED)
        now = cells[cells["iteration"] == 2]
        figure = board_figure(puzzle, now, COLOURS[name], title="", subtitle="", high=4.0, chosen=5)
        assert figure.data[0].z[1][1] == pytest.approx(
            {"Confidence": 0.7, "Last change": 1, "Movement": 0.5}[name]
        )
        assert drawn(figure, "#CC79A7") == 1
        handles = next(trace for trace in figure.data[1:] if trace.customdata is not None)
        assert [row[0] for row in handles.customdata] == list(range(16))

    def test_attention_leaves_grey_what_is_not_stored(self, puzzle: Puzzle) -> None:
        weights = pd.DataFrame({"cell": range(16), "weight": [0.5, 0.25, *[np.nan] * 14]})
        figure = attention_figure(puzzle, weights, [0] * 16, 5, title="", subtitle="")
        assert figure.data[0].zmax == 0.5 and np.isnan(figure.data[0].z[3][3])
        assert [trace.name for trace in figure.data if trace.name] == ["given", "chosen"]
        assert cell_name(5, 4) == "row 2, column 2" and "row 2, column 2" in figure.layout.meta["alt"]


def iterations(exact: list[float], trained: int, seeds: int = 2) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "seed": seed,
                "iteration": step,
                "trained": step <= trained,
                "exact": value + seed / 100,
                "cell": value,
            }
            for seed in range(seeds)
            for step, value in enumerate(exact, 1)
        ]
    )


class TestCurves:
    def test_what_is_logged_is_called_by_its_name(self) -> None:
        rows = [{"step": step, "seed": 0, "validation_exact": step / 10} for step in (1, 2)]
        figure = training_figure(rows, "validation_exact")
        assert figure.layout.yaxis.title.text == "Puzzles solved exactly, validation"
        assert figure.layout.yaxis.tickformat == ".0%" and figure.data[0].y.tolist() == [0.1, 0.2]

    def test_accuracy_is_solid_to_the_trained_number_and_dotted_beyond(self) -> None:
        arms = {"SR²": iterations([0.1, 0.5, 0.6, 0.7], 2), "a<b": iterations([0.1, 0.2], 2, seeds=1)}
        frame = accuracy(arms, "exact")
        assert frame.loc[(frame["arm"] == "SR²") & (frame["iteration"] == 2), "mean"].item() == pytest.approx(
            0.505
        )
        figure = accuracy_curves(frame, "exact", {"SR²": 2, "a<b": 2})
        solid, dotted = (
            trace for trace in figure.data if trace.mode == "lines" and trace.legendgroup == "SR²"
        )
        assert list(solid.x) == [1, 2] and list(dotted.x) == [2, 3, 4] and dotted.line.dash == "dot"
        assert "a&lt;b" in [trace.name for trace in figure.data]
        assert len(figure.layout.shapes) == 1 and figure.layout.shapes[0].x0 == 2
        assert len(accuracy_curves(frame, "exact", {"SR²": 2, "a<b": 1}).layout.shapes) == 0

    def test_arms_are_ordered_and_carry_their_seeds(self) -> None:
        one = {"cell": 0.9, "valid": 0.5, "first_block_exact": 0.1, "longest_exact": 0.6, "parameters": 10}
        more = {**one, "teraflops": 1.0, "steps": 5, "trained_iterations": 4}
        models = {
            "worse": pd.DataFrame([{"seed": 0, "exact": 0.1, **more}]),
            "better": pd.DataFrame([{"seed": s, "exact": 0.5 + s / 10, **more} for s in range(3)]),
        }
        scores = arm_scores(models)
        assert list(scores["arm"]) == ["better", "worse"] and list(scores["seeds"]) == [3, 1]
        dots = pd.concat([part.assign(arm=name) for name, part in models.items()])
        figure = arms_figure(scores, dots)
        assert len(figure.data[0].x) == 4 and list(figure.data[1].error_x.array)[1] == 0

    def test_rules_stack_to_their_sum_and_the_place_is_marked(self) -> None:
        rules = pd.DataFrame(
            {"name": ["row", "row", "box", "box"], "iteration": [1, 2, 1, 2], "broken": [3, 0, 2, 1]}
        )
        figure = rules_curves(rules, 1, 2, stacked=True)
        assert {trace.stackgroup for trace in figure.data} == {"rules"} and "5 at iteration 1" in str(
            figure.layout.title
        )
        assert {shape.x0 for shape in figure.layout.shapes} == {1, 2}
        moved = pd.DataFrame({"name": "a", "iteration": [1, 2], "residual": [10.0, 0.01]})
        assert residual_curves(moved, 1, None).layout.yaxis.type == "log"

    def test_likeness_stands_beside_chance(self) -> None:
        rows = pd.DataFrame(
            {
                "block": [0, 0, 1, 1], "mcc_pearson": [0.4, 0.6, 0.5, 0.5], "mcc_null": 0.2, "cka": 0.7, "cka_null": 0.1,
                "cell_cka": 0.9,
            }
        )  # fmt: skip
        frame = likeness_by_block(rows)
        first = frame[(frame["block"] == 1) & frame["measure"].str.startswith("MCC")].iloc[0]
        assert first[["mean", "low", "high", "chance"]].tolist() == pytest.approx([0.5, 0.4, 0.6, 0.2])
        names = [trace.name for trace in likeness_figure(frame, 2).data if trace.name]
        assert "MCC, puzzles shuffled" in names and "CKA of single cells" in names
        assert "add seeds" in likeness_figure(likeness_by_block(rows.iloc[:0]), 2).layout.meta["alt"]

    def test_path_and_timeline(self) -> None:
        places = pd.DataFrame(
            {"puzzle": [0, 0, 1, 1], "iteration": [1, 2, 1, 2], "x": [0, 1, 0, 2], "y": 0, "explained_x": 0.6, "explained_y": 0.2}
        )  # fmt: skip
        figure = paths_figure(places, 1)
        assert list(figure.data[-1].x) == [0, 2] and "60%" in figure.layout.xaxis.title.text
        cells = cells_of("2" * 16, SOLVED)
        cells = cells[cells["cell"].isin([1, 2])].sort_values(["cell", "iteration"])
        drawn_cells = cell_timeline(cells, ["b", "c"], {i: str(i) for i in range(5)}, 2)
        right, wrong = (trace for trace in drawn_cells.select_traces({"mode": "markers+text"}))
        assert list(right.text) == ["3", "4"] and list(wrong.text) == ["2", "2"]
        assert "2 changes" in drawn_cells.layout.title.subtitle.text
