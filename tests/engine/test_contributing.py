"""CONTRIBUTING.md's worked example, put into a copy of the tree and run by the commands it names."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^`(engine/[\w/]+\.py)`.*?```python\n(.*?)```", re.DOTALL | re.MULTILINE)


def test_the_example_study_runs_and_its_claim_is_measured(tmp_path: Path) -> None:
    tree, home = tmp_path / "tree", tmp_path / "home"
    for folder in ("engine", "analyses"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "data").symlink_to(ROOT / "data")
    blocks = dict(BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text()))
    assert list(blocks) == ["engine/tables/axes.py", "engine/studies/axes/__init__.py"]
    for name, code in blocks.items():
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text(code)
    register(
        tree / "engine/studies/__init__.py",
        "from engine.studies.axes import Axes",
        "        Axes(),\n    )\n}",
    )
    register(tree / "engine/tables/__init__.py", "from engine.tables.axes import AXES", "    **AXES,\n}")
    home.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tree), "CONCORDANCE_HOME": str(home)}

    def concordance(*words: str) -> dict:
        command = [sys.executable, "-m", "engine.cli", *words, "--json"]
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout))

    try:
        run = concordance("run", "axes", "--preset", "tour", "--seeds", "3", "--wait")
        assert (run["state"], run["config"]) == ("done", {"d": 6, "n": 4_000})
        page = home / "axes.md"
        words = ("--seeds", "3", "--claim", "recovered", "--markdown", str(page))
        claim = concordance("verify", "axes", "--preset", "standard", *words)["claims"][0]
    finally:
        pid = json.loads((home / "engine.json").read_text())["pid"]
        os.kill(pid, 15)
    assert claim["claim"] == "recovered" and claim["verdict"] == "shown"
    assert claim["value"] > 0.95 > claim["chance"]
    text = page.read_text()
    assert (
        "trained 1 of its 1 runs anew" in text and f"| {claim['value']:.3f} [" in text and "**shown**" in text
    )


def register(path: Path, line: str, ending: str) -> None:
    """Import a module first, and put an entry before the end of the file's registry."""
    text = path.read_text().rstrip()
    closing = ending[ending.index("\n") + 1 :]
    assert text.endswith(closing)
    text = text.removesuffix(closing) + ending
    head, first_import, rest = text.partition("\nfrom engine.")
    path.write_text(f"{head}\n{line}{first_import}{rest}\n")
