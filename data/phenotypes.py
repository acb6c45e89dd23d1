"""Real tables measured in several ways on the same people or cells; no truth is known for any of them.

NHANES 2017–2018 and the NHANES I follow-up NHEFS (US public domain), and the high-content cell images of Hill et al.
2007. Values are rank-normal scores: what is left of them after the covariates, again with mean 0 and variance 1.
"""

import io
import lzma
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from data.archives import read_member
from data.assets import ASSETS, Tier, fetch, locate

Floats = NDArray[np.float64]
DATASETS = ("nhanes", "nhefs", "cells")
COVARIATES = ("age", "age²", "sex", "sex × age")
ADULT = 20

NHANES_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "body": {
        "weight": "WeightKg",
        "BMI": "BodyMassIndexKgm2",
        "waist": "WaistCircumferenceCm",
        "height": "StandingHeightCm",
    },
    "blood pressure": {"systolic": "", "diastolic": "", "pulse": "60SecPulse30SecPulse2"},
    "blood": {
        "HbA1c": "Glycohemoglobin",
        "HDL": "DirectHdlcholesterolMgdl",
        "total cholesterol": "TotalCholesterolMgdl",
    },
    "metals": {
        "lead": "BloodLeadUgdl",
        "cadmium": "BloodCadmiumUgl",
        "mercury": "BloodMercuryTotalUgl",
        "selenium": "BloodSeleniumUgl",
        "manganese": "BloodManganeseUgl",
    },
    "diet": {
        "energy": "EnergyKcal_DR1TOT",
        "protein": "ProteinGm_DR1TOT",
        "carbohydrate": "CarbohydrateGm_DR1TOT",
        "sugar": "TotalSugarsGm_DR1TOT",
        "fibre": "DietaryFiberGm_DR1TOT",
        "fat": "TotalFatGm_DR1TOT",
    },
    "depression": {
        "little interest": "HaveLittleInterestInDoingThings",
        "feeling down": "FeelingDownDepressedOrHopeless",
        "sleep problems": "TroubleSleepingOrSleepingTooMuch",
        "tired": "FeelingTiredOrHavingLittleEnergy",
        "appetite": "PoorAppetiteOrOvereating",
        "feeling bad": "FeelingBadAboutYourself",
        "concentration": "TroubleConcentratingOnThings",
        "slow or restless": "MovingOrSpeakingSlowlyOrTooFast",
        "better off dead": "ThoughtYouWouldBeBetterOffDead",
    },
    "sleep": {
        "hours": "SleepHoursWeekdaysOrWorkdays",
        "snoring": "HowOftenDoYouSnore",
        "trouble sleeping": "EverToldDoctorHadTroubleSleeping",
        "daytime sleepiness": "HowOftenFeelOverlySleepyDuringDay",
    },
    "DXA": {
        "trunk fat": "TrunkFatG",
        "trunk fat share": "TrunkPercentFat",
        "total fat share": "TotalPercentFat",
    },
}
NHANES_DEFAULT = ("diet", "metals", "body", "blood", "blood pressure", "depression")
SNORING = {"Never": 0, "Rarely": 1, "Occasionally": 2, "Frequently": 3}
SLEEPINESS = {"Never": 0, "Rarely": 1, "Sometimes": 2, "Often": 3, "Almost always": 4}

NHEFS_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "social 1971": {"school years": "school", "family income": "income"},
    "habits 1971": {"inactivity": "active", "no exercise": "exercise", "rarely drinks": "alcoholfreq"},
    "smoking 1971": {"cigarettes a day": "smokeintensity", "years of smoking": "smokeyrs"},
    "body 1971": {"weight": "wt71", "height": "ht", "cholesterol": "cholesterol"},
    "follow-up 1982": {
        "weight 1982": "wt82",
        "systolic": "sbp",
        "diastolic": "dbp",
        "change of cigarettes": "smkintensity82_71",
    },
}
UNKNOWN_FREQUENCY = 5

CHANNELS = {
    "1": "cell shape (channel 1)",
    "2": "nucleus (channel 2)",
    "3": "actin (channel 3)",
    "4": "tubulin (channel 4)",
}
N_CELLS = 2_019


@dataclass(frozen=True)
class Phenotypes:
    """A table ready for training.

    `frame`: complete rows × variables, mean 0 and variance 1; `modalities`: variable → modality, modalities in order
    of first mention; `covariates` regressed out of every variable; `n_rows` eligible rows, `n_complete` those with
    no missing value, which are the rows of `frame`.
    """

    name: str
    tier: Tier
    licence: str
    frame: pd.DataFrame
    modalities: dict[str, str]
    covariates: tuple[str, ...]
    n_rows: int
    n_complete: int


def load(name: str) -> Phenotypes:
    """One of `DATASETS`. Raises AssetMissing, and KeyError for another name."""
    loaders: dict[str, Callable[[], Phenotypes]] = {"nhanes": nhanes, "nhefs": nhefs, "cells": cells}
    return loaders[name]()


