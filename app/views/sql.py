"""Library › SQL: one SELECT over the store's tables, read-only, with its answer as a table and as CSV."""

from typing import Any

import pandas as pd
import pyarrow as pa
import streamlit as st

from analyses.sql_answer import csv_of, plain
from app.connection import client
from app.widgets import PAGES, literal
from engine.client import EngineDown, EngineError

FETCHED, MOST, VIEW = 10_000, 100_000, 1_000
EXAMPLES = {
    "How many runs of each study are in which state": "SELECT study, state, count(*) AS runs FROM runs GROUP BY ALL ORDER BY ALL",
    "What the claims came to": "SELECT study, claim, value, low, high, chance, verdict FROM claims ORDER BY study",
    "Features of every seed with the largest share of twins": (
        "SELECT run_id, seed, feature, stability, frequency FROM features WHERE alive ORDER BY stability DESC LIMIT 100"
    ),
    "A setting of the runs beside a result": (
        "SELECT id, config->>'architecture' AS architecture, avg(fvu) AS fvu FROM runs JOIN saes ON run_id = id GROUP BY ALL"
    ),
}


def ask() -> str:
    """The query, kept in the link."""
    query = st.text_area(
        "Query",
        key="sql",
        bind="query-params",
        height=140,
        max_chars=20_000,
        placeholder="SELECT …",
        help="One SELECT of DuckDB's SQL. It can read the tables below and nothing else, for at most 20 seconds.",
    )
    if st.button("Run", type="primary", icon=":material/play_arrow:"):
        answered.clear()
    return str(query or "").strip()


@st.cache_data(ttl=60, max_entries=20, show_spinner="Asking the store …")
def answered(query: str, rows: int) -> pa.Table:
    return client().sql(query, rows)


def show(query: str) -> None:
    try:
        answer = answered(query, FETCHED)
    except EngineDown:
        raise
    except EngineError as error:
        st.error(literal(error.message), icon=":material/block:")
        return
    more = (answer.schema.metadata or {}).get(b"more") == b"true"
    many = (
        f"the first {answer.num_rows:,} rows; CSV gives up to {MOST:,}"
        if more
        else f"{answer.num_rows:,} rows"
    )
    st.caption(many[0].upper() + many[1:])
    start = 0
    if answer.num_rows > VIEW:
        pages = -(-answer.num_rows // VIEW)
        start = (st.number_input(f"Page of {pages}", 1, pages, key="sql_page", width=140) - 1) * VIEW
    st.dataframe(plain(answer).slice(start, VIEW).to_pandas(), hide_index=True, alt="Answer of the query")
    st.download_button(
        "CSV",
        lambda: csv_of(client().sql(query, MOST)),
        file_name="answer.csv",
        on_click="ignore",
        type="tertiary",
        icon=":material/download:",
    )


def examples() -> None:
    """What to ask, while nothing is asked."""
    st.info("Write a query above, or begin with one of these.")
    for words, query in EXAMPLES.items():
        st.page_link(PAGES["sql"], label=words, icon=":material/database:", query_params={"sql": query})
        st.code(query, language="sql", wrap_lines=True)


def tables() -> None:
    st.subheader("Tables")
    found: list[dict[str, Any]] = client().sql_tables()
    rows = [
        {
            "table": one["table"],
            "rows": one["rows"],
            "columns": ", ".join(f"{column['name']} {column['type']}" for column in one["columns"]),
        }
        for one in found
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        alt="Tables that can be asked, their rows and columns",
        column_config={"columns": st.column_config.TextColumn(width="large")},
    )


st.title("SQL")
st.caption(
    'Everything the pages show comes from these tables. The same from the command line: `concordance sql "SELECT …" --csv`; '
    "in a notebook: `engine.client.connect().sql(…)`."
)
if query := ask():
    show(query)
else:
    examples()
tables()
