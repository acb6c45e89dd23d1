"""LaTeX tables: literal text and numbers. That pdflatex takes them is in `tests/app/test_library_figures.py`."""

import pandas as pd

from analyses.latex import latex, latex_table


def test_latex_is_escaped() -> None:
    frame = pd.DataFrame(
        {"run_id": ["a_b"], "label": [r"50 % of $x_1$ & \input{x} -- #"], "n": [-0.012], "alive": [True]}
    )
    text = latex_table(frame, "A caption: 100 %")
    assert r"50 \% of \$x\_1\$ \& \textbackslash{}input\{x\} -{}- \#" in text
    assert r"\toprule" in text and r"\begin{tabular}{llrl}" in text and "$-0.012$" in text and "& yes" in text
    assert latex("\x00") == "␀" and "100 \\%" in text