def nhanes(modalities: tuple[str, ...] = NHANES_DEFAULT) -> Phenotypes:
    """Adults (20 and older) of NHANES 2017–2018, the modalities of `NHANES_COLUMNS` that are named, in that order.

    Blood pressure is the mean of the readings there are, a diastolic 0 being none; the answers on snoring and
    sleepiness become 0, 1, 2 … by frequency. Raises AssetMissing.
    """
    raw = pd.read_csv(locate("nhanes"), sep="\t", low_memory=False)
    raw = raw[raw["AgeInYearsAtScreening"] >= ADULT].reset_index(drop=True)
    values = {m: {c: _nhanes_column(raw, c, key) for c, key in NHANES_COLUMNS[m].items()} for m in modalities}
    age, female = raw["AgeInYearsAtScreening"], (raw["Gender"] == "Female").astype(float)
    return _phenotypes("nhanes", values, age.to_numpy(dtype=float), female.to_numpy())


def _nhanes_column(raw: pd.DataFrame, column: str, key: str) -> pd.Series:
    if column in ("systolic", "diastolic"):
        readings = raw[[name for name in raw if name.startswith(f"{column.title()}BloodPres")]]
        return readings.where(readings >= 1).mean(axis=1)
    if column in ("snoring", "daytime sleepiness"):
        levels = SNORING if column == "snoring" else SLEEPINESS
        return raw[key].str.split(r"\s*-", n=1, regex=True).str[0].map(levels)
    return raw[key]


def nhefs() -> Phenotypes:
    """Smokers of the NHANES I follow-up, seen in 1971 and 1982 (Hernán & Robins); modalities in order of time.

    Drinking "unknown" counts as missing. Raises AssetMissing.
    """
    content = read_member(fetch("nhefs"), "causaldata-0.1.5/causaldata/nhefs/nhefs.dta")
    raw = pd.read_stata(io.BytesIO(content), convert_categoricals=False)
    raw["alcoholfreq"] = raw["alcoholfreq"].where(raw["alcoholfreq"] != UNKNOWN_FREQUENCY)
    values = {
        m: {c: raw[key].astype(float) for c, key in columns.items()} for m, columns in NHEFS_COLUMNS.items()
    }
    return _phenotypes("nhefs", values, raw["age"].to_numpy(dtype=float), raw["sex"].astype(float).to_numpy())


def cells() -> Phenotypes:
    """2,019 cells, 56 measurements in four fluorescence channels (R package modeldata). Raises AssetMissing."""
    table = _cell_table(lzma.decompress(locate("cells").read_bytes()))
    values: dict[str, dict[str, pd.Series]] = {label: {} for label in CHANNELS.values()}
    for column in table:
        values[CHANNELS[column[-1]]][column] = table[column]
    return _phenotypes("cells", values, None, None)


def _cell_table(stream: bytes) -> pd.DataFrame:
    """The numbers of the stored data frame, lifted out of its pickle stream, of which nothing is executed.

    The file is known byte for byte (its hash is checked): every block of columns is a run of raw numbers followed by
    the places of its columns, and the names come last.
    """
    numbers: list[bytes] = []
    names: list[str] = []
    for _, argument, _ in pickletools.genops(stream):
        if isinstance(argument, bytearray):
            numbers.append(bytes(argument))
        elif isinstance(argument, str) and (names or argument == "rownames"):
            names.append(argument)
    columns = {}
    for block, kind, places in ((numbers[0], "<f8", numbers[1]), (numbers[2], "<i8", numbers[3])):
        rows = np.frombuffer(block, kind).reshape(-1, N_CELLS)
        for row, place in zip(rows, np.frombuffer(places, "<i8"), strict=True):
            columns[names[place]] = row.astype(np.float64)
    return pd.DataFrame({name: columns[name] for name in names if "_ch_" in name})


def _phenotypes(
    name: str, values: Mapping[str, Mapping[str, pd.Series]], age: Floats | None, sex: Floats | None
) -> Phenotypes:
    modalities = {column: modality for modality, columns in values.items() for column in columns}
    raw = pd.DataFrame({column: s for columns in values.values() for column, s in columns.items()})
    complete = raw.notna().all(axis=1).to_numpy()
    scores = rank_normal(raw[complete].to_numpy(dtype=np.float64))
    design = np.empty((len(scores), 0))
    covariates: tuple[str, ...] = ()
    if age is not None and sex is not None:
        design, covariates = _design(age[complete], sex[complete]), COVARIATES
    frame = pd.DataFrame(residuals(scores, design), columns=list(raw))
    asset = ASSETS[name]
    return Phenotypes(
        name, asset.tier, asset.licence, frame, modalities, covariates, len(raw), int(complete.sum())
    )


def _design(age: Floats, sex: Floats) -> Floats:
    years = (age - age.mean()) / age.std()
    return np.column_stack([years, years**2, sex, sex * years])


def rank_normal(values: Floats) -> Floats:
    """Normal quantiles of the ranks of each column (n × p), ties sharing their mean rank, (rank − ½) / n."""
    return ndtri((rankdata(values, axis=0) - 0.5) / len(values))


def residuals(values: Floats, covariates: Floats) -> Floats:
    """What linear regression on the covariates (n × q) leaves of each column (n × p), mean 0 and variance 1."""
    design = np.column_stack([np.ones(len(values)), covariates])
    left = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return left / left.std(axis=0)
