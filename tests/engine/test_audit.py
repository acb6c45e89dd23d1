"""The audit of dependencies: what it lets pass and what it does not."""

import runpy
from pathlib import Path

import pytest

AUDIT = runpy.run_path(str(Path(__file__).resolve().parents[2] / ".ci" / "audit.py"))
WEAK = {
    "name": "a",
    "version": "1",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}],
}
SOUND = {"name": "b", "version": "1", "vulns": []}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize("known", ["PYSEC-1", "CVE-1"])
def test_a_reviewed_vulnerability_passes_by_any_of_its_names(known: str) -> None:
    assert AUDIT["judged"]({"dependencies": [WEAK, SOUND]}, {known: "not reached"})[0] == []


def test_an_unreviewed_vulnerability_is_named_with_its_fix() -> None:
    found, sentence = AUDIT["judged"]({"dependencies": [WEAK, SOUND, SKIPPED]}, {"CVE-2": "another"})
    assert found == ["a 1: PYSEC-1, mended in 2"]
    assert "2 of 3 packages" in sentence


def test_every_reviewed_line_gives_a_reason() -> None:
    assert AUDIT["reviewed"]("# comment\n\nCVE-1  not reached here\n") == {"CVE-1": "not reached here"}
    with pytest.raises(SystemExit, match="CVE-2"):
        AUDIT["reviewed"]("CVE-2\n")
