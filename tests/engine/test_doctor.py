"""`concordance doctor` names what is broken and the fix."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import doctor


def found(checked: Iterator[doctor.Finding]) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in checked}


def test_a_state_folder_that_cannot_be_written_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONCORDANCE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("CONCORDANCE_CACHE", str(tmp_path))
    report = found(doctor.folders())
    assert report["state folder"].level == "error" and "set CONCORDANCE_HOME" in report["state folder"].text
    assert report["cache folder"].level != "error"


def test_a_package_out_of_range_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor, "requires", lambda name: ["numpy<1", "no-such-package>=1", "scipy", "x; extra == 'gpu'"]
    )
    (report,) = doctor.packages()
    assert report.level == "error"
    assert "numpy" in report.text and "<1" in report.text and "no-such-package is missing" in report.text
    assert "scipy" not in report.text and "make setup" in report.text


def test_a_missing_asset_is_a_warning_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from data import assets

    asset = next(iter(assets.ASSETS.values()))
    monkeypatch.setattr(assets, "ASSETS", {"no-such-asset": replace(asset, package="no-such-package")})
    (report,) = doctor.assets()
    assert report.level == "warning" and "no-such-package" in report.text


def test_a_check_that_fails_is_told_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[doctor.Finding]:
        raise RuntimeError("no bus")

    for name in ("packages", "folders", "gpu", "browser", "assets", "engine"):
        monkeypatch.setattr(doctor, name, lambda: iter(()))
    monkeypatch.setattr(doctor, "memory", broken)
    report = doctor.examine()
    assert [(finding.name, finding.level) for finding in report] == [("python", "sound"), ("broken", "error")]
    assert not doctor.as_json(report)["sound"]


@pytest.mark.parametrize("package", ["numpy", "pyarrow", "typer"])
def test_a_missing_package_is_one_sentence(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from engine.entry import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "doctor"], capture_output=True, text=True)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert done.stderr == f"packages: {package} is missing; remove .venv and run `make setup`.\n"
