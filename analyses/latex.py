"""A frame as a LaTeX table, every character of its text standing for itself."""

import re
from typing import Any

import pandas as pd

from analyses.feature_text import number, visible

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\char34{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}", "–": r"\textendash{}",
}  # fmt: skip
MATHS = {
    "±": r"\pm", "·": r"\cdot", "−": "-", "×": r"\times", "→": r"\rightarrow", "≤": r"\leq", "≥": r"\geq", "≠": r"\neq",
    "≈": r"\approx", "²": "^2", "³": "^3", "‖": r"\|", "∈": r"\in", "∞": r"\infty", "√": r"\surd", "∂": r"\partial",
    **{
        letter: rf"\{name}"
        for letter, name in zip(
            "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ",
            ["alpha", "beta", "gamma", "delta", "varepsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "varphi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega"],
            strict=True,
        )
    },
}  # fmt: skip
NEEDS = r"% needs \usepackage{booktabs,textcomp}; text of other scripts needs XeLaTeX or LuaLaTeX and a font that has it"


def latex(text: str) -> str:
    """`text` as literal characters in LaTeX, mathematical and Greek ones through maths, hyphens kept apart."""
    shown = "".join(
        f"${MATHS[character]}$" if character in MATHS else SPECIAL.get(character, character)
        for character in visible(text)
    )
    return re.sub("-(?=-)", "-{}", shown)


def latex_table(frame: pd.DataFrame, caption: str = "", align: str | None = None) -> str:
    """The frame as a booktabs `tabular` in a `table`; numbers with three significant digits, text escaped.

    `align` has a letter for each column; without it numbers stand on the right.
    """
    head = " & ".join(latex(str(name)) for name in frame.columns)
    rows = [" & ".join(map(_cell, row)) + r" \\" for row in frame.itertuples(index=False, name=None)]
    lines = [
        NEEDS,
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{latex(caption)}}}"] if caption else []),
        rf"\begin{{tabular}}{{{align or ''.join(map(_side, frame.dtypes))}}}",
        r"\toprule",
        head + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _side(kind: Any) -> str:
    return "r" if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) else "l"


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return latex(value)
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        return "yes" if value else "no"
    if value is None or pd.isna(value):
        return "--"
    text = number(float(value)).replace(",", r"\,") if not float(value).is_integer() else str(int(value))
    mantissa, _, power = text.partition("e")
    if power:
        return rf"${mantissa}\times10^{{{int(power)}}}$"
    return f"${text}$" if text.startswith("-") else text
