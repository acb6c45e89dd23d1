"""The features inside a lasso: a table, its file, and a list to keep them in."""

import json
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from analyses.figures import to_csv
from app.connection import client, may_launch
from app.widgets import attempt

SHOWN = 1000
KEY = ["run_id", "seed", "feature"]
ORDERS = {"density": "density", "stability": "stability", "max_cosine": "best cosine in another seed"}


def lasso_table(chosen: pd.DataFrame, names: list[str]) -> None:
    """What is inside the lasso; `chosen` are rows of the map's frame, `names` the lists there are."""
    st.subheader(f"{len(chosen):,} feature{'' if len(chosen) == 1 else 's'} inside the lasso")
    if chosen.empty:
        st.caption("No feature lies inside; draw a wider lasso.")
        return
    st.caption(_in_words(chosen))
    order = "density"
    if many := len(chosen) > SHOWN:
        order = str(
            st.selectbox("First", list(ORDERS), format_func=ORDERS.__getitem__, key="lasso_order", width=260)
        )
    first = chosen.sort_values([order, *KEY], ascending=[False, True, True, True])
    _show(features(first.head(SHOWN)))
    if many:
        st.caption(
            f"The first {SHOWN:,} of {len(chosen):,}, highest {ORDERS[order]} first; the CSV file holds all."
        )
    _keep(first, names)


def features(wanted: pd.DataFrame) -> pd.DataFrame:
    """Everything the engine knows of the features (columns run_id, seed, feature), in their order."""
    parts = []
    for start in range(0, len(wanted), SHOWN):
        part = wanted[start : start + SHOWN]
        only = {"run": part["run_id"].tolist(), **{name: part[name].tolist() for name in KEY[1:]}}
        page, _ = client().features(runs=list(dict.fromkeys(only["run"])), only=only, limit=SHOWN)
        parts.append(page.to_pandas())
    return wanted[KEY].merge(pd.concat(parts), on=KEY, how="left")


def _in_words(chosen: pd.DataFrame) -> str:
    words = [f"seed {seed}: {n:,}" for seed, n in chosen["seed"].value_counts().sort_index().items()]
    if chosen["run"].nunique() > 1:
        words = [f"{run[:6]}: {n:,}" for run, n in chosen["run"].value_counts(sort=False).items()]
    words = [*words[:12], *(["…"] if len(words) > 12 else [])]
    stability = chosen["stability"].dropna()
    if len(stability):
        words.append(f"mean stability {stability.mean():.2f}")
    return " · ".join([*words, f"{int((~chosen['alive']).sum()):,} dead"])


def _show(rows: pd.DataFrame) -> None:
    rows = rows.assign(
        open=[
            f"features?runs={run}&seed={seed}&feature={feature}"
            for run, seed, feature in rows[KEY].itertuples(index=False)
        ],
        run=rows["run_id"].str[:6],
        density=rows["density"].fillna(rows["frequency"]),
        tokens=[json.loads(text) if isinstance(text, str) else None for text in rows["tokens"]],
    )
    columns = ["open", "label", "tokens", "density", "stability", "max_cosine", "max_activation", "alive"]
    shown = [name for name in [*columns, "lists"] if name == "open" or not _blank(rows[name])]
    st.dataframe(
        rows[[*shown, "seed", *(["run"] if rows["run"].nunique() > 1 else [])]],
        hide_index=True,
        height=min(420, 38 + 35 * len(rows)),
        alt="Features inside the lasso",
        key="lasso_rows",
        column_config={
            "open": st.column_config.LinkColumn(
                "feature", display_text=r"feature=(\d+)", help="Open its card."
            ),
            "label": st.column_config.TextColumn(width="medium"),
            "tokens": st.column_config.ListColumn(width="medium"),
            "density": st.column_config.NumberColumn(
                format="percent", help="Share of tokens on which it is active."
            ),
            "stability": st.column_config.NumberColumn(format="%.3f"),
            "max_cosine": st.column_config.NumberColumn(
                "best cosine", format="%.3f", help="In another seed."
            ),
            "max_activation": st.column_config.NumberColumn("largest activation", format="%.2f"),
        },
    )


def _blank(column: pd.Series) -> bool:
    return bool(column.isna().all() or (column.dtype == object and not column.map(bool).any()))


def _keep(chosen: pd.DataFrame, names: list[str]) -> None:
    n = len(chosen)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox(
            "List", names, index=None, key="lasso_list", accept_new_options=True, placeholder="Choose or name a list",
            width=260,
        )  # fmt: skip
        st.button(
            f"Add all {n:,} to the list" if n > 1 else "Add it to the list",
            icon=":material/playlist_add:",
            on_click=_add,
            args=(name, chosen),
            **may_launch(disabled=not name),
        )
        st.download_button(
            "CSV of these features",
            lambda: to_csv(features(chosen)),
            file_name="lasso.csv",
            mime="text/csv",
            on_click="ignore",
            icon=":material/download:",
        )


def _add(name: str, chosen: pd.DataFrame) -> None:
    rows: list[Any] = [
        (run, int(seed), int(feature)) for run, seed, feature in chosen[KEY].itertuples(index=False)
    ]
    attempt(partial(client().add_to_list, name, rows))
