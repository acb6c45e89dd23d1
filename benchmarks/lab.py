"""How long the prompt lab takes: its cold start, a warm answer to a 64-token prompt, tokens written per second.

`python benchmarks/lab.py RUN` with RUN a finished language-model run in the state folder that CONCORDANCE_HOME names.
The lab's child is this benchmark's own; HTTP is left out. "read" gives tokens, features and the baseline's next token;
"compare" also intervention, control and the KL of five random directions. Processor seconds are the child's, of all its
threads: on a busy machine wall time says little.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import psutil

from data.corpora import ENGLISH_MIX, documents
from data.paths import state_dir
from engine.lab import Lab

TOKENS, CALLS, WRITTEN = 64, 9, 64


def prompt_of(tokens: int) -> str:
    """A real text of exactly this many tokens of the bundled model."""
    from tokenizers import Tokenizer

    from engine.language_model import prepare_bundled

    tokenizer = Tokenizer.from_file(str(prepare_bundled() / "tokenizer.json"))
    for row in documents(ENGLISH_MIX):
        ids = tokenizer.encode(row.text, add_special_tokens=False).ids
        text = tokenizer.decode(ids[:tokens])
        if len(ids) >= tokens and len(tokenizer.encode(text, add_special_tokens=False).ids) == tokens:
            return str(text)
    raise RuntimeError("no text is long enough")


def clocked(lab: Lab, ask: Callable[[], Any]) -> tuple[float, float]:
    """Wall seconds of a call, and processor seconds of the lab's child in it."""
    before = _processor(lab)
    started = time.perf_counter()
    ask()
    return time.perf_counter() - started, _processor(lab) - before


def _processor(lab: Lab) -> float:
    if lab.child_id is None:
        return 0.0
    times = psutil.Process(lab.child_id).cpu_times()
    return float(times.user + times.system)


def answer(lab: Lab, request: dict[str, Any]) -> None:
    *_, last = lab.ask(request)
    assert last["kind"] == "done", last


def measure(run: str) -> dict[str, Any]:
    lab = Lab(state_dir())
    read = {"run": run, "seed": 0, "prompt": prompt_of(TOKENS)}
    compare = {**read, "intervention": {"kind": "ablate", "feature": 0}}
    try:
        found: dict[str, Any] = {"cold_start": _row([clocked(lab, lambda: answer(lab, read))])}
        for name, request in (("read", read), ("compare", compare)):
            answer(lab, request)
            found[name] = _row([clocked(lab, lambda r=request: answer(lab, r)) for _ in range(CALLS)])
        for name, request in (("write", read), ("write_three", compare)):
            short = clocked(lab, lambda r=request: answer(lab, r))[0]
            long = clocked(lab, lambda r=request: answer(lab, {**r, "n_generate": WRITTEN}))[0]
            found[f"{name}_tokens_per_second"] = round(WRITTEN / (long - short), 2)
        process = psutil.Process(lab.child_id or 0)
        found["memory_gb"] = round(process.memory_info().rss / 1e9, 2)
    finally:
        lab.close()
    return found


def _row(taken: list[tuple[float, float]]) -> dict[str, float]:
    wall, processor = zip(*taken, strict=True)
    return {
        "median_s": round(statistics.median(wall), 3),
        "min_s": round(min(wall), 3),
        "max_s": round(max(wall), 3),
        "processor_s": round(statistics.median(processor), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a finished language-model run")
    parser.add_argument("--json", help="write the figures here too")
    options = parser.parse_args()
    figures = {
        "tokens": TOKENS,
        **measure(options.run),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": version("torch")},
    }
    print(json.dumps(figures, indent=2))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(figures, file, indent=2)


if __name__ == "__main__":
    main()
