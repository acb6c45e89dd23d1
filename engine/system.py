"""What the engine's machine is and holds: the report behind `concordance doctor` and the app's frame."""

import os
import platform
import shutil
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from data import assets
from data.paths import cache_dir
from engine.executors import gpu_names
from engine.figures import find_browser
from engine.studies.base import Study

PACKAGES = (
    "concordance-workbench", "torch", "transformer-lens", "sae-lens", "transformers", "duckdb", "pyarrow",
    "streamlit", "plotly", "kaleido", "lapx",
)  # fmt: skip


def report(home: Path) -> dict[str, Any]:
    """Versions, processor, GPUs, memory, disk, folders and offline assets."""
    return {
        "python": platform.python_version(),
        "packages": _versions(),
        "cpu_count": len(os.sched_getaffinity(0)),
        "gpus": gpu_names(),
        "memory_bytes": psutil.virtual_memory().total,
        "disk_free_bytes": shutil.disk_usage(home).free,
        "state_folder": str(home),
        "cache_folder": str(cache_dir()),
        "browser": find_browser(),
        "assets": {name: _asset(name) for name in assets.ASSETS},
    }


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def _asset(name: str) -> dict[str, Any]:
    asset = assets.ASSETS[name]
    found = {"package": asset.package, "version": asset.version, "licence": asset.licence, "tier": asset.tier}
    try:
        return {**found, "path": str(assets.locate(name)), "problem": None}
    except assets.AssetMissing as error:
        return {**found, "path": None, "problem": str(error)}


def describe_study(study: Study) -> dict[str, Any]:
    """A study as the API shows it."""
    return {
        "name": study.name,
        "title": study.title,
        "paper": study.paper,
        "bibtex": study.bibtex,
        "schema": study.Config.model_json_schema(),
        "presets": dict(study.presets),
        "sweeps": {name: list(settings) for name, settings in study.sweeps.items()},
        "tables": list(study.tables),
        "claims": [
            {
                "name": claim.name,
                "sentence": claim.sentence,
                "paper": claim.paper,
                "rule": claim.rule,
                "in_tour": bool(claim.runs("tour")),
            }
            for claim in study.claims
        ],
    }
