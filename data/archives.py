"""Members of source archives, read in place."""

import io
import tarfile
from pathlib import Path


def read_member(path: Path, *members: str) -> bytes:
    """The bytes of a member of a tar archive; further names go into the archive that the one before it is.

    Raises KeyError for a member that is not there or is no file, tarfile.TarError for a damaged archive.
    """
    content = path.read_bytes()
    for member in members:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            file = archive.extractfile(member)
            if file is None:
                raise KeyError(f"{member} in {path.name} is not a file.")
            content = file.read()
    return content
