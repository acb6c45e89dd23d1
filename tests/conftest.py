"""A real engine with a state folder of its own."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest

from engine import client as engine_client

TINY_WORLD = {
    "source": "synthetic", "d_in": 8, "n_true_features": 12, "true_sparsity": 2, "n_samples": 2000,
    "d_sae": 12, "k": 2, "n_steps": 60, "batch_size": 128, "checkpoint_every": 20, "n_match_points": 4,
}  # fmt: skip


def start(home: Path) -> tuple[engine_client.Client, object]:
    """Start an engine on `home` (CONCORDANCE_HOME must already name it); client and process."""
    process = engine_client.start_engine()
    return engine_client.connect(start=False), process


@pytest.fixture(scope="module")
def engine() -> Iterator[engine_client.Client]:
    """A client of a fresh engine; CONCORDANCE_HOME names its folder while the module's tests run."""
    before = os.environ.get("CONCORDANCE_HOME")
    with tempfile.TemporaryDirectory(prefix="concordance-test-") as home:
        os.environ["CONCORDANCE_HOME"] = home
        process = engine_client.start_engine()
        try:
            yield engine_client.connect(start=False)
        finally:
            process.terminate()
            process.wait(20)
            if before is None:
                del os.environ["CONCORDANCE_HOME"]
            else:
                os.environ["CONCORDANCE_HOME"] = before
