"""Files of a CLIP with the published architecture: what they are, and their conversion in a child process.

A folder as transformers or open_clip save it, or one file of weights in OpenAI's layout (Long-CLIP, SmartCLIP: `.pt`). Files
that can hold code (`.pt`, `.bin`) are only ever read with `weights_only`, in a child with bounds on time and memory, and kept
as safetensors in the cache.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from data.files import read_json, sha256_file
from data.paths import cache_dir
from engine.errors import UserError

Layout = Literal["transformers", "open_clip", "openai"]
TRANSFORMERS = ("model.safetensors", "pytorch_model.bin")
OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
ENDINGS = (".pt", ".pth", ".bin", ".safetensors")
SECONDS, BYTES_PER_SECOND = 120, 20_000_000
VERSION = 1


@dataclass(frozen=True)
class ClipFiles:
    """Where the weights lie, in which layout, whether its activation is QuickGELU, and the folder of its tokenizer."""

    weights: Path
    layout: Layout
    quick_gelu: bool
    folder: Path


def find_clip(named: str) -> ClipFiles:
    """The files of a CLIP that a folder or a file names. Raises UserError("clip")."""
    if not named.strip():
        raise UserError("clip", "name the folder or file of a CLIP on this machine.")
    path = Path(named.strip()).expanduser().absolute()
    if path.is_file():
        if path.suffix not in ENDINGS:
            raise UserError(
                "clip", f"{path.name} ends in none of {', '.join(ENDINGS)}; name a file of weights."
            )
        return ClipFiles(path, "openai", True, path.parent)
    if not path.is_dir():
        raise UserError(
            "clip", f"{path} is neither a folder nor a file on this machine; name one that exists."
        )
    if found := _first(path, OPEN_CLIP):
        return ClipFiles(found, "open_clip", _open_clip_gelu(path), path)
    if (found := _first(path, TRANSFORMERS)) and (path / "config.json").exists():
        return ClipFiles(found, "transformers", _transformers_gelu(path), path)
    others = sorted(one for one in path.iterdir() if one.suffix in ENDINGS)
    if len(others) == 1:
        return ClipFiles(others[0], "openai", True, path)
    raise UserError(
        "clip",
        f"{path} holds no CLIP of transformers or open_clip and {len(others)} other files of weights; name the one meant.",
    )


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _open_clip_gelu(folder: Path) -> bool:
    config = folder / "open_clip_config.json"
    try:
        model = read_json(config).get("model_cfg", {}) if config.exists() else {}
    except (ValueError, AttributeError):
        raise UserError("clip", f"{config} is no JSON of open_clip; save the model again.") from None
    return bool(model.get("quick_gelu", False))


def _transformers_gelu(folder: Path) -> bool:
    try:
        config = read_json(folder / "config.json")
        kind = config.get("model_type")
        acts = {
            config.get(part, {}).get("hidden_act", "quick_gelu") for part in ("text_config", "vision_config")
        }
    except (ValueError, AttributeError):
        raise UserError(
            "clip", f"{folder / 'config.json'} is no JSON of transformers; save the model again."
        ) from None
    if kind != "clip":
        raise UserError("clip", f"{folder} holds a model of type {kind!r}; name a CLIP.")
    if len(acts) != 1 or not acts <= {"quick_gelu", "gelu"}:
        raise UserError(
            "clip",
            f"the activation {', '.join(sorted(acts))} is not one of quick_gelu and gelu; name another CLIP.",
        )
    return acts == {"quick_gelu"}


def published_identity(named: str) -> str:
    """The hash of the weights, part of a run's identity. Raises UserError("clip")."""
    return _hash(find_clip(named).weights)[:16]


def _hash(path: Path) -> str:
    about = path.stat()
    return _hashed(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=16)
def _hashed(path: Path, size: int, changed: int) -> str:
    return sha256_file(path)


def converted(files: ClipFiles) -> Path:
    """The weights as safetensors in OpenAI's layout, made once in a child and kept in the cache. Raises UserError("clip")."""
    target = cache_dir() / "clip" / f"{_hash(files.weights)[:24]}-{VERSION}.safetensors"
    if target.exists():
        return target
    target.parent.mkdir(exist_ok=True)
    size = files.weights.stat().st_size
    command = [
        sys.executable,
        "-m",
        "engine.studies.smartclip.converting",
        str(files.weights),
        files.layout,
        str(target),
    ]
    try:
        child = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS + size / BYTES_PER_SECOND,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip
        answer = json.loads(child.stdout.decode().splitlines()[-1])
    except subprocess.TimeoutExpired:
        raise UserError(
            "clip", f"{files.weights.name} took too long to read; name a file of weights."
        ) from None
    except (ValueError, IndexError):
        raise UserError(
            "clip", f"{files.weights.name} cannot be read: its reader ended without an answer."
        ) from None
    if "message" in answer:
        raise UserError("clip", answer["message"])
    return target
