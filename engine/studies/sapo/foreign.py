"""Readers of files other tools wrote: d1's JSON of generations, LLaDA's one-line-per-step text, our own Parquet.

A malformed file raises UserError("imported") with one sentence that names the file and the line (row and column, in Parquet).
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from analyses.sapo import is_junk
from engine.errors import UserError
from engine.studies.sapo.foreign_scores import Scored, answer_span, score
from engine.studies.sapo.foreign_tables import MAX_CHARACTERS, check_file, fail, parts_of, run_table

LLADA_MASK = "<|mdm_mask|>"
_STEP = re.compile(r"\s*([0-9]{1,9})\s*,(.*)", re.DOTALL)
_TOKEN = re.compile(r"\*([^&]*)&")
_RANK = re.compile(r"(_[0-9]+_[0-9]+_)[0-9]+(_generations\.json)")


@dataclass(frozen=True)
class Generation:
    """One generation. `steps` are (step, tokens) with "" for a mask, where the file tells; `committed_at` per position."""

    prompt: str
    text: str
    truth: str
    scored: Scored
    steps: list[tuple[int, list[str]]] = field(default_factory=list)
    committed_at: list[int | None] = field(default_factory=list)
    details: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    told_junk: bool | None = None

    @property
    def words(self) -> list[str]:
        return self.text.split()

    @property
    def exact(self) -> bool | None:
        return self.scored.exact

    @property
    def cell(self) -> float | None:
        return self.scored.cell

    @property
    def trace_valid(self) -> bool | None:
        return self.scored.trace_valid

    @property
    def junk(self) -> bool:
        """As the file tells it, which for a small denoiser is half of the trace filler; else rep-3 above 0.3."""
        return is_junk(self.words) if self.told_junk is None else self.told_junk

    @property
    def answer_positions(self) -> list[int]:
        """Positions of the tokens that make up the marked answer; none where steps or answer are not told."""
        span, place, found = answer_span(self.text), 0, []
        if not self.steps or span is None:
            return []
        for position, token in enumerate(self.steps[-1][1]):
            begin = self.text.index(token, place)
            place = begin + len(token)
            if begin < span[1] and place > span[0]:
                found.append(position)
        return found


@dataclass(frozen=True)
class ForeignFile:
    """What a file, or one seed, arm and kind (`part`) of a run's table, held.

    `format` is "d1 JSON", "LLaDA steps" or "Concordance Parquet".
    """

    path: Path
    format: str
    task: str
    generations: list[Generation]
    part: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return ", ".join([self.path.name, *(f"{column} {value}" for column, value in self.part.items())])


@dataclass(frozen=True)
class Evaluation:
    """Files whose generations are looked at together; of a run's table the rows of one seed, arm and kind (`part`)."""

    paths: list[Path]
    part: Mapping[str, Any] | None = None


def read_file(path: Path, task: str | None = None, part: Mapping[str, Any] | None = None) -> ForeignFile:
    """Read a file by its ending: .json, .txt or .parquet; `task` overrides what name and questions tell. Raises UserError.

    A run's table that holds several evaluations needs the `part` of one, as `evaluations` tells them.
    """
    check_file(path)
    readers: dict[str, Callable[[Path, str | None], ForeignFile]] = {
        ".json": _read_json,
        ".txt": _read_steps,
        ".parquet": partial(_read_parquet, part=part),
    }
    if path.suffix.lower() not in readers:
        raise UserError(
            "imported",
            f"{path.name} ends in none of {', '.join(readers)}; name d1's JSON, LLaDA's text or our Parquet.",
        )
    found = readers[path.suffix.lower()](path, task)
    if not found.generations:
        fail(path, 1, "it holds no generations")
    return found


def evaluations(paths: Sequence[Path]) -> list[Evaluation]:
    """The evaluations that files hold. d1 writes a file per GPU, `countdown_instruct_128_64_0_generations.json`, …_1_… and so
    on: files whose names differ in that rank alone are parts of one evaluation. Every seed, arm and kind of a run's table is
    one of its own, but for training rollouts, and so is every other file. Raises UserError for a table that cannot be read.
    """
    groups: dict[Path, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.with_name(_RANK.sub(r"\1*\2", path.name)), []).append(path)
    found = []
    for group, files in groups.items():
        parts = parts_of(run_table(group)[1]) if group.suffix.lower() == ".parquet" else [None]
        found += [Evaluation(files, part) for part in parts]
    return found


