"""The column types that tables use."""

import pyarrow as pa

I32, I64, F64, STR, BOOL = pa.int32(), pa.int64(), pa.float64(), pa.string(), pa.bool_()
BYTES = pa.binary()
