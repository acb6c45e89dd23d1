"""`make audit`: known vulnerabilities of the packages pinned in constraints/, by pip-audit; fails on one that nobody has reviewed.

It fails as well where PyPI's list of vulnerabilities cannot be asked, unless AUDIT_OFFLINE=1 says that this may be.

Reviewed ones stand in constraints/reviewed-vulnerabilities.txt, a line each: the id, white space, why it does not matter here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent
REVIEWED = ROOT / "constraints" / "reviewed-vulnerabilities.txt"
PINS = sorted(path for path in REVIEWED.parent.glob("*.txt") if path != REVIEWED)
OFFLINE = "AUDIT_OFFLINE"
PROBE = "https://pypi.org/pypi/requests/2.31.0/json"  # a version with a known vulnerability
SECONDS = 28


def reviewed(text: str) -> dict[str, str]:
    """Reasons by vulnerability id; every line must give one."""
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip() and line[0] != "#"]
    if bare := [words[0] for words in lines if len(words) < 2]:
        raise SystemExit(f"{REVIEWED.name}: {bare[0]} has no reason; write why it does not matter here.")
    return {words[0]: words[1] for words in lines}


def judged(report: dict[str, Any], known: dict[str, str]) -> tuple[list[str], str]:
    """Vulnerabilities that nobody reviewed, and one sentence on what was looked at. pip-audit skips what it cannot find."""
    packages = report["dependencies"]
    looked_at = [package for package in packages if "skip_reason" not in package]
    found = [
        f"{package['name']} {package['version']}: {one['id']}"
        + (f", mended in {', '.join(one['fix_versions'])}" if one["fix_versions"] else "")
        for package in looked_at
        for one in package["vulns"]
        if not {one["id"], *one["aliases"]} & set(known)
    ]
    return found, f"{len(looked_at)} of {len(packages)} packages looked up, {len(found)} unreviewed."


def reachable() -> bool:
    """Whether PyPI's JSON API answers, and tells the vulnerability it must know."""
    try:
        return bool(httpx.get(PROBE, timeout=5, follow_redirects=True).json()["vulnerabilities"])
    except (httpx.HTTPError, ValueError, KeyError):
        return False


def report_on(pins: Path) -> dict[str, Any] | None:
    """What pip-audit found in one file of pins; None where the list did not answer in time."""
    options = ["--disable-pip", "--no-deps", "--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", *options, "-r", str(pins)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        return dict(json.loads(done.stdout))
    except (subprocess.TimeoutExpired, ValueError):
        return None


def main() -> None:
    known = reviewed(REVIEWED.read_text())
    answers = reachable()
    found: set[str] = set()
    missing = []
    for pins in PINS:
        report = report_on(pins) if answers else None
        if report is None:
            missing.append(pins.name)
            continue
        weak, sentence = judged(report, known)
        found |= set(weak)
        print(f"audit of {pins.name}: {sentence}")
    for weakness in sorted(found):
        print(weakness)
    if missing:
        what = "NOTHING WAS AUDITED" if len(missing) == len(PINS) else f"NOT AUDITED: {', '.join(missing)}"
        print(f"audit: {what}; PyPI's list of vulnerabilities does not answer from here.")
    sys.exit(bool(found) or (bool(missing) and os.environ.get(OFFLINE) != "1"))


if __name__ == "__main__":
    main()
