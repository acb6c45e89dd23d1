"""Damaged and hostile files, made from sound ones: each is taken or refused in one sentence, and nothing else happens."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.importers import IMPORTERS, attempt

EXAMPLES = 40
TOKENS = [b"", b"\x00", b"\n", b",", b'"', b"{", b"[" * 2_000, b"}", b"null", b"-1", b"1e999", b"NaN", b"9" * 5_000,
          b"../../x", b"\xff\xfe", "é".encode(), b"\\ud800", b"PAR1", b"true", b"=1+1", b"\r"]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, sound: tuple[bytes, ...]) -> bytes:
    """A sound file with a few pieces cut out, doubled, or replaced by what readers trip over; or bytes of no kind."""
    content = draw(st.sampled_from([*sound, b""]))
    for _ in range(draw(st.integers(0, 4))):
        first = draw(st.integers(0, len(content)))
        last = draw(st.integers(first, min(len(content), first + 40)))
        piece = draw(
            st.one_of(st.sampled_from(TOKENS), st.binary(max_size=8), st.just(content[first:last] * 2))
        )
        content = content[:first] + piece + content[last:]
    return content


@pytest.mark.parametrize("which", IMPORTERS)
def test_a_damaged_file_is_taken_or_refused_in_one_sentence(
    which: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("files")

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(IMPORTERS[which].sound))
    def fuzz(content: bytes) -> None:
        attempt(which, content, folder)

    fuzz()


@pytest.mark.parametrize(
    "which",
    [
        "table.csv", "graph.csv", "texts.jsonl", "sudoku.txt", "maze.txt", "generations.json", "features.parquet",
        "sae-lens/cfg.json", "dictionary_learning/ae.pt", "sparsify/sae.safetensors", "gemma_scope/params.npz",
    ],
)  # fmt: skip
def test_a_sound_file_is_taken(which: str, tmp_path: Path) -> None:
    assert attempt(which, IMPORTERS[which].sound[0], tmp_path)
