"""Saved SAEs of other tools: what they are, and the run that evaluates and matches them.

Files of unknown origin are parsed in a child process (`python -m engine.sae_formats FOLDER`) with bounds on time,
memory and writing, so the engine neither loads torch nor falls with a malicious file.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from engine.errors import UserError
from engine.hub import download, no_sae, parse_hub_id
from engine.language_model import BUNDLED, LABELS, canonical_hook_point
from engine.sae_formats import WEIGHT_FILES
from engine.sae_names import expected_width, hook_point_named, model_named

ARCHITECTURES = {
    "relu": "ReLU",
    "gated": "Gated",
    "jumprelu": "JumpReLU",
    "topk": "TopK",
    "batch_topk": "BatchTopK",
    "matryoshka_batch_topk": "Matryoshka BatchTopK",
}
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
SECONDS, BYTES_PER_SECOND = 60, 50_000_000
LOOKED_AT, DEPTH = 5_000, 4
DEFAULT_K = 32
COPIED = "HuggingFaceTB/SmolLM2-135M-Instruct"
Plain = str | int | float | bool


class Found(BaseModel):
    """A saved SAE: `hook_point` and `model` are ours, or None where its files do not tell; `notes` are full sentences."""

    source: str
    folder: str
    origin: str
    architecture: str
    d_in: int
    d_sae: int
    k: int | None
    hook_point: str | None
    model: str | None
    metadata: dict[str, Plain]
    sentence: str
    notes: list[str]


def inspect_sae(source: str) -> Found:
    """What the SAE in a local folder, or in a folder of a Hugging Face repository (downloaded), is.

    Raises UserError("checkpoint") with one sentence where there is none, or its files are unsound.
    """
    folder = locate_sae(source)
    facts = _facts(folder, _stamp(folder))
    notes = []
    model = model_named(facts["metadata"].get("model_name"))
    if named := facts["metadata"].get("model_name"):
        if model is None:
            notes.append(f"Its files name the model {named}, which is no Hugging Face id or folder here.")
    else:
        notes.append("Its files do not name a model.")
    if model == COPIED:
        notes.append(f"{BUNDLED} is a 4-bit copy of that model which works offline.")
    hook_point, assumed = hook_point_named(facts["metadata"], model)
    if assumed:
        notes.append(f"{assumed[0].upper()}{assumed[1:]}.")
    if hook_point is None:
        notes.append(
            "Its files do not tell where it reads; name the hook point, for example blocks.5.hook_out."
        )
    notes += _misfit(model, hook_point, facts["d_in"])
    sentence = _sentence(facts, hook_point, model)
    return Found(
        source=source.strip(), folder=str(folder), hook_point=hook_point, model=model, sentence=sentence,
        notes=notes, **facts,
    )  # fmt: skip


def _sentence(facts: dict[str, Any], hook_point: str | None, model: str | None) -> str:
    of = f" of {LABELS.get(model, model)}" if model else ""
    where = f", read at {hook_point}{of}" if hook_point else of and f", trained on vectors{of}"
    k = f", k {facts['k']}" if facts["k"] else ""
    article = "An" if facts["origin"][0] in "aeiou" else "A"
    return (
        f"{article} {facts['origin']} {ARCHITECTURES[facts['architecture']]} SAE, {facts['d_sae']:,} latents on "
        f"{facts['d_in']:,}-wide vectors{k}{where}."
    )


def _misfit(model: str | None, hook_point: str | None, d_in: int) -> list[str]:
    """What the model's own settings say against the hook point, as notes."""
    if model is None or hook_point is None:
        return []
    try:
        _check(model, hook_point, d_in)
    except UserError as error:
        return [f"{error.message}"]
    return []


def _check(model: str, hook_point: str, d_in: int) -> None:
    canonical_hook_point(model, hook_point)
    width = expected_width(model, hook_point)
    if width is not None and width != d_in:
        raise UserError(
            "hook_point",
            f"{hook_point} of {model} is {width:,} wide, and the SAE reads vectors of {d_in:,}; name its model and hook point.",
        )


