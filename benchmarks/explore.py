"""How long Explore's calls take: a card, a page of the feature table, a lasso's features. `python benchmarks/explore.py RUN`

RUN is a finished language-model run with feature cards, in the state folder that CONCORDANCE_HOME names. Times are
those of the client, HTTP included; each call is made once unmeasured, then over features that differ.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator

import numpy as np

from engine.client import Client, connect

CALLS = 50
PAGE = 100


def timed(calls: Iterator[Callable[[], object]]) -> dict[str, float]:
    """Median, 95th percentile and maximum in milliseconds."""
    taken = []
    next(calls)()
    for call in calls:
        start = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - start))
    return {
        "median_ms": float(np.median(taken)),
        "p95_ms": float(np.percentile(taken, 95)),
        "max_ms": max(taken),
    }


def measure(client: Client, run_id: str) -> dict[str, object]:
    run = client.run(run_id)
    job = client.cards_job(run_id)
    assert job is not None, "make the feature cards first: concordance cards RUN --wait"
    cards = client.table(job["id"], "cards", columns=["seed", "feature", "n_active"]).to_pandas()
    generator = np.random.default_rng(0)
    chosen = cards.sample(CALLS, random_state=0)
    densest = cards.nlargest(CALLS, "n_active")

    def card_calls(rows: object) -> Iterator[Callable[[], object]]:
        for row in rows.itertuples():  # type: ignore[attr-defined]
            yield lambda row=row: client.card(run_id, int(row.seed), int(row.feature))

    orders = ("density", "stability", "label", "max_activation", "frequency")

    def page_calls() -> Iterator[Callable[[], object]]:
        for number in range(CALLS):
            query = {"order": orders[number % 5], "offset": PAGE * number, "limit": PAGE}
            yield lambda query=query: client.features([run_id], **query)

    def filter_calls() -> Iterator[Callable[[], object]]:
        for word in ("the", "president", "film", "not", "2020", "river", "music", "bank"):
            yield lambda word=word: client.features([run_id], text=word, dead="alive", limit=PAGE)

    def lasso_calls() -> Iterator[Callable[[], object]]:
        for _ in range(10):
            part = cards.iloc[np.sort(generator.choice(len(cards), len(cards) // 2, replace=False))]
            only = {
                "run": [run_id] * len(part),
                "seed": part["seed"].tolist(),
                "feature": part["feature"].tolist(),
            }
            yield lambda only=only: client.features([run_id], only=only, limit=1000)

    return {
        "features": len(cards),
        "activation_rows": int(cards["n_active"].sum()),
        "seeds": run["seeds"],
        "card": timed(card_calls(chosen)),
        "card_of_the_densest": timed(card_calls(densest)),
        "table_page": timed(page_calls()),
        "table_page_filtered_by_text": timed(filter_calls()),
        "half_the_map_in_a_lasso": timed(lasso_calls()),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    print(json.dumps(measure(connect(), parser.parse_args().run), indent=2))
