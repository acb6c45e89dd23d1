"""Columns of the tables that runs write, a module for each family of studies."""

import pyarrow as pa

from engine.tables.causal import CAUSAL
from engine.tables.common import F64, I64, STR
from engine.tables.counterfactual_text import COUNTERFACTUAL_TEXT
from engine.tables.extrapolation import EXTRAPOLATION
from engine.tables.label_shift import LABEL_SHIFT
from engine.tables.sae import SAE
from engine.tables.sapo import SAPO
from engine.tables.smartclip import SMARTCLIP
from engine.tables.sr2 import SR2
from engine.tables.srf import SRF

RUN_TABLES: dict[str, dict[str, pa.DataType]] = {
    **SAE,
    **CAUSAL,
    **SAPO,
    **SR2,
    **LABEL_SHIFT,
    **EXTRAPOLATION,
    **COUNTERFACTUAL_TEXT,
    **SMARTCLIP,
    **SRF,
    "metrics": {"step": I64, "seed": I64, "name": STR, "value": F64},
}