def import_settings(
    found: Sequence[Found],
    hook_point: str | None = None,
    model: str | None = None,
    corpus: str | None = None,
    n_tokens: int = 200_000,
) -> dict[str, Any]:
    """Settings of a sae_consistency run that trains nothing and evaluates the SAEs, one per seed.

    What is not given is what the files say; the model is the bundled one where they are silent. Raises UserError
    that names the field.
    """
    if not found:
        raise UserError("checkpoint", "nothing to import; name at least one folder or Hugging Face id.")
    first = found[0]
    for other in found[1:]:
        _alike(first, other)
    for one in found:
        if "," in one.folder:
            raise UserError("checkpoint", f"{one.folder} has a comma in its path; rename the folder.")
    model = model or _agreed("model", [one.model for one in found]) or _silent(found)
    hook_point = hook_point or _agreed("hook_point", [one.hook_point for one in found])
    if not hook_point:
        raise UserError(
            "hook_point",
            f"{first.source} does not tell where it reads; give it, for example blocks.5.hook_out.",
        )
    _check(model, hook_point, first.d_in)
    k = first.k or (min(DEFAULT_K, first.d_sae) if first.architecture == "jumprelu" else None)
    return {
        "model": model,
        "hook_point": canonical_hook_point(model, hook_point),
        "n_tokens": n_tokens,
        "architecture": first.architecture,
        "d_sae": first.d_sae,
        "start_from": ",".join(one.folder for one in found),
        "decoder_norm": "free",
        "n_steps": 0,
        **({"k": k} if k else {}),
        **({"corpus": corpus} if corpus else {}),
    }


def _alike(first: Found, other: Found) -> None:
    for name in ("architecture", "d_in", "d_sae", "k"):
        mine, its = getattr(first, name), getattr(other, name)
        if mine != its:
            raise UserError(
                name,
                f"{first.source} has {mine} and {other.source} has {its}; import them as separate runs, "
                "which can be matched with each other.",
            )


def _agreed(field: str, values: list[str | None]) -> str | None:
    known = sorted({value for value in values if value})
    if len(known) > 1:
        raise UserError(
            field, f"the SAEs name {' and '.join(known[:3])}; import them as separate runs, or give one."
        )
    return known[0] if known else None


def _silent(found: Sequence[Found]) -> str:
    """The bundled model, unless the files name one that we do not know."""
    named = next((one.metadata["model_name"] for one in found if "model_name" in one.metadata), None)
    if named:
        raise UserError(
            "model", f"the files name {named}, which is not known here; give a Hugging Face id or a folder."
        )
    return BUNDLED


def locate_sae(source: str) -> Path:
    """The local folder a user named, a weights file's folder, or a downloaded one. Raises UserError."""
    text = source.strip()
    if not text or not text.isprintable():
        raise UserError(
            "checkpoint", "name a folder of this machine, or a Hugging Face id such as owner/name/folder."
        )
    try:
        path = Path(text).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError) as error:
        raise UserError("checkpoint", f"{text[:200]} cannot be opened ({error}); name another.") from None
    if is_file and path.name in WEIGHT_FILES:
        path, is_folder = path.parent, True
    elif is_file:
        what = "an archive; unpack it and" if path.suffix in ARCHIVES else "not an SAE's weights;"
        raise UserError("checkpoint", f"{text} is {what} name the folder of one SAE.")
    if is_folder:
        return _holding(path.absolute())
    wanted = parse_hub_id(text)
    if wanted is None:
        raise UserError(
            "checkpoint", f"{text[:200]} is neither a folder on this machine nor a Hugging Face id."
        )
    return download(wanted)


def _holding(folder: Path) -> Path:
    if any((folder / file).is_file() for file in WEIGHT_FILES):
        return folder
    raise no_sae(str(folder), sorted(_inside(folder)))


def _inside(folder: Path) -> Iterator[str]:
    """Folders below, at most DEPTH down and links not followed, that hold an SAE."""
    for looked, (path, folders, files) in enumerate(os.walk(folder)):
        inner = Path(path).relative_to(folder)
        if looked >= LOOKED_AT:
            return
        if len(inner.parts) >= DEPTH:
            folders.clear()
        if any(file in WEIGHT_FILES for file in files):
            yield inner.as_posix()


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)


@lru_cache(maxsize=64)
def _facts(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> dict[str, Any]:
    """What the child process says of a folder; asked again only when its files change. Raises UserError."""
    size = sum(size for _, size, _ in stamp)
    try:
        child = subprocess.run(
            [sys.executable, "-m", "engine.sae_formats", str(folder)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS + size / BYTES_PER_SECOND,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            "checkpoint", f"{folder} took too long to read; name a folder with an SAE's files."
        ) from None
    try:
        answer = json.loads(child.stdout.decode().splitlines()[-1])
    except (ValueError, IndexError):
        raise UserError(
            "checkpoint", f"{folder} cannot be read: its reader ended without an answer."
        ) from None
    if "message" in answer:
        raise UserError(answer["field"], answer["message"])
    return dict(answer)
