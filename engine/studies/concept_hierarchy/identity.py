"""What a run's data are, by content: files by their hash, another run by its manifest."""

from pathlib import Path

from data.assets import ASSETS, AssetMissing, locate
from data.files import sha256_file
from engine.errors import UserError
from engine.studies.concept_hierarchy.config import Config


def identity(config: Config) -> str:
    """Identity of the data a config names; empty for worlds and images, which seeds make. Raises UserError."""
    if config.source == "features":
        from engine.studies.concept_hierarchy.features import features_identity

        return features_identity(config)
    if config.source == "table":
        files = [("table", config.table)]
        files += [("true_graph", config.true_graph)] if config.true_graph else []
        return " ".join(_file(field, path) for field, path in files)
    try:
        if config.source == "bfi":
            locate("bfi")
            return ASSETS["bfi"].sha256[:16]
        if config.source == "burnout":
            from data.questionnaires import burnout_file

            return sha256_file(burnout_file())[:16]
    except AssetMissing as error:
        raise UserError("source", str(error)) from error
    return ""


def _file(field: str, path: str) -> str:
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(field, f"{path} is not a file on this machine; give its full path.")
    return sha256_file(file)[:16]
