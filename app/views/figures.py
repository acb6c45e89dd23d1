"""Library › Figures: pictures kept for a paper, restyled, exported, with the runs they came from."""

import io
from functools import partial
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import streamlit as st

from analyses.figures import PLOTLY_CONFIG, to_csv
from analyses.restyle import FONTS, FORMATS, PALETTES, numbers_table, restyled, width
from app.connection import client, has_browser, may_launch, studies
from app.widgets import ago, attempt, literal, show_refusal

Meta = dict[str, Any]


def choose(kept: list[Meta]) -> Meta:
    """The figure shown, kept in the link."""
    by_id = {meta["id"]: meta for meta in kept}
    chosen = st.selectbox(
        "Figure",
        list(by_id),
        key="figure",
        bind="query-params",
        format_func=lambda id: f"{by_id[id]['name']} · {ago(by_id[id]['created'])}",
    )
    return by_id[chosen]


def style() -> tuple[str, str, str]:
    columns = st.columns(3)
    return (
        columns[0].selectbox("Size", FORMATS, key="format", bind="query-params", index=1),
        columns[1].selectbox("Font", list(FONTS), key="font", bind="query-params"),
        columns[2].selectbox("Palette", list(PALETTES), key="palette", bind="query-params"),
    )


def show(meta: Meta) -> None:
    found = client().saved_figure(meta["id"])
    frame = pd.read_csv(io.StringIO(found["csv"]))
    chosen = style()
    figure = restyled(pio.from_json(found["figure"], skip_invalid=True), *chosen)
    alt = (figure.layout.meta or {}).get("alt", meta["name"])
    st.plotly_chart(figure, theme=None, key="kept", alt=alt, width="content", config=PLOTLY_CONFIG)
    exports(meta, figure, frame, width(chosen[0]))
    provenance(meta)
    with st.expander("The numbers behind it"):
        st.dataframe(frame.head(1_000), hide_index=True, alt="The numbers behind the figure")
    change(meta)


def exports(meta: Meta, figure: go.Figure, frame: pd.DataFrame, wide: int) -> None:
    height = int(figure.layout.height or 400)
    offered: dict[str, Any] = {}
    if has_browser():
        offered |= {
            name: partial(client().export_figure, figure.to_json(), name, wide, height)
            for name in ("svg", "pdf", "png")
        }
    offered |= {
        "html": lambda: pio.to_html(figure, config=PLOTLY_CONFIG).encode(),
        "csv": partial(to_csv, frame),
        "tex": lambda: numbers_table(frame, meta["name"]).encode(),
    }
    with st.container(horizontal=True, gap="small"):
        for ending, content in offered.items():
            st.download_button(
                "LaTeX table" if ending == "tex" else ending.upper(),
                content,
                file_name=f"figure-{meta['id']}.{ending}",
                key=f"export-{ending}",
                on_click="ignore",
                type="tertiary",
                icon=":material/download:",
            )
    if not has_browser():
        st.caption(
            "SVG, PDF and PNG files need Chrome or Chromium on the engine's machine (Debian: apt-get install chromium)."
        )


def provenance(meta: Meta) -> None:
    """The runs behind the figure, the address that makes it anew, and the SQL that gives its origin."""
    st.subheader("Where it comes from")
    st.markdown(f"[Make it anew on its page]({meta['link']})")
    if sql := meta.get("sql"):
        st.caption("Its origin in the store, for `concordance sql` or Library › SQL:")
        st.code(sql, language="sql", wrap_lines=True)
    if not meta["runs"]:
        st.caption("Its page names no run in its address.")
        return
    rows = [
        {
            "run": run["id"],
            "study": run["study"],
            "seeds": ", ".join(map(str, run["seeds"])),
            "data seed": run["data_seed"],
            "data": run["fingerprint"] or "from the config",
            "code": run["code_version"],
            "open": f"jobs?run={run['id']}",
        }
        for run in meta["runs"]
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        alt="Runs behind the figure with seeds, data and code version",
        column_config={"open": st.column_config.LinkColumn(display_text="open")},
    )


def change(meta: Meta) -> None:
    with st.expander("Name and note"), st.form(f"rename-{meta['id']}", border=False):
        name = st.text_input("Name", meta["name"], max_chars=120)
        note = st.text_area("Note", meta["note"], max_chars=10_000)
        if st.form_submit_button("Save", icon=":material/save:", **may_launch()) and name.strip():
            attempt(lambda: client().rename_figure(meta["id"], name, note))
            st.rerun()
    st.button(
        "Delete this figure",
        on_click=_delete,
        args=(meta["id"],),
        icon=":material/delete:",
        type="tertiary",
        **may_launch(),
    )


def _delete(figure_id: str) -> None:
    attempt(lambda: client().delete_figure(figure_id))


def archive(kept: list[Meta]) -> None:
    """All figures of a paper's appendix in one zip."""
    st.subheader("For an appendix")
    chosen = st.multiselect(
        "Figures of the zip",
        [meta["id"] for meta in kept],
        default=[meta["id"] for meta in kept],
        format_func={meta["id"]: meta["name"] for meta in kept}.__getitem__,
    )
    st.download_button(
        "Zip with plotly JSON, CSV and provenance",
        lambda: client().figures_archive(chosen),
        file_name="figures.zip",
        disabled=not chosen,
        icon=":material/folder_zip:",
        on_click="ignore",
    )


def report(kept: list[Meta]) -> None:
    """A study's claims, kept figures and runs as one file."""
    st.subheader("A study in one file")
    names = list(dict.fromkeys(run["study"] for meta in kept for run in meta["runs"]))
    if not names:
        st.caption("Keep a figure of a run first.")
        return
    study = st.selectbox("Study", names, format_func=lambda name: studies()[name]["title"])
    st.download_button(
        "HTML report",
        lambda: client().study_report(study).encode(),
        file_name=f"{study}.html",
        icon=":material/download:",
        on_click="ignore",
        help="Claims with verdicts, the figures kept of this study's runs, the runs and their settings. Opens offline.",
    )


st.title("Figures")
show_refusal()
all_kept = client().saved_figures()
if not all_kept:
    st.info(
        "No figures kept yet. Press **Keep** under any picture: it appears here with its numbers and its runs."
    )
    st.stop()
st.caption(
    f"{len(all_kept)} kept. {literal('Every figure holds the numbers it was drawn from; nothing is computed again here.')}"
)
show(choose(all_kept))
archive(all_kept)
report(all_kept)