def read_evaluation(evaluation: Evaluation, task: str | None = None) -> ForeignFile:
    """The generations of one evaluation's files, in their order, under a name with * for the rank. Raises UserError."""
    first, *others = [read_file(path, task, evaluation.part) for path in evaluation.paths]
    if not others:
        return first
    path = first.path.with_name(_RANK.sub(r"\1*\2", first.path.name))
    rows = [row for file in (first, *others) for row in file.generations]
    return replace(first, path=path, generations=rows)


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fail(path, content.count(b"\n", 0, error.start) + 1, "it is not UTF-8 text")


# d1's JSON


def _read_json(path: Path, task: str | None) -> ForeignFile:
    """d1's `*_generations.json`: an object whose "generations" are objects with question, generations and ground_truth."""
    text = _text(path)
    try:
        content = json.loads(text)
    except JSONDecodeError as error:
        fail(path, error.lineno, f"it is no JSON ({error.msg.lower()}, column {error.colno})")
    except RecursionError:
        fail(path, 1, "its JSON is nested too deeply")
    except ValueError:
        fail(
            path,
            _line_at(text, re.search(r"[0-9]{4301,}", text)),
            "it holds a number of more than 4,300 digits",
        )
    rows = content.get("generations") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        keys = (
            f", only {', '.join(map(repr, list(content)[:5]))}"
            if isinstance(content, dict) and content
            else ""
        )
        fail(path, 1, f'there is no list "generations"{keys}')
    task = task or task_named(path.name, rows)
    found = []
    for number, row in enumerate(rows):
        if problem := _row_problem(row):
            fail(path, _line_of(text, number), f"generation {number + 1} {problem}")
        truth, question, answer = row.get("ground_truth"), str(row.get("question", "")), row["generations"]
        question, answer = (part.encode("utf-8", "replace").decode() for part in (question, answer))
        try:
            scored = score(task, question, answer, truth)
        except ValueError as error:
            fail(path, _line_of(text, number), f"generation {number + 1} {error}")
        shown = truth if isinstance(truth, str) else json.dumps(truth)
        found.append(Generation(question, answer, shown, scored))
    return ForeignFile(path, "d1 JSON", task, found)


def _row_problem(row: Any) -> str:
    if not isinstance(row, dict):
        return "is no object"
    if not isinstance(row.get("generations"), str):
        return 'has no text under "generations"'
    if len(row["generations"]) > MAX_CHARACTERS:
        return f"is longer than {MAX_CHARACTERS:,} characters"
    return ""


def _line_at(text: str, found: re.Match[str] | None) -> int:
    return text.count("\n", 0, found.start() if found else 0) + 1


def _line_of(text: str, number: int) -> int:
    """The line at which the `number`-th element of the list of generations begins."""
    found = re.search(r'"generations"\s*:\s*\[', text) or re.search(r"\s*\[", text)
    place = found.end() if found else 0
    decoder = JSONDecoder()
    for skipped in range(number + 1):
        place = _next(text, place)
        if skipped < number:
            place = decoder.raw_decode(text, place)[1]
    return text.count("\n", 0, place) + 1


def _next(text: str, place: int) -> int:
    while text[place] in " \t\r\n,":
        place += 1
    return place


def task_named(name: str, rows: list[Any] | None = None) -> str:
    """The task a file is about, from its name or its first question; "text" where neither tells."""
    first = rows[0] if rows and isinstance(rows[0], dict) else {}
    for task in ("countdown", "sudoku", "gsm8k", "gsm", "math"):
        if task in name.lower():
            return "gsm8k" if task == "gsm" else task
    question = str(first.get("question", ""))
    if re.search(r"Numbers: \[.*Target:", question, re.DOTALL):
        return "countdown"
    return "sudoku" if re.search(r"\b[0-4]{16}\b", question) else "text"


# LLaDA's text, one line per step


