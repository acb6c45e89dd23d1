"""`concordance doctor`: what is wrong with a set-up, and what to do about it."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from data.paths import cache_dir, state_dir
from engine import client as engine_client
from engine.figures import find_browser
from engine.transport import EngineError

PACKAGE = "concordance-workbench"
PYTHON = (3, 11)
DISK, MEMORY = 3e9, 3e9
SOUND = "sound"


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `level` "sound", "warning" (something will be missing) or "error" (nothing works)."""

    name: str
    level: str
    text: str


def examine() -> list[Finding]:
    """Everything, in the order in which one would mend it; a check that fails itself is an error of that name."""
    found = []
    for check in (python, packages, folders, memory, gpu, browser, assets, engine):
        try:
            found += list(check())
        except Exception as error:
            found.append(Finding(check.__name__, "error", f"could not be looked at: {error}"))
    return found


def python() -> Iterator[Finding]:
    here = sys.version_info[:2]
    text = f"Python {sys.version.split()[0]} in {sys.prefix}"
    if here < PYTHON:
        yield Finding("python", "error", f"{text}; 3.11 or newer is needed: make setup PYTHON=python3.11")
    else:
        yield Finding("python", SOUND, text)


def packages() -> Iterator[Finding]:
    """Every declared dependency, in its declared range."""
    wrong = []
    declared = [Requirement(text) for text in requires(PACKAGE) or []]
    wanted = [one for one in declared if one.marker is None or one.marker.evaluate({"extra": ""})]
    for requirement in wanted:
        try:
            here = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(here, prereleases=True):
            wrong.append(f"{requirement.name} {here} is not {requirement.specifier}")
    if wrong:
        yield Finding("packages", "error", f"{', '.join(wrong)}; remove .venv and run `make setup`.")
    else:
        yield Finding("packages", SOUND, f"all {len(wanted)} in range, torch {version('torch')}")


def folders() -> Iterator[Finding]:
    for name, folder, variable in (
        ("state folder", state_dir, "CONCORDANCE_HOME"),
        ("cache folder", cache_dir, "CONCORDANCE_CACHE"),
    ):
        yield _folder(name, folder, variable)


def _folder(name: str, folder: Callable[[], Path], variable: str) -> Finding:
    try:
        path = folder()
        with tempfile.NamedTemporaryFile(dir=path):
            free = shutil.disk_usage(path).free
    except OSError as error:
        return Finding(name, "error", f"{error}; set {variable} to a folder you can write to.")
    if free < DISK:
        return Finding(
            name,
            "warning",
            f"{path} has {free / 1e9:.1f} GB free; make room or set {variable} to another disk.",
        )
    return Finding(name, SOUND, f"{path}, {free / 1e9:.0f} GB free")


def memory() -> Iterator[Finding]:
    import psutil

    available, cores = psutil.virtual_memory().available, len(os.sched_getaffinity(0))
    text = f"{available / 1e9:.1f} GB available, {cores} processor cores"
    if available < MEMORY:
        yield Finding("memory", "warning", f"{text}; the bundled model needs 3 GB: close other programs.")
    else:
        yield Finding("memory", SOUND, text)


def gpu() -> Iterator[Finding]:
    from engine.executors import gpu_names

    names = gpu_names()
    if not names:
        yield Finding(
            "gpu", SOUND, "none; all but published large models and some paper presets runs on the processor"
        )
    elif "+cpu" in version("torch"):
        yield Finding(
            "gpu",
            "error",
            f"{names[0]}, but torch is the build without CUDA; remove .venv and run `make setup`.",
        )
    else:
        yield Finding("gpu", SOUND, ", ".join(names))


def browser() -> Iterator[Finding]:
    found = find_browser()
    if found:
        yield Finding("browser", SOUND, found)
    else:
        yield Finding(
            "browser",
            "warning",
            "no Chrome or Chromium: no PDF and PNG files; Debian: apt-get install chromium",
        )


def assets() -> Iterator[Finding]:
    from data import assets as registry

    missing = []
    for name in registry.ASSETS:
        try:
            registry.locate(name)
        except registry.AssetMissing as error:
            missing.append(str(error))
    if missing:
        yield from (Finding("offline asset", "warning", problem) for problem in missing)
    else:
        yield Finding("offline assets", SOUND, f"all {len(registry.ASSETS)} in place")


def engine() -> Iterator[Finding]:
    try:
        client = engine_client.connect()
        problems = client.store_check()["problems"]
    except EngineError as error:
        yield Finding("engine", "error", error.message)
        return
    yield Finding("engine", SOUND, f"answers at {client.address}")
    if problems:
        first = f"{problems[0]}{f' and {len(problems) - 1} more' if len(problems) > 1 else ''}"
        yield Finding("store", "warning", f"{first}; run `concordance store rebuild`.")
    else:
        yield Finding("store", SOUND, "agrees with the run directories")


def as_json(findings: list[Finding]) -> dict[str, Any]:
    return {
        "sound": all(finding.level == SOUND for finding in findings),
        "findings": [{"name": f.name, "level": f.level, "text": f.text} for f in findings],
    }
