"""Python environments beside Concordance's own, for models whose code needs other libraries: `concordance env NAME`.

An environment is a folder in the cache; workers of a study that asks for it (`Study.environment`) run Concordance's own
code with its interpreter. Its marker file is written last, so that one that was interrupted is never taken for a whole
one, and making it again goes on where it stopped.
"""

import fcntl
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data.files import read_json, write_json
from data.paths import cache_dir
from engine.errors import UserError
from engine.executors import gpu_names

ROOT = Path(__file__).resolve().parent.parent
OURS = ("analyses", "data", "engine")
REPORTED = ("torch", "transformers", "peft", "bitsandbytes", "safetensors", "numpy")
MARKER = "environment.json"


@dataclass(frozen=True)
class Environment:
    """What is installed: `packages`, on machines with a GPU `gpu_packages` too, in the versions `constraints` pins.

    torch is that of Concordance's own environment. `imports` are the modules that must then be importable; `notice` is what
    a user should know of runs in it.
    """

    name: str
    purpose: str
    notice: str
    constraints: Path
    packages: tuple[str, ...]
    gpu_packages: tuple[str, ...]
    imports: tuple[str, ...]


WORKER = (
    "lapx", "networkx", "numpy", "pandas", "platformdirs", "psutil", "pyarrow", "pydantic", "python-sat", "safetensors", "scipy",
)  # fmt: skip

ENVIRONMENTS = {
    "llada": Environment(
        "llada",
        "LLaDA's published code, which breaks with transformers 5",
        "A run in it executes the code that comes with its model, with your rights: name only models whose owner you trust.",
        ROOT / "constraints" / "llada-py311.txt",
        (*WORKER, "accelerate", "peft", "protobuf", "sentencepiece", "transformers"),
        ("bitsandbytes",),
        (
            "engine.worker",
            "engine.studies.sapo.training",
            "engine.studies.sapo.large",
            "transformers",
            "peft",
        ),
    )
}


def folder(name: str) -> Path:
    return cache_dir() / "environments" / name


def _python(name: str) -> Path:
    return folder(name) / "bin" / "python"


def state(name: str) -> str:
    """ "ready", "missing", "unfinished" (its making was interrupted) or "outdated" (Concordance now wants others)."""
    if not folder(name).is_dir():
        return "missing"
    if not (folder(name) / MARKER).exists():
        return "unfinished"
    same = read_json(folder(name) / MARKER)["recipe"] == _recipe(ENVIRONMENTS[name])
    return "ready" if same and _python(name).exists() else "outdated"


def describe(name: str) -> dict[str, Any]:
    """Name, purpose, state, folder, and the packages of one that is ready."""
    wanted = ENVIRONMENTS[name]
    found: dict[str, Any] = {"name": name, "purpose": wanted.purpose, "notice": wanted.notice}
    found |= {"state": state(name), "folder": str(folder(name))}
    ready = found["state"] == "ready"
    return {**found, "packages": read_json(folder(name) / MARKER)["packages"] if ready else {}}


def interpreter(name: str) -> Path:
    """The Python of an environment. Raises UserError where it is not ready, with the command that makes it."""
    found = state(name)
    if found != "ready":
        raise UserError(
            "environment", f"the environment {name} is {found}; make it with `concordance env {name}`."
        )
    return _python(name)


def make(name: str, tell: Callable[[str], None]) -> dict[str, Any]:
    """Make an environment or bring it up to date, telling each stage; its description. Raises UserError."""
    if name not in ENVIRONMENTS:
        raise UserError("name", f"{name!r} does not exist; choose one of {', '.join(ENVIRONMENTS)}.")
    wanted = ENVIRONMENTS[name]
    folder(name).parent.mkdir(parents=True, exist_ok=True)
    with (folder(name).parent / f".{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "name", f"the environment {name} is being made by another process; wait for it."
            ) from None
        if state(name) != "ready":
            _make(wanted, tell)
    return describe(name)


def _make(wanted: Environment, tell: Callable[[str], None]) -> None:
    place, python = folder(wanted.name), str(_python(wanted.name))
    (place / MARKER).unlink(missing_ok=True)
    tell(f"Making {place} …")
    if not _runs([python, "-m", "pip", "--version"]):
        _must([sys.executable, "-m", "venv", "--clear", str(place)])
    tell("Installing its packages (with torch, several hundred MB or more; once) …")
    install = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    _must([*install, *_arguments(wanted)])
    tell("Checking that a worker starts in it …")
    _link(python)
    _must([python, "-c", f"import {', '.join(wanted.imports)}"])
    packages = json.loads(_told([python, "-m", "engine.environments"]))
    write_json(place / MARKER, {"recipe": _recipe(wanted), "packages": packages})


def _arguments(wanted: Environment) -> list[str]:
    gpu = wanted.gpu_packages if gpu_names() else ()
    torch = f"torch=={version('torch').partition('+')[0]}"
    return ["-c", str(wanted.constraints), torch, *wanted.packages, *gpu]


def _recipe(wanted: Environment) -> str:
    """A hash of everything an environment is made from."""
    python = ".".join(map(str, sys.version_info[:2]))
    parts = [python, str(ROOT), *_arguments(wanted), wanted.constraints.read_text()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _link(python: str) -> None:
    """Let the environment import this very code, and nothing else of our own environment."""
    place = _told([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    for name in OURS:
        link = Path(place) / name
        link.unlink(missing_ok=True)
        link.symlink_to(ROOT / name, target_is_directory=True)


def _runs(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def _must(command: list[str]) -> None:
    if subprocess.run(command, cwd=cache_dir()).returncode:
        raise UserError(
            "name",
            "making the environment failed; its message stands above. The same command goes on where it stopped.",
        )


def _told(command: list[str]) -> str:
    """What a command prints. It is run where no code of ours lies, so that what it imports is the environment's."""
    return subprocess.run(command, cwd=cache_dir(), capture_output=True, text=True, check=True).stdout


def versions() -> dict[str, str]:
    """Versions of the libraries a worker computes with, without loading them."""
    found = {}
    for name in REPORTED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    print(json.dumps(versions()))
