"""`make audit`: known vulnerabilities of the pinned packages, by pip-audit; fails on one that nobody has reviewed.

Reviewed ones stand in constraints/reviewed-vulnerabilities.txt, a line each: the id, white space, why it does not matter here.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "constraints" / "cpu-py311.txt"
REVIEWED = ROOT / "constraints" / "reviewed-vulnerabilities.txt"
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
    return found, f"audit: {len(looked_at)} of {len(packages)} packages looked up, {len(found)} unreviewed."


def reachable() -> bool:
    """Whether PyPI's JSON API answers, and tells the vulnerability it must know."""
    try:
        return bool(httpx.get(PROBE, timeout=5, follow_redirects=True).json()["vulnerabilities"])
    except (httpx.HTTPError, ValueError, KeyError):
        return False


def main() -> None:
    known = reviewed(REVIEWED.read_text())
    if not reachable():
        print("audit: PyPI's list of vulnerabilities cannot be reached from here; nothing was looked up.")
        return
    options = ["--disable-pip", "--no-deps", "--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", *options, "-r", str(PINS)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        report = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        print(f"audit: the list of vulnerabilities did not answer within {SECONDS} s; nothing was looked up.")
        return
    found, sentence = judged(report, known)
    print("\n".join([*found, sentence]))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
