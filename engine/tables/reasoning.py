"""Tables of denoising language models and recurrent reasoners."""

import pyarrow as pa

REASONING: dict[str, dict[str, pa.DataType]] = {}
