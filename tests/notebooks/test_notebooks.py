"""Every notebook of the documentation, executed against a real engine; committed without outputs."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from engine.client import Client

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
OURS, ALLOWED = re.compile(r"\w+ (app|data|engine)\b"), re.compile(r"from engine\.client import ")
PLOTLY = "application/vnd.plotly.v1+json"


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_runs_from_top_to_bottom(path: Path, engine: Client, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), (
        "clear the outputs before committing"
    )
    imports = [
        line for cell in code for line in cell.source.splitlines() if line.startswith(("from ", "import "))
    ]
    assert not [line for line in imports if OURS.match(line) and not ALLOWED.match(line)]
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "IPYTHONDIR": str(tmp_path),
        "JUPYTER_RUNTIME_DIR": str(tmp_path),
    }
    NotebookClient(notebook, timeout=200).execute(env=environment)
    shown = [output for cell in code for output in cell.outputs]
    assert not [output for output in shown if output.output_type == "stream" and output.name == "stderr"]
    figures = [output.data[PLOTLY] for output in shown if PLOTLY in output.get("data", {})]
    assert figures and all(figure["data"] and figure["layout"]["meta"]["alt"] for figure in figures)
