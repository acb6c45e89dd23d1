"""Columns of the tables that runs write, a module for each family of studies."""

import pyarrow as pa

from engine.tables.causal import CAUSAL
from engine.tables.common import F64, I64, STR
from engine.tables.reasoning import REASONING
from engine.tables.sae import SAE

RUN_TABLES: dict[str, dict[str, pa.DataType]] = {
    **SAE,
    **CAUSAL,
    **REASONING,
    "metrics": {"step": I64, "seed": I64, "name": STR, "value": F64},
}