def _read_steps(path: Path, task: str | None) -> ForeignFile:
    """LLaDA's `sample_process.txt`: lines `step, *token&*token&…`; a step that does not go on begins a new trajectory."""
    trajectories: list[list[tuple[int, list[str]]]] = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        step, tokens = _step_line(path, number, line)
        going_on = trajectories and step == trajectories[-1][-1][0] + 1
        if not going_on and trajectories and step > trajectories[-1][-1][0]:
            fail(path, number, f"step {step} follows step {trajectories[-1][-1][0]}")
        if not going_on:
            trajectories.append([])
        elif len(tokens) != len(trajectories[-1][-1][1]):
            fail(path, number, f"{len(tokens)} tokens follow {len(trajectories[-1][-1][1])}")
        trajectories[-1].append((step, tokens))
    task = task or "text"
    found = [_trajectory("", steps, "", task) for steps in trajectories]
    return ForeignFile(path, "LLaDA steps", task, found)


def _step_line(path: Path, number: int, line: str) -> tuple[int, list[str]]:
    matched = _STEP.fullmatch(line)
    if matched is None:
        fail(path, number, "it does not begin with a step and a comma")
    tokens = _TOKEN.findall(matched[2])
    if not tokens or _TOKEN.sub("", matched[2]).strip():
        fail(path, number, "its tokens are not written as *token&")
    return int(matched[1]), ["" if token.strip() == LLADA_MASK else token for token in tokens]


def _trajectory(
    prompt: str,
    steps: list[tuple[int, list[str]]],
    truth: str,
    task: str,
    details: dict[tuple[int, int], dict[str, Any]] | None = None,
) -> Generation:
    last = steps[-1][1]
    text = "".join(last) if any(token.startswith(" ") for token in last) else " ".join(last)
    committed = [
        next((step for step, tokens in steps if tokens[position]), None) for position in range(len(last))
    ]
    return Generation(
        prompt, text, truth, score(task, prompt, text, truth or None), steps, committed, details or {}
    )


# Our Parquet

_PROMPTS = {
    "chain": re.compile(r"\A\d( [-+*] \d)+\Z|Start with \d, then (add|subtract|multiply by) \d"),
    "countdown": re.compile(r"\A([1-9] ){3}\d\d?\Z|Numbers: \[[\d, ]+\]\s+Target: \d"),
    "sudoku": re.compile(r"\A[0-4]( [0-4]){15}\Z|4x4 Sudoku, [^\n]{1,100}: [0-4]{16}\b"),
}


def _read_parquet(path: Path, task: str | None, part: Mapping[str, Any] | None) -> ForeignFile:
    """One evaluation of a run's `sapo_rollouts.parquet` (final texts) or `sapo_tokens.parquet` (every step)."""
    which, table = run_table(path)
    if part is None:
        part, *others = parts_of(table)
        if others:
            raise UserError(
                "imported",
                f"{path.name} mixes {len(others) + 1} evaluations (seed, arm, kind); read one of them.",
            )
    for name, value in part.items():
        table = table.filter(pc.equal(table[name], value))
    rows = table.to_pylist()
    if which == "sapo_tokens":
        found, told = _token_generations(rows, task or "text"), "text"
    else:
        found = [_rollout_generation(row) for row in rows]
        told = _task_told(path, [generation.prompt for generation in found])
    return ForeignFile(path, "Concordance Parquet", task or told, found, part)


def _task_told(path: Path, prompts: list[str]) -> str:
    """The task whose prompts all of these are, else the one that the file's name tells, else "text"."""
    told = (task for task, form in _PROMPTS.items() if all(form.search(prompt) for prompt in prompts))
    return next(told, task_named(path.name))


def _rollout_generation(row: dict[str, Any]) -> Generation:
    scored = Scored(row["exact"], row["cell"], row.get("trace_valid"))
    return Generation(
        row["prompt"] or "", row["completion"], row.get("truth") or "", scored, told_junk=row.get("junk")
    )


def _token_generations(rows: list[dict[str, Any]], task: str) -> list[Generation]:
    kept: dict[int, dict[int, dict[int, dict[str, Any]]]] = {}
    for row in rows:
        kept.setdefault(row["rollout"], {}).setdefault(row["step"], {})[row["position"]] = row
    found = []
    for cells in kept.values():
        length = max(map(max, cells.values())) + 1
        steps = [
            (step, [cells[step].get(i, {}).get("token", "") for i in range(length)]) for step in sorted(cells)
        ]
        details = {
            (step, position): {name: row.get(name) for name in ("argmax", "confidence", "entropy", "block")}
            for step, positions in cells.items()
            for position, row in positions.items()
        }
        found.append(_trajectory("", steps, "", task, details))
    return found
