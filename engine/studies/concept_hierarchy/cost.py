"""How long and how large: a run's cost from rates measured on one processor core (docs/benchmarks.md)."""

from typing import Any

from data.concept_hierarchy import hierarchy_graph
from engine.studies.concept_hierarchy.config import Config
from engine.studies.concept_hierarchy.training import energies_of

LOADING_SECONDS, LOADING_FEATURES_SECONDS = 4.0, 20.0
TEST_SECONDS, TEST_CELL_SECONDS, TEST_PAIR_SECONDS = 6e-4, 1e-9, 4e-6
TESTS_EACH_PAIR, HALF_SEARCH = 8, 0.35
CLASSES_CELL_SECONDS = 9e-7
BLOCK_SECONDS = 0.35
DIFFUSION_STEP_SECONDS, DIFFUSION_IMAGE_SECONDS = 5e-3, 4e-4
MEMORY, ROW_BYTES = 4e8, 64
COLUMNS, ROWS = {"bfi": 25, "burnout": 32}, {"bfi": 1_949, "burnout": 479}
TABLE_COLUMNS = 30
TEXT = "Scaled from rates measured on one processor core."
TEXT_TABLE = "The table is taken to have 30 columns."


def estimate(config: Config, n_seeds: int) -> dict[str, Any]:
    """Seconds, memory and disk of a run on one core."""
    if config.source == "images":
        steps = len(energies_of(config)) * config.diffusion_steps
        drawn = len(energies_of(config)) * 24 * config.n_generated
        seconds = n_seeds * (steps * DIFFUSION_STEP_SECONDS + drawn * DIFFUSION_IMAGE_SECONDS)
        return _cost(LOADING_SECONDS + seconds, MEMORY, n_seeds * 3e6, TEXT)
    columns = _columns(config)
    states = config.n_states if config.source == "world" else max(2, config.n_bins)
    rows = min(config.n_samples, ROWS.get(config.source, config.n_samples))
    pairs = columns * (columns - 1) / 2
    test = TEST_SECONDS + TEST_CELL_SECONDS * rows * columns * states**2 + TEST_PAIR_SECONDS * columns**2
    search = TESTS_EACH_PAIR * pairs * test
    fits = config.latent_classes * pairs * rows * states**2 * CLASSES_CELL_SECONDS
    each = (1 + config.linear_rank) * search + fits
    each += config.continuous * (each + columns * BLOCK_SECONDS)
    each += config.n_bootstraps * HALF_SEARCH * search + pairs * test
    loading = LOADING_FEATURES_SECONDS if config.source == "features" else LOADING_SECONDS
    memory = MEMORY + config.n_samples * columns * states * ROW_BYTES
    text = f"{TEXT} {TEXT_TABLE}" if config.source == "table" else TEXT
    return _cost(loading + n_seeds * each, memory, n_seeds * 2e5, text)


def _columns(config: Config) -> int:
    if config.source == "world":
        if config.shape == "random":
            return 15
        return sum(node.startswith("x") for node in hierarchy_graph(config.shape))
    return config.n_features if config.source == "features" else COLUMNS.get(config.source, TABLE_COLUMNS)


def _cost(seconds: float, memory: float, disk: float, note: str) -> dict[str, Any]:
    return {"seconds": seconds, "memory_bytes": memory, "disk_bytes": disk, "based_on": note}
