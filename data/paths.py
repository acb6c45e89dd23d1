"""Where Concordance keeps things on this machine."""

import os
from pathlib import Path

import platformdirs


def _folder(variable: str, default: str) -> Path:
    path = Path(os.environ.get(variable) or default).expanduser().resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


def state_dir() -> Path:
    """Runs, activations, the store and the engine's token (`CONCORDANCE_HOME`)."""
    return _folder("CONCORDANCE_HOME", platformdirs.user_data_dir("concordance"))


def cache_dir() -> Path:
    """Models and corpora prepared once and shared by every state folder (`CONCORDANCE_CACHE`)."""
    return _folder("CONCORDANCE_CACHE", platformdirs.user_cache_dir("concordance"))
