"""Parquet files of users: one that cannot be read is refused in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa


@contextmanager
def refusing_damage(file: Path, error: type[ValueError] = ValueError) -> Iterator[None]:
    """Around what opens or reads `file`. Raises `error` where its bytes are no sound Parquet."""
    try:
        yield
    except (pa.ArrowException, OSError) as damage:
        why = (str(damage).strip().splitlines() or ["unreadable"])[0][:200]
        raise error(f"{file.name} cannot be read as Parquet ({why}); write it again.") from None
