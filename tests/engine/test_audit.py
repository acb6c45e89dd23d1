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


@pytest.mark.parametrize("answers", [False, True])
@pytest.mark.parametrize(("offline", "status"), [(None, 1), ("", 1), ("1", 0)])
def test_an_audit_that_looked_at_nothing_fails_unless_that_is_expected(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: bool,
    offline: str | None,
    status: int,
) -> None:
    monkeypatch.setitem(AUDIT["main"].__globals__, "reachable", lambda: answers)
    monkeypatch.setitem(AUDIT["main"].__globals__, "report_on", lambda pins: None)
    monkeypatch.delenv("AUDIT_OFFLINE", raising=False)
    if offline is not None:
        monkeypatch.setenv("AUDIT_OFFLINE", offline)
    with pytest.raises(SystemExit) as ended:
        AUDIT["main"]()
    assert int(ended.value.code or 0) == status
    assert "NOTHING WAS AUDITED" in capsys.readouterr().out


def test_every_file_of_pins_is_audited(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def report(pins: Path) -> dict | None:
        found = {"cuda-py311.txt": [WEAK], "cpu-py311.txt": None}.get(pins.name, [SOUND])
        return found and {"dependencies": found}

    monkeypatch.setitem(AUDIT["main"].__globals__, "reachable", lambda: True)
    monkeypatch.setitem(AUDIT["main"].__globals__, "report_on", report)
    monkeypatch.setenv("AUDIT_OFFLINE", "1")
    with pytest.raises(SystemExit) as ended:
        AUDIT["main"]()
    said = capsys.readouterr().out
    assert ended.value.code and "a 1: PYSEC-1" in said and "NOT AUDITED: cpu-py311.txt" in said
    assert "audit of llada-py311.txt: 1 of 1" in said and "audit of offline-packages.txt" in said


def test_every_reviewed_line_gives_a_reason() -> None:
    assert AUDIT["reviewed"]("# comment\n\nCVE-1  not reached here\n") == {"CVE-1": "not reached here"}
    with pytest.raises(SystemExit, match="CVE-2"):
        AUDIT["reviewed"]("CVE-2\n")
