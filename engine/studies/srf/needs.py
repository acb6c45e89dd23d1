"""What a published vision-language model needs of this machine, asked before a run is queued; without torch."""

from importlib.util import find_spec

from engine.errors import UserError
from engine.executors import gpu_names
from engine.language_model import model_folder, model_identity
from engine.studies.sapo.needs import EXTRA, TINY_BYTES, weight_bytes
from engine.studies.srf.config import Config


def require(config: Config) -> str:
    """The identity of a published model's weights, "" of a small one. Raises UserError that lists all this machine lacks."""
    if config.model != "large":
        return ""
    if lacking := missing(config):
        raise UserError("model_id", f"{config.model_id} cannot run here: it needs {' and '.join(lacking)}.")
    try:
        return model_identity(config.model_id)
    except UserError as error:
        raise UserError("model_id", error.message) from None


def missing(config: Config) -> list[str]:
    """What this machine lacks for a published model, each with the way to get it."""
    try:
        folder = model_folder(config.model_id)
    except UserError as error:
        raise UserError("model_id", error.message) from None
    found = []
    if not gpu_names() and (folder is None or weight_bytes(folder) > TINY_BYTES):
        found.append("an NVIDIA GPU with about 24 GB (none is found here)")
    if find_spec("peft") is None:
        found.append(f"the package peft (the extra gpu: {EXTRA})")
    return found
