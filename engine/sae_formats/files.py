"""Files of unknown origin, read so that nothing in them runs and nothing they declare is allocated unseen."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.sae_formats import LARGEST_FILE
from engine.sae_formats.common import Tensors, brief, refused

LARGEST_SETTINGS = 4_000_000
LARGEST_HEADER = 1_000_000


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError."""
    if not path.is_file():
        raise refused(path.parent, f"has no {path.name}; copy it from where the SAE was saved")
    try:
        if path.stat().st_size > LARGEST_SETTINGS:
            raise refused(path.parent, f"has a {path.name} of more than 4 MB; an SAE's settings are short")
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise refused(path.parent, f"has an unreadable {path.name} ({brief(error)})") from None
    if not isinstance(settings, dict):
        raise refused(path.parent, f"has a {path.name} that is not a JSON object")
    return settings


def mapping(folder: Path, settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of the settings that must be an object; empty where it is absent. Raises UserError."""
    value = settings.get(name) or {}
    if not isinstance(value, dict):
        raise refused(folder, f"has {name} in its settings that is not a JSON object")
    return value


def check_size(path: Path) -> int:
    """Bytes of a weights file. Raises UserError where it is absent or larger than any SAE we can hold."""
    if not path.is_file():
        raise refused(path.parent, f"has no {path.name}; copy it from where the SAE was saved")
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise refused(
            path.parent, f"has a {path.name} of {size / 1e9:.0f} GB; an SAE's weights are at most 17 GB"
        )
    return size


def read_safetensors(path: Path) -> Tensors:
    """The tensors of a safetensors file, memory-mapped. Raises UserError."""
    size = check_size(path)
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if header > min(LARGEST_HEADER, size - 8):
            raise refused(
                path.parent, f"has a damaged {path.name} (its header claims {header:,} bytes of the file's {size:,}); "
                "copy it again"
            )  # fmt: skip
        return load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise refused(path.parent, f"has a damaged {path.name} ({brief(error)}); copy it again") from None


def read_pt(path: Path) -> Tensors:
    """A state dict saved with torch.save; anything but tensors in it is refused before it is built."""
    size = check_size(path)
    _check_archive(path, size)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise refused(
            path.parent, f"has an {path.name} that is not a plain state dict ({brief(error)})"
        ) from None
    if not isinstance(state, dict) or not all(_is_plain(name, value) for name, value in state.items()):
        raise refused(path.parent, f"has an {path.name} that is not a plain state dict of tensors")
    return {name: value.detach() for name, value in state.items()}


def _check_archive(path: Path, size: int) -> None:
    """torch.save stores a folder uncompressed; other archives are refused before torch reads them."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise refused(
            path.parent, f"has an {path.name} that is not a plain state dict ({brief(error)}); save it with torch.save"
        ) from None  # fmt: skip
    for member in members:
        if unsafe_name(member.filename):
            raise refused(path.parent, f"has an {path.name} with the unsafe member name {member.filename!r}")
    if (
        any(m.compress_type != zipfile.ZIP_STORED for m in members)
        or sum(m.file_size for m in members) > size
    ):
        raise refused(
            path.parent, f"has an {path.name} that unpacks to more than its size; save it with torch.save"
        )


def unsafe_name(name: str) -> bool:
    """Whether an archive member's name could leave the folder it is unpacked in."""
    return name.startswith(("/", "\\")) or ":" in name or ".." in name.replace("\\", "/").split("/")


def _is_plain(name: Any, tensor: Any) -> bool:
    """A dense tensor on the CPU that shows no more values than it stores."""
    return (
        isinstance(name, str)
        and isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )
