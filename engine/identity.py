"""What makes a run the run it is: the hash of its record, of the code behind it, and the command that asks for it."""

import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

from engine.environments import interpreter
from engine.errors import UserError
from engine.studies import STUDIES
from engine.studies.base import Study
from engine.tools import JOBS

RUN_ID = re.compile(r"\b[0-9a-f]{12}\b")
CODE = (
    "data",
    "analyses/dictionaries.py",
    "analyses/graphs.py",
    "analyses/ground_truth.py",
    "analyses/identifiability.py",
    "analyses/matching.py",
    "analyses/sapo.py",
    "analyses/sr2.py",
    "analyses/streams.py",
    "engine/run.py",
    "engine/activation_sources.py",
    "engine/activations.py",
    "engine/chat.py",
    "engine/collecting.py",
    "engine/language_model.py",
    "engine/sae_formats",
    "engine/studies/adapters.py",
    "engine/studies/base.py",
    "engine/studies/seeds.py",
    "engine/text_windows.py",
)


def find_study(name: str) -> Study:
    if name not in JOBS:
        raise UserError("study", f"{name!r} does not exist; choose one of {', '.join(STUDIES)}.")
    return JOBS[name]


def identity(record: dict[str, Any]) -> str:
    """The run id: a hash of what `Scheduler.record` returns."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:12]


def code_version(study: str) -> str:
    """A hash of every source file that can change what a run of a study or tool computes."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    own = (f"engine/studies/{study}",) if study in STUDIES else ("engine/studies", f"engine/tools/{study}")
    for name in (*CODE, *own):
        path = root / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            if "claims" not in file.parts and file.name not in ("claims.py", "presets.py"):
                digest.update(str(file.relative_to(root)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def command(record: dict[str, Any]) -> str:
    """The command line that asks for this very run; a preset that is not known here counts as none."""
    study = JOBS[record["study"]]
    preset = record.get("preset") or ""
    is_known = preset in study.presets
    values = study.Config.model_construct(**(study.presets[preset] if is_known else {}))
    base = values.model_dump(mode="json")
    words = ["concordance", "run", study.name, *(["--preset", preset] if is_known else [])]
    seeds = record["seeds"]
    if seeds == list(range(len(seeds))):
        words += ["--seeds", str(len(seeds))]
    else:
        words += ["--seed-list", ",".join(map(str, seeds))]
    if record["data_seed"]:
        words += ["--data-seed", str(record["data_seed"])]
    for name, value in record["config"].items():
        if value != base.get(name):
            text = ",".join(map(str, value)) if isinstance(value, list) else value
            words += ["--set", f"{name}={text}"]
    return shlex.join(words)


def environment_of(record: dict[str, Any]) -> str | None:
    """The environment of a run's worker, None for the engine's own. Raises UserError where this machine lacks something."""
    study = JOBS[record["study"]]
    name = study.environment(study.Config(**record["config"]))
    if name is not None:
        interpreter(name)
    return name
