"""What a large policy needs of this machine, asked before a run is queued; without torch."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

from data.files import sha256_file
from engine import environments
from engine.errors import UserError
from engine.executors import gpu_names
from engine.language_model import HUB_ID, model_identity
from engine.studies.sapo.config import Config

ENVIRONMENT = "llada"
EXTRA = '.venv/bin/pip install -e ".[gpu]"'
TINY_BYTES = 200e6  # of weights: what a processor alone is let run, to try the way


def model_folder(config: Config) -> Path | None:
    """The local folder of a large policy's model; None for a Hugging Face id. Raises UserError."""
    name = config.large_model
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise UserError("policy_model", f"{folder} has no config.json; name a folder with a model.")
        return folder
    if HUB_ID.fullmatch(name) and not name.startswith("."):
        return None
    raise UserError(
        "policy_model", f"{name!r} is no folder on this machine and no Hugging Face id (owner/name)."
    )


def large_identity(config: Config) -> str:
    """A hash of the model's files, code among them, or its name on the hub. Raises UserError."""
    folder = model_folder(config)
    if folder is None:
        return f"hub {config.large_model}"
    code = [sha256_file(path) for path in sorted(folder.glob("*.py"))]
    try:
        lines = " ".join([model_identity(str(folder)), *code])
    except UserError as error:
        raise UserError("policy_model", error.message) from None
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def require(config: Config) -> str | None:
    """The environment a run's worker needs, None for our own. Raises UserError that lists all this machine lacks."""
    if config.imported or not config.is_large:
        return None
    if lacking := missing(config):
        raise UserError("policy", f"{config.large_model} cannot run here: it needs {' and '.join(lacking)}.")
    return ENVIRONMENT if config.policy == "llada" else None


def missing(config: Config) -> list[str]:
    """What this machine lacks for a large policy, each with the way to get it."""
    from engine.studies.sapo.cost import large_memory

    found = []
    if not gpu_names() and (config.four_bit or not _is_tiny(config)):
        found.append(f"an NVIDIA GPU with about {large_memory(config, 1) / 1e9:.0f} GB (none is found here)")
    if config.policy == "llada":
        state = environments.state(ENVIRONMENT)
        if state != "ready":
            found.append(
                f"the environment {ENVIRONMENT} (it is {state}; `concordance env {ENVIRONMENT}` makes it)"
            )
        return found
    wanted = ["peft", "bitsandbytes"] if config.four_bit else ["peft"]
    if lacking := [name for name in wanted if find_spec(name) is None]:
        found.append(f"the packages {', '.join(lacking)} (the extra gpu: {EXTRA})")
    return found


def _is_tiny(config: Config) -> bool:
    folder = model_folder(config)
    return folder is not None and weight_bytes(folder) <= TINY_BYTES


def weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
