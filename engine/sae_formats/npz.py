"""numpy's .npz without numpy.load: no pickle, no unpacking to disk, sizes known before anything is allocated."""

import math
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from engine.sae_formats.common import Tensors, brief, refused, shown
from engine.sae_formats.files import LARGEST_FILE, check_size

MEMBER = re.compile(r"(\w{1,64})\.npy", re.ASCII)
MOST_MEMBERS = 32
BLOAT = 64
SMALL = 1_000_000
DAMAGED = (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def read_npz(path: Path) -> Tensors:
    """The arrays of an .npz file as tensors. Raises UserError for whatever numpy.savez does not write."""
    size = check_size(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = _names(path, archive)
            headers = {name: _header(path, archive, name) for name in names}
            total = sum(count * dtype.itemsize for _, _, dtype, count in headers.values())
            if total > LARGEST_FILE or total > BLOAT * size + SMALL:
                raise refused(
                    path.parent, f"has a {path.name} of {size:,} bytes that declares arrays of {total:,}; "
                    "an SAE's weights hardly compress"
                )  # fmt: skip
            return {name: torch.from_numpy(_array(archive, name, *headers[name])) for name in names}
    except DAMAGED as error:
        raise refused(path.parent, f"has a damaged {path.name} ({brief(error)}); copy it again") from None


def _names(path: Path, archive: zipfile.ZipFile) -> list[str]:
    members = [member.filename for member in archive.infolist()]
    if len(members) > MOST_MEMBERS or len(set(members)) < len(members):
        raise refused(path.parent, f"has a {path.name} of {len(members)} members, some too many for an SAE")
    for member in members:
        if not MEMBER.fullmatch(member):
            raise refused(
                path.parent, f"has a {path.name} with the member {shown(member)}, which is no array's name"
            )
    return [member.removesuffix(".npy") for member in members]


def _header(
    path: Path, archive: zipfile.ZipFile, name: str
) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    """Shape, column-major order, dtype and number of values that an array's header declares."""
    with archive.open(f"{name}.npy") as file:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{name} is in npy version {version}")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
        offset = file.tell()
    if dtype.hasobject or dtype.kind != "f" or dtype.itemsize > 8:
        raise refused(
            path.parent, f"holds {name} as {shown(str(dtype))}; it must be float16, float32 or float64"
        )
    if len(shape) > 2 or any(side < 0 for side in shape):
        raise refused(path.parent, f"holds {name} of shape {shown(shape)}; it must be a matrix or a vector")
    count = math.prod(shape)
    if offset + count * dtype.itemsize != archive.getinfo(f"{name}.npy").file_size:
        raise refused(
            path.parent, f"holds {name}, whose header declares {shown(shape)} and not what is there"
        )
    return shape, fortran, dtype, count


def _array(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    fortran: bool,
    dtype: np.dtype[np.generic],
    count: int,
) -> NDArray[np.float32]:
    n_bytes = count * dtype.itemsize
    with archive.open(f"{name}.npy") as file:
        npy.read_magic(file)
        file.seek(archive.getinfo(f"{name}.npy").file_size - n_bytes)
        content = file.read(n_bytes)
    if len(content) != n_bytes:
        raise ValueError(f"{name} ends early")
    values = np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if fortran else "C")
    return np.array(values, dtype=np.float32, order="C")
