"""How long and how large a run is, from rates measured on two processor cores."""

import os
from typing import Any

from engine.studies.label_shift.config import Config

LOADING_SECONDS, BASE_MEMORY = 4.0, 5e8
TEXT_SECONDS, TEXT_LOADING_SECONDS = (
    1.2e-3,
    20.0,
)  # per text and word; both are paid once, then kept in the cache
SETUP_SECONDS, CANDIDATE_SECONDS = 1.0, 1.5e-4
STEP_SECONDS, ROUND_SECONDS, CLASS_SECONDS = 8.5e-4, 0.01, 2.7e-3
TOGETHER = 0.8  # two seeds' threads share the interpreter
CLASSES = {"digits": 10, "topics": 5, "sentiment": 2, "features": 10}
ROWS = {"digits": 1_797, "features": 5_000}
COLUMNS_BYTES = 8 * 1_000
TEXT = "Scaled from rates measured on two processor cores; one core plays one seed."


def estimate(config: Config, n_seeds: int) -> dict[str, Any]:
    """Seconds, memory and disk of a run without a GPU; your own file is taken to have 10 classes and 5,000 rows."""
    texts = config.source in ("topics", "sentiment")
    mixture = config.source == "mixture"
    classes = config.n_classes if mixture else CLASSES[config.source]
    rows = config.n_samples if mixture else config.n_texts if texts else ROWS[config.source]
    steps = config.steps_per_round if config.schedule == "full batch" else 2
    each = ROUND_SECONDS + STEP_SECONDS * steps + CLASS_SECONDS * classes * config.test_rows / 2_000
    setup = SETUP_SECONDS + CANDIDATE_SECONDS * rows * (1 + classes / 10) * (config.decisions > 0)
    cores = max(1, len(os.sched_getaffinity(0)))
    share = max(1.0, n_seeds / (cores * (TOGETHER if cores > 1 else 1.0)))
    reading = TEXT_LOADING_SECONDS + TEXT_SECONDS * config.n_texts * config.words if texts else 0.0
    seconds = LOADING_SECONDS + reading + share * (setup + config.all_rounds * each)
    return {
        "seconds": seconds,
        "memory_bytes": BASE_MEMORY + rows * COLUMNS_BYTES * (1 + 0.1 * n_seeds) + (1e9 if texts else 0.0),
        "disk_bytes": n_seeds * (config.all_rounds * classes * 8 * 40 + 1e6),
        "based_on": TEXT,
    }
