"""How many tokens each denoising step commits, and where (LLaDA, 2502.09992). No torch: configs are checked with it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """At step s, `counts[s]` tokens are committed among the masked positions before `ends[s]`."""

    counts: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def steps(self) -> int:
        return len(self.counts)


def transfer_counts(masked: int, steps: int) -> tuple[int, ...]:
    """Tokens committed at each step: floor(masked / steps), one more in the first masked mod steps steps."""
    base, rest = divmod(masked, steps)
    return tuple(base + (step < rest) for step in range(steps))


def blockwise(length: int, block: int, steps: int) -> Schedule:
    """Blocks from left to right, the steps shared evenly. Raises ValueError unless both divide: tokens would stay masked."""
    if length % block:
        raise ValueError(f"a completion of {length} tokens does not divide into blocks of {block}.")
    blocks = length // block
    if steps % blocks or steps // blocks > block:
        raise ValueError(
            f"{steps} steps do not share out over {blocks} blocks of {block} tokens, one token a step at least."
        )
    counts = transfer_counts(block, steps // blocks)
    ends = tuple(block * (number + 1) for number in range(blocks) for _ in counts)
    return Schedule(counts * blocks, ends)


def refill(length: int, masked: int) -> Schedule:
    """One token a step, anywhere, until `masked` positions are filled again."""
    return Schedule((1,) * masked, (length,) * masked)
