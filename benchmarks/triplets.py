"""How long Vision › Triplets takes with 100,000 triplets. `python -m benchmarks.triplets [--triplets N]`

A synthetic run of five seeds is written to a temporary state folder and a real engine is started on it. Calls are timed at
the client, HTTP included, every one with arguments not asked before; `page` times whole runs of the page's script (every
section), of which an interaction runs only the fragment in question, given as `fragment`. Warm: each kind once unmeasured.
"""

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine import client as engine_client
from engine.client import Client, connect
from tests.app.srf_tables import write_run

RUN = "aaaaaaaaaaa1"
SEEDS = (0, 1, 2, 3, 4)
CALLS = 25


def summary(taken: list[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum in milliseconds."""
    values = 1000 * np.array(taken)
    return {
        "median_ms": round(float(np.median(values)), 1),
        "p95_ms": round(float(np.percentile(values, 95)), 1),
        "max_ms": round(float(values.max()), 1),
    }


def timed(calls: Iterator[Callable[[], object]]) -> dict[str, float]:
    """Times of calls, the first left out."""
    taken = []
    next(calls)()
    for call in calls:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return summary(taken)


def engine_calls(client: Client, n: int) -> dict[str, Any]:
    """The calls that interactions make."""

    def cut(number: int) -> dict[str, Any]:
        return {"score": "triangle", "ties": "confidence", "keep": 0.03 + 0.035 * number}

    def calls(make: Callable[[int], Callable[[], object]]) -> dict[str, float]:
        return timed(make(number) for number in range(CALLS))

    scores = (
        "answer_only",
        "question_only",
        "equality",
        "confidence_generation",
        "confidence_answer",
        "random",
    )
    queues = ("consistent_wrong", "inconsistent_right", "sample", "not_reviewed", "tied")
    words = ("purple", "circle left", "what shape", "yes", "describe", "blue one")
    asked = [(score, ties) for score in scores for ties in ("random", "confidence")]
    return {
        "cut_moved": calls(lambda i: lambda: client.triplet_summary(RUN, cut=cut(i))),
        "score_chosen": timed(
            (lambda one=one: client.triplet_summary(RUN, cut={"score": one[0], "ties": one[1]})) for one in asked
        ),
        "page": calls(lambda i: lambda: client.triplets(RUN, cut=cut(3), limit=8, offset=(i * 3989) % n)),
        "page_sorted": calls(lambda i: lambda: client.triplets(RUN, cut=cut(i), order="score", descending=True, limit=8)),
        "queue": timed(
            (lambda q=queue, i=i: client.triplets(RUN, cut=cut(i), queue=q, limit=8)) for i in range(5) for queue in queues
        ),
        "text": timed((lambda w=word, i=i: client.triplets(RUN, text=w, limit=8, offset=8 * i)) for i in range(4) for word in words),
        "lineage": calls(lambda i: lambda: client.triplets(RUN, image=i, limit=50)),
        "place_of": calls(lambda i: lambda: client.triplets(RUN, cut=cut(3), limit=1, place_of=i * 3989 % n)),
        "verdict": calls(lambda i: lambda: client.review(RUN, [{"who": "ana", "triplet": i, "verdict": "keep"}])),
        "undo": timed((lambda: client.undo_review(RUN, "ana")) for _ in range(CALLS)),
        "save_selection": calls(lambda i: lambda: client.save_selection(RUN, f"s{i}", cut=cut(i), shown="kept")),
    }  # fmt: skip


def page_runs() -> dict[str, Any]:
    """Runs of the page's script without a browser: opened, the cut moved, the next page, a verdict."""
    from tests.app.pages import open_page

    logging.disable(logging.WARNING)
    start = time.perf_counter()
    page = open_page("triplets", run=RUN, score="triangle")
    opened = time.perf_counter() - start
    parts = fragment_clock()

    def interact(act: Callable[[int], Any]) -> dict[str, Any]:
        whole, part, busy = [], [], []
        for number in range(13):
            parts.clear()
            begun, worked = time.perf_counter(), time.process_time()
            act(number)
            whole.append(time.perf_counter() - begun)
            busy.append(time.process_time() - worked)
            part.append(sum(parts))
            assert not page.exception, [one.value for one in page.exception]
        return {
            "fragment": summary(part[1:]),
            "whole_page": summary(whole[1:]),
            "whole_page_processor": summary(busy[1:]),
        }

    return {
        "opened_first_ms": round(1000 * opened, 1),
        "cut_moved": interact(lambda i: page.slider(key="keep").set_value(21 + 3 * i).run()),
        "next_triplet": interact(lambda i: page.button(key="next").click().run()),
        "verdict": interact(lambda i: page.button(key="judge-keep").click().run()),
        "undo": interact(lambda i: page.button(key="undo").click().run()),
        "queue": interact(
            lambda i: page.selectbox(key="queue_choice").set_value(("tied", "not_reviewed")[i % 2]).run()
        ),
    }


def fragment_clock() -> list[float]:
    """Seconds of every part that a rerun of the page's fragment draws, appended as they run."""
    import app.triplets_cut as cutting
    import app.triplets_review as reviewing
    import app.triplets_select as selecting
    import app.triplets_state as state

    taken: list[float] = []

    def clocked(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **more: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **more)
            finally:
                taken.append(time.perf_counter() - start)

        return run

    drawn = {
        cutting: ("counts_strip", "cut_pictures"),
        reviewing: ("review_area", "judge", "_undo", "_step"),
        selecting: ("selection_bar",),
        state: ("cut_controls", "filters", "listing", "summary_of"),
    }
    for module, names in drawn.items():
        for name in names:
            setattr(module, name, clocked(getattr(module, name)))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--triplets", type=int, default=100_000)
    n = parser.parse_args().triplets
    with tempfile.TemporaryDirectory(prefix="concordance-triplets-") as home:
        os.environ["CONCORDANCE_HOME"] = home
        write_run(Path(home), RUN, seeds=SEEDS, n=n // len(SEEDS), n_images=4000)
        process = engine_client.start_engine()
        try:
            client = connect(start=False)
            start = time.perf_counter()
            found = client.triplet_overview(RUN)
            first = round(1000 * (time.perf_counter() - start), 1)
            result = {
                "triplets": found["n"],
                "first_asked_ms": first,
                "engine": engine_calls(client, n),
                "page": page_runs(),
            }
            print(json.dumps(result, indent=2))
        finally:
            process.terminate()
            process.wait(20)


if __name__ == "__main__":
    main()
