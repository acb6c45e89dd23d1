"""Named random streams: no null, initialisation or bootstrap ever shares a seed with another."""

import hashlib


def stream_seed(name: str, *seeds: int) -> int:
    """A 63-bit seed for the stream `name`, a function of the name and the run's seeds only."""
    key = ":".join([name, *(str(int(seed)) for seed in seeds)])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
