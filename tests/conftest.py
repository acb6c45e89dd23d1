"""A real engine with a state folder of its own; waiting for what another process does."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("CONCORDANCE_THREADS", "1")  # two tests share two cores

import pytest
from hypothesis import HealthCheck, settings

from engine import client as engine_client
from engine.language_model import prepare_bundled

TINY_WORLD = {
    "source": "synthetic", "d_in": 8, "n_true_features": 12, "true_sparsity": 2, "n_samples": 2000,
    "d_sae": 12, "k": 2, "n_steps": 60, "batch_size": 128, "checkpoint_every": 20, "n_match_points": 4,
}  # fmt: skip


def eventually(check: Callable[[], Any], what: str, seconds: float = 300) -> Any:
    """What `check` returns once it is true; fails with `what` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


settings.register_profile(
    "patient", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def bundled_model() -> None:
    """The bundled language model, prepared once in the user's cache."""
    prepare_bundled()


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
            process.wait(120)
            if before is None:
                del os.environ["CONCORDANCE_HOME"]
            else:
                os.environ["CONCORDANCE_HOME"] = before
