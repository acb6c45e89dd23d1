"""The claims of the paper and what bears on them, with rules written before anything was measured.

Differences are paired by seed: both models of a comparison saw the same puzzles in the same order. "Points" are shares of
test puzzles solved exactly, after the last trained block, with weights chosen on validation puzzles.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.studies.base import Claim, Measurement
from engine.studies.measuring import Floats, Measure, Tables, measured, measured_between
from engine.studies.sr2.presets import ARMS

Arm = dict[str, Any]


def runs(home: str, *arms: Arm) -> Callable[[str], list[dict[str, Any]]]:
    """Configs of a comparison, each a change of the preset `home`, for that preset and for "standard"; a tour has no time."""

    def wanted(preset: str) -> list[dict[str, Any]]:
        if preset == "tour" or (preset != home and (preset != "standard" or home == "paper")):
            return []
        return [{"preset": home, "config": arm} for arm in arms]

    return wanted


def per_seed(tables: Tables, column: str = "exact") -> Floats:
    """A column of `sr2_models`, by seed."""
    values: Floats = tables["sr2_models"].sort_by("seed")[column].to_numpy().astype(np.float64)
    return values


def difference(at_least: float = 0.0, column: str = "exact") -> Measure:
    """First model less the best of the others, per seed: its interval lies above 0 and its mean reaches `at_least`."""

    def measure(tables: list[Tables]) -> Measurement:
        first, others = tables[0], tables[1:]
        means = [per_seed(other, column).mean() for other in others]
        best = others[int(np.argmax(means))]
        gap = per_seed(first, column) - per_seed(best, column)
        return measured(gap, lambda mean, low, high: low > 0 and mean >= at_least, float(max(means)))

    return measure


def level(at_least: float, low_at_least: float) -> Measure:
    """Share solved by the first model: its mean and the lower end of its interval reach two levels."""

    def measure(tables: list[Tables]) -> Measurement:
        baseline = float(per_seed(tables[1]).mean()) if len(tables) > 1 else None
        return measured(
            per_seed(tables[0]), lambda mean, low, high: mean >= at_least and low >= low_at_least, baseline
        )

    return measure


def measure_refinement(tables: list[Tables]) -> Measurement:
    """Last trained block less the first, of one model."""
    last, first = per_seed(tables[0]), per_seed(tables[0], "first_block_exact")
    return measured(last - first, lambda mean, low, high: low > 0 and mean >= 0.4, float(first.mean()))


def measure_longer(tables: list[Tables]) -> Measurement:
    """Twice the trained blocks less the trained ones."""
    gain = per_seed(tables[0], "longest_exact") - per_seed(tables[0])
    return measured(gain, lambda mean, low, high: high <= 0.02, float(per_seed(tables[0]).mean()))


def measure_states(tables: list[Tables]) -> Measurement:
    """Linear CKA of pooled states after the last trained block, less its value for shuffled rows; bootstrap over seeds."""
    rows = tables[0]["sr2_consistency"].to_pandas()
    last = int(tables[0]["sr2_iterations"].to_pandas().query("trained")["block"].max())
    rows = rows[rows["block"] == last]
    return measured_between(rows, rows["cka"] - rows["cka_null"], 0.5, 0.0)


ABOVE = "Shown when the 95 % interval over seeds of the paired difference lies above 0"
POINTS = "Share of test puzzles solved exactly"

CLAIMS = (
    Claim(
        name="four_by_four",
        sentence=f"SR² solves 4×4 Sudokus with 6 clues. {POINTS}; it checks the trainer and cannot tell models apart.",
        paper="not in the paper",
        rule="Shown when the mean is at least 0.99 and the lower end of the interval over seeds at least 0.97.",
        baseline_name="a feed-forward transformer with as many parameters (1 layer), equal compute",
        runs=runs("four", {}, ARMS["feed-forward, 1 layer"]),
        measure=level(0.99, 0.97),
    ),
    Claim(
        name="four_by_four_above_feed_forward",
        sentence=f"At 4×4 it beats a feed-forward transformer with as many parameters at equal compute. {POINTS}: difference.",
        paper="66.6 against 1.2 % on Sudoku-Extreme (with 8 times fewer parameters)",
        rule=f"{ABOVE} and its mean is at least 0.3.",
        baseline_name="a feed-forward transformer with as many parameters (1 layer), equal compute",
        runs=runs("four", {}, ARMS["feed-forward, 1 layer"]),
        measure=difference(0.3),
    ),
    Claim(
        name="alignment_at_equal_steps",
        sentence="Alignment is needed even where the model without it takes as many optimiser steps, at 4 times the "
        f"compute (4×4). {POINTS}: difference.",
        paper="not given",
        rule=f"{ABOVE} and its mean is at least 0.1.",
        baseline_name="SR² compared after the last block only, with as many optimiser steps",
        runs=runs("tour", {}, {**ARMS["no alignment"], "budget": "steps", "n_steps": 413}),
        measure=difference(0.1),
    ),
    Claim(
        name="above_feed_forward",
        sentence=f"SR² beats a feed-forward transformer with 7.6 times its parameters at equal compute (6×6, 14 clues). {POINTS}: "
        "difference.",
        paper="66.6 against 1.2 % on Sudoku-Extreme, 3.4 against 27.3 M parameters",
        rule=f"{ABOVE} and its mean is at least 0.3.",
        baseline_name="feed-forward transformer of 8 layers, equal compute",
        runs=runs("standard", {}, ARMS["feed-forward, 8 layers"]),
        measure=difference(0.3),
    ),
    Claim(
        name="above_feed_forward_ten_clues",
        sentence=f"The same on harder puzzles (6×6, 10 clues). {POINTS}: difference.",
        paper="66.6 against 1.2 % on Sudoku-Extreme, 3.4 against 27.3 M parameters",
        rule=f"{ABOVE} and its mean is at least 0.3.",
        baseline_name="feed-forward transformer of 8 layers, equal compute",
        runs=runs("six_ten_clues", {}, ARMS["feed-forward, 8 layers"]),
        measure=difference(0.3),
    ),
    Claim(
        name="alignment_needed",
        sentence=f"Without periodic alignment it does not learn at equal compute (6×6, 14 clues). {POINTS}: difference.",
        paper="0 % (Block Universal Transformer) to 42.5 % (Recurrent Depth) against 66.6 %",
        rule=f"{ABOVE} and its mean is at least 0.5.",
        baseline_name="the same recurrences compared after the last block only, equal compute (6 times fewer steps)",
        runs=runs("standard", {}, ARMS["no alignment"]),
        measure=difference(0.5),
    ),
    Claim(
        name="refinement_solves",
        sentence=f"Most of the work is done in self-refinement: solved after the last block less after the first. {POINTS}.",
        paper="not given",
        rule=f"{ABOVE} and its mean is at least 0.4.",
        baseline_name="solved after the first block",
        runs=runs("standard", {}),
        measure=measure_refinement,
    ),
    Claim(
        name="refinement_needed",
        sentence=f"Reflection alone (one block of 16 recurrences) does not reach it at equal compute. {POINTS}: difference.",
        paper="53.1 against 66.6 % (no self-refinement)",
        rule=f"{ABOVE} and its mean is at least 0.1.",
        baseline_name="reflection only, N = 1 and M = 16, equal compute",
        runs=runs("standard", {}, ARMS["reflection only"]),
        measure=difference(0.1),
    ),
    *(
        claim
        for positions in ("both", "rope")
        for claim in (
            Claim(
                name=f"reflection_needed_{positions}",
                sentence="Without reflection it fails: SR² less a model that sees the puzzle at its very first step only "
                f"(positions: {positions}). {POINTS}: difference.",
                paper="0 against 66.6 % (whether that model saw the puzzle at all is not said)",
                rule=f"{ABOVE} and its mean is at least 0.1.",
                baseline_name="a single injection, equal compute",
                runs=runs(
                    "standard", {"positions": positions}, {**ARMS["single injection"], "positions": positions}
                ),
                measure=difference(0.1),
            ),
            Claim(
                name=f"injection_hurts_{positions}",
                sentence="Feeding the puzzle back at every step hurts: SR² less that model "
                f"(positions: {positions}). {POINTS}: difference.",
                paper="66.6 against 55.3 % (4 blocks of 16)",
                rule=f"{ABOVE}.",
                baseline_name="input at every step, equal compute",
                runs=runs(
                    "standard", {"positions": positions}, {**ARMS["always injected"], "positions": positions}
                ),
                measure=difference(),
            ),
        )
    ),
    Claim(
        name="two_injected_blocks_hurt",
        sentence=f"Feeding the puzzle back in two blocks hurts a little. {POINTS}: difference.",
        paper="66.6 against 63.3 %",
        rule=f"{ABOVE}.",
        baseline_name="input in the first two blocks, equal compute",
        runs=runs("standard", {}, ARMS["injected in 2 blocks"]),
        measure=difference(),
    ),
    Claim(
        name="positions_confound",
        sentence="With learned positions only, a model that always sees the puzzle beats SR², so positions and injection are "
        f"entangled. {POINTS}: difference.",
        paper="not in the paper",
        rule=f"{ABOVE} and its mean is at least 0.1.",
        baseline_name="SR² with learned positions, equal compute",
        runs=runs("standard", {**ARMS["always injected"], "positions": "learned"}, {"positions": "learned"}),
        measure=difference(0.1),
    ),
    Claim(
        name="best_near_square",
        sentence=f"With M · N = 24 fixed, M = 4 and N = 6 beats M = 12, N = 2 and M = 2, N = 12. {POINTS}: difference to the better.",
        paper="best where M ≈ N (M · N = 256)",
        rule=f"{ABOVE}.",
        baseline_name="the better of M = 12, N = 2 and M = 2, N = 12, equal compute",
        runs=runs("standard", {}, ARMS["2 blocks of 12"], ARMS["12 blocks of 2"]),
        measure=difference(),
    ),
    Claim(
        name="more_iterations_little",
        sentence=f"More iterations than trained help little: 12 blocks less the 6 trained. {POINTS}: difference.",
        paper="little beyond training",
        rule="Shown when the upper end of the 95 % interval over seeds is at most 0.02.",
        baseline_name="solved after the 6 trained blocks",
        runs=runs("standard", {}),
        measure=measure_longer,
    ),
    Claim(
        name="one_function",
        sentence=f"One function for reflection and refinement beats two. {POINTS}: difference.",
        paper="66.6 against 59.8 %",
        rule=f"{ABOVE}.",
        baseline_name="two functions (twice the parameters), equal compute",
        runs=runs("standard", {}, ARMS["two functions"]),
        measure=difference(),
    ),
    Claim(
        name="shared_layers",
        sentence=f"Sharing the block beats a block of unshared layers. {POINTS}: difference.",
        paper="66.6 against 53.1 % (Reflective Model, 8 unshared layers)",
        rule=f"{ABOVE}.",
        baseline_name="4 unshared layers (4 times the parameters), equal compute",
        runs=runs("standard", {}, ARMS["unshared layers"]),
        measure=difference(),
    ),
    Claim(
        name="above_hrm",
        sentence=f"It beats an HRM-like model with twice the parameters at equal compute. {POINTS}: difference.",
        paper="66.6 against 55.0 %",
        rule=f"{ABOVE}.",
        baseline_name="HRM-like (two states, one-step gradient, no halting), equal compute",
        runs=runs("standard", {}, ARMS["HRM-like"]),
        measure=difference(),
    ),
    Claim(
        name="trm_above",
        sentence=f"A TRM-like model of the same size beats it on Sudoku at equal compute. {POINTS}: difference.",
        paper="87.4 (TRM's own figure, other training) against 66.6 %",
        rule=f"{ABOVE}.",
        baseline_name="SR², equal compute",
        runs=runs("standard", ARMS["TRM-like"], {}),
        measure=difference(),
    ),
    Claim(
        name="states_alike",
        sentence="Two seeds come to the same states up to rotation: linear CKA of pooled states after the last trained block, "
        "less its value for shuffled puzzles.",
        paper="not in the paper",
        rule="Shown when the lower end of the 95 % bootstrap interval over seeds exceeds 0.5.",
        baseline_name="none: chance is taken off",
        runs=runs("standard", {}),
        measure=measure_states,
    ),
    Claim(
        name="nine_by_nine",
        sentence=f"It solves 9×9 Sudokus (40 clues) within this budget. {POINTS}.",
        paper="66.6 % on Sudoku-Extreme (17 to 30 clues)",
        rule="Shown when the mean is at least 0.1 and the lower end of the interval over seeds above 0.",
        baseline_name="none trained at this size",
        runs=runs("nine", {}),
        measure=level(0.1, 1e-9),
    ),
    Claim(
        name="mazes",
        sentence="It beats a feed-forward transformer with 8 times its parameters on 11×11 mazes with one shortest path at equal "
        f"compute. {POINTS}: difference.",
        paper="93.7 against 0 % on Maze-Hard (30×30)",
        rule=f"{ABOVE} and its mean is at least 0.1.",
        baseline_name="feed-forward transformer of 8 layers, equal compute",
        runs=runs("maze", {}, ARMS["feed-forward, 8 layers"]),
        measure=difference(0.1),
    ),
    Claim(
        name="paper_size",
        sentence=f"At the published size it solves hard 9×9 Sudokus. {POINTS}.",
        paper="66.6 % on Sudoku-Extreme, the peak of the test curve",
        rule="Shown when the lower end of the 95 % interval over seeds is at least 0.6; needs the paper preset on a GPU.",
        baseline_name="none trained at this size",
        runs=runs("paper", {}),
        measure=level(0.6, 0.6),
    ),
)
