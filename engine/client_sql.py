"""The client's calls for read-only SQL."""

from typing import Any

import pyarrow as pa

from engine.transport import Transport


class SqlCalls(Transport):
    """Every call raises EngineError where the engine refuses."""

    def sql(self, query: str, rows: int = 10_000) -> pa.Table:
        """The answer of one SELECT over the store's tables, at most `rows` of it.

        The schema's metadata holds b"more": b"true" where there are more rows.
        """
        return self._arrow(self._call("POST", "/sql", json={"sql": query, "rows": rows}))

    def sql_tables(self) -> list[dict[str, Any]]:
        """Tables that `sql` can ask, those with rows first: {"table", "rows", "columns": [{"name", "type"}]}."""
        found: list[dict[str, Any]] = self._json("GET", "/sql/tables")
        return found
