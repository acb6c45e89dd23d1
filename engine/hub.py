"""One folder of a Hugging Face repository, downloaded once into its cache."""

import glob
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from engine.errors import UserError
from engine.plain_text import one_line
from engine.sae_formats import LARGEST_FILE, WEIGHT_FILES

ADDRESS = re.compile(r"(?:https?://)?(?:huggingface\.co|hf\.co)/")
PART = re.compile(r"[\w.,=+@-]+", re.ASCII)
PATIENCE = 15.0
UNREACHABLE = (
    "OfflineModeIsEnabled",
    "ConnectError",
    "ConnectTimeout",
    "ReadTimeout",
    "LocalEntryNotFoundError",
)


@dataclass(frozen=True)
class HubFolder:
    """`folder` of `repository` at `revision`; the repository's root is "."."""

    repository: str
    folder: str
    revision: str | None

    @property
    def name(self) -> str:
        return self.repository if self.folder == "." else f"{self.repository}/{self.folder}"


def parse_hub_id(text: str) -> HubFolder | None:
    """owner/name, owner/name/sub/folder, or the address of such a page; None for anything else."""
    parts = [part for part in ADDRESS.sub("", text.strip()).split("/") if part]
    revision = None
    if ADDRESS.match(text.strip()) and len(parts) > 3 and parts[2] in ("tree", "blob"):
        revision = parts[3]
        del parts[2:4]
    if len(parts) < 2 or text.startswith(("/", ".", "~")):
        return None
    if any(not PART.fullmatch(part) or part in (".", "..") for part in parts):
        return None
    return HubFolder("/".join(parts[:2]), "/".join(parts[2:]) or ".", revision)


def download(wanted: HubFolder) -> Path:
    """The folder on this machine, its settings and weights fetched. Raises UserError."""
    try:
        return _download(wanted)
    except UserError:
        raise
    except Exception as error:
        return _cached(wanted, error)


def _download(wanted: HubFolder) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    listing = HfApi().model_info(
        wanted.repository, revision=wanted.revision, files_metadata=True, timeout=PATIENCE
    )
    sizes = {file.rfilename: file.size or 0 for file in listing.siblings or []}
    files = [path for path in sizes if _belongs(path, wanted.folder)]
    if not any(PurePosixPath(path).name in WEIGHT_FILES for path in files):
        folders = {
            str(PurePosixPath(path).parent) for path in sizes if PurePosixPath(path).name in WEIGHT_FILES
        }
        raise no_sae(wanted.name, sorted(folders))
    total = sum(sizes[path] for path in files)
    if total > LARGEST_FILE:
        raise UserError(
            "checkpoint", f"{wanted.name} has {total / 1e9:.0f} GB of files, and an SAE's are at most 17."
        )
    patterns = [glob.escape(path) for path in files]
    snapshot = snapshot_download(wanted.repository, revision=wanted.revision, allow_patterns=patterns)
    return Path(snapshot) / wanted.folder


def _belongs(path: str, folder: str) -> bool:
    """Settings and weights of the folder itself, and the settings of the training that stand beside it."""
    file = PurePosixPath(path)
    beside = str(PurePosixPath(folder).parent / "config.json")
    wanted = file.suffix == ".json" or file.name in WEIGHT_FILES
    return (str(file.parent) == folder and wanted) or path == beside


def no_sae(name: str, folders: list[str]) -> UserError:
    """The refusal of a folder without an SAE, which names those inside it that have one."""
    if not folders:
        files = ", ".join(WEIGHT_FILES)
        return UserError("checkpoint", f"{name} holds no SAE's file ({files}); name the folder of one SAE.")
    more = f" and {len(folders) - 5} more" if len(folders) > 5 else ""
    listed = ", ".join(one_line(folder, 80) for folder in folders[:5]) + more
    return UserError("checkpoint", f"{name} holds no SAE itself, but its folders do; name one of {listed}.")


def _cached(wanted: HubFolder, error: Exception) -> Path:
    """What an earlier download left here, when the hub refuses or is out of reach. Raises UserError."""
    from huggingface_hub import errors, try_to_load_from_cache

    for file in WEIGHT_FILES:
        path = (PurePosixPath(wanted.folder) / file).as_posix()
        kept = try_to_load_from_cache(wanted.repository, path, revision=wanted.revision)
        if isinstance(kept, str):
            return Path(kept).parent
    if isinstance(error, errors.GatedRepoError):
        reason = "is gated; accept its terms on huggingface.co, then log in with `hf auth login`"
    elif isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        reason = "is neither a folder on this machine nor a repository on Hugging Face; check the name"
    elif isinstance(error, errors.RevisionNotFoundError | errors.EntryNotFoundError) and not _offline(error):
        reason = "is not in that repository on Hugging Face; check folder and revision"
    elif _offline(error):
        reason = (
            "is not a folder on this machine, and Hugging Face cannot be reached; go online, or download it elsewhere "
            "and name its folder"
        )
    else:
        reason = f"cannot be downloaded ({one_line(str(error), 120) or type(error).__name__}); try again, or name a local folder"
    raise UserError("checkpoint", f"{wanted.name} {reason}.") from None


def _offline(error: BaseException) -> bool:
    seen = [error]
    while (cause := seen[-1].__cause__ or seen[-1].__context__) is not None and len(seen) < 10:
        seen.append(cause)
    return any(type(one).__name__ in UNREACHABLE for one in seen)
