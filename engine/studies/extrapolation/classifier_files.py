"""The files of a user's own image classifier: what is there, and what is refused before anything is opened."""

from pathlib import Path

from data.files import sha256_file
from engine.errors import UserError

CODE = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib", ".ts", ".torchscript")
MOST_BYTES = 4 * 10**9


def find_classifier(named: str) -> Path:
    """The folder or file of a classifier. Raises UserError("classifier") for what is not there or could run code."""
    path = Path(named.strip()).expanduser().absolute()
    if path.is_file():
        if path.suffix.lower() in CODE:
            raise UserError(
                "classifier",
                f"{path.name} is a pickled or TorchScript file, which can run code when opened; save its state as .safetensors "
                "or the model with save_pretrained.",
            )
        if path.suffix.lower() != ".safetensors":
            raise UserError(
                "classifier", f"{path.name} is no .safetensors file; name one, or a transformers folder."
            )
        return path
    if not path.is_dir():
        raise UserError(
            "classifier", f"{path} is neither a folder nor a file on this machine; name one that exists."
        )
    if not (path / "config.json").is_file():
        raise UserError("classifier", f"{path} has no config.json; name a folder that save_pretrained wrote.")
    if not any(path.glob("*.safetensors")):
        raise UserError(
            "classifier",
            f"{path} has no .safetensors weights; save the model again with safe_serialization=True, pickled files are not opened.",
        )
    return path


def classifier_identity(named: str) -> str:
    """Hash of a classifier's weights and config. Raises UserError."""
    path = find_classifier(named)
    files = [path] if path.is_file() else [path / "config.json", *sorted(path.glob("*.safetensors"))]
    if sum(one.stat().st_size for one in files) > MOST_BYTES:
        raise UserError(
            "classifier", f"{path.name} holds more than {MOST_BYTES // 10**9} GB; use a smaller one."
        )
    return " ".join(sha256_file(one)[:16] for one in files)
