"""Folders of SAEs as other tools save them: one file of each is made anew, the others stay sound."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from engine.sae_formats.reading import read_checkpoint
from tests.engine.test_importing import sae_lens_folder
from tests.sae_consistency.test_checkpoints import dictionary_learning_folder, dl_linear, sparsify_folder
from tests.sae_consistency.test_gemma_scope import gemma_folder

Made = Callable[[Path], Path]
FOLDERS: dict[str, tuple[Made, tuple[str, ...]]] = {
    "sae-lens": (sae_lens_folder, ("cfg.json", "sae_weights.safetensors")),
    "dictionary_learning": (
        lambda folder: dictionary_learning_folder(folder, "AutoEncoderTopK", dl_linear(), k=3),
        ("config.json", "ae.pt"),
    ),
    "sparsify": (lambda folder: sparsify_folder(folder)[0], ("cfg.json", "sae.safetensors")),
    "gemma_scope": (gemma_folder, ("params.npz",)),
}


def sae_files() -> dict[str, tuple[str, Callable[[Path], object], bytes]]:
    """Name of the file, its reader and sound bytes, by tool and file."""
    found = {}
    for tool, (make, names) in FOLDERS.items():
        with tempfile.TemporaryDirectory() as name:
            folder = make(Path(name) / "sae")
            contents = {one: (folder / one).read_bytes() for one in names}
        for one, content in contents.items():
            beside = {other: kept for other, kept in contents.items() if other != one}
            found[f"{tool}/{one}"] = (one, _reader(beside), content)
    return found


def _reader(beside: dict[str, bytes]) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        folder = path.parent / "sae"
        folder.mkdir(exist_ok=True)
        for name, content in beside.items():
            (folder / name).write_bytes(content)
        shutil.copy(path, folder / path.name)
        return read_checkpoint(folder)

    return read
