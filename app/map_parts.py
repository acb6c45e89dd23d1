"""The parts of the map page: its runs, its layout's job, the frame behind the picture, the lasso kept in the link."""

from collections.abc import Callable
from typing import Any, TypeVar

import pandas as pd
import streamlit as st

from analyses.feature_map import Polygon, decode_lasso, encode_lasso, polygon_of
from app.connection import client, may_launch, stay_connected, table
from app.launches import LISTED
from app.run_set import differences
from app.widgets import ACTIVE, PAGES, attempt, describe, duration, literal, show_progress, size, state_badge
from engine.client import RESUMABLE, EngineError

MAP = "feature_map"
FIRST = ["run", "run_id", "seed", "feature"]
Run = dict[str, Any]
Item = TypeVar("Item")


def choose_settings() -> tuple[int, dict[str, Any]]:
    """The layout's seed, and UMAP's settings; all kept in the URL."""
    with st.expander("Layout: seed, neighbours, minimum distance"):
        cells = st.columns(3)
        seed = cells[0].number_input(
            "Layout seed", 0, 2**31 - 1, 0, key="layout_seed", bind="query-params",
            help="The same seed gives the same map. Another seed places groups elsewhere; what stays is real.",
        )  # fmt: skip
        neighbours = cells[1].number_input(
            "Neighbours", 2, 200, 15, key="neighbours", bind="query-params",
            help="Features that UMAP keeps close to each one; more shows larger structure.",
        )  # fmt: skip
        min_dist = cells[2].number_input(
            "Minimum distance", 0.0, 1.0, 0.1, 0.05, key="min_dist", bind="query-params",
            help="0 packs points into clumps, 1 spreads them evenly.",
        )  # fmt: skip
    return int(seed), {"n_neighbors": int(neighbours), "min_dist": float(min_dist)}


def find_map(runs: list[Run], seed: int, settings: dict[str, Any]) -> Run | None:
    """The job of this very map, a finished one first; None when nobody asked for it."""
    wanted = ",".join(sorted(run["id"] for run in runs))
    jobs = [
        job
        for job in client().runs(study=MAP, limit=LISTED)
        if job["seeds"] == [seed] and job["config"]["runs"] == wanted
        if all(job["config"][name] == value for name, value in settings.items())
    ]
    return next((job for job in jobs if job["state"] == "done"), jobs[0] if jobs else None)


def ask_for_map(runs: list[Run], seed: int, settings: dict[str, Any]) -> None:
    """What a map of these runs takes, and the button that makes it."""
    ids = [run["id"] for run in runs]
    try:
        cost = client().estimate(MAP, {"runs": ",".join(ids), **settings}, [seed])
    except EngineError as error:
        st.error(literal(error.message))
        return
    st.info(
        f"This map is not laid out yet. It takes about {duration(cost['seconds'])} and "
        f"{size(cost['memory_bytes'])} of memory."
    )
    st.button(
        "Lay out the map",
        type="primary",
        icon=":material/scatter_plot:",
        on_click=lambda: attempt(lambda: client().make_map(ids, seed, **settings)),
        **may_launch(help=cost["based_on"]),
    )


@st.fragment(run_every=1)
def watch_map(run_id: str) -> None:
    """Progress of the layout, and a way to stop it; the page runs again when it is over."""
    stay_connected()
    run = client().run(run_id)
    if run["state"] not in ACTIVE:
        st.rerun()
    show_progress(run)
    if not run["stopping"]:
        st.button(
            "Cancel",
            icon=":material/stop:",
            on_click=lambda: attempt(lambda: client().cancel(run_id)),
            **may_launch(),
        )


def ended_map(run: Run) -> None:
    """Why there is no map, and a way to go on."""
    st.markdown(f"{state_badge(run['state'])} {literal(describe(run))}")
    if run["error"]:
        st.error(literal(run["error"]))
    with st.container(horizontal=True, vertical_alignment="center"):
        if run["state"] in RESUMABLE:
            st.button(
                "Lay it out again",
                type="primary",
                icon=":material/play_arrow:",
                on_click=lambda: attempt(lambda: client().resume(run["id"])),
                **may_launch(),
            )
        st.page_link(PAGES["jobs"], label="Open the job", query_params={"run": run["id"]})


def map_frame(
    map_id: str, runs: list[Run], cards: dict[str, str], lists: list[dict[str, Any]]
) -> pd.DataFrame:
    """A row per feature on the map; `lists` are the library's entries.

    Columns run (id and words), run_id, seed, feature, x, y, stability, max_cosine, density, alive, list.
    """
    words = differences(runs) if len(runs) > 1 else [""]
    names = {
        run["id"]: " · ".join(filter(None, (run["id"][:6], text)))
        for run, text in zip(runs, words, strict=True)
    }
    frame = _measured(map_id, names, cards)
    listed = pd.DataFrame(lists, columns=["name", "run", "seed", "feature", "added"])
    listed = listed[listed["run"].isin(names)]
    if listed.empty:
        return frame.assign(list="")
    joined = listed.sort_values("name").groupby(["run", "seed", "feature"])["name"].agg(", ".join)
    keys = pd.MultiIndex.from_frame(frame[["run_id", "seed", "feature"]])
    return frame.assign(list=joined.reindex(keys).fillna("").to_numpy())


@st.cache_data(max_entries=20, show_spinner=False)
def _measured(map_id: str, names: dict[str, str], cards: dict[str, str]) -> pd.DataFrame:
    """Positions with what the runs measured of each feature; density from the cards where there are some."""
    points = table(map_id, "map_points").rename(columns={"run_id": "map", "of_run": "run_id"})
    parts = []
    for run, name in names.items():
        columns = ["seed", "feature", "stability", "max_cosine", "frequency", "alive"]
        measured = table(run, "features")[columns].rename(columns={"frequency": "density"})
        if run in cards:
            density = table(cards[run], "cards")[["seed", "feature", "density"]]
            measured = measured.drop(columns="density").merge(density, on=["seed", "feature"], how="left")
        if measured["seed"].nunique() == 1:
            measured[["stability", "max_cosine"]] = float("nan")
        parts.append(measured.assign(run_id=run, run=name))
    found = points.merge(pd.concat(parts), on=["run_id", "seed", "feature"])
    return found[[*FIRST, "x", "y", "stability", "max_cosine", "density", "alive"]]


def kept(name: str, key: Any, make: Callable[[], Item]) -> Item:
    """What `make` made for this key the last time, or makes now; one value a name and session."""
    found = st.session_state.get(f"kept_{name}")
    if found is None or found[0] != key:
        found = st.session_state[f"kept_{name}"] = (key, make())
    return found[1]


def overview(frame: pd.DataFrame) -> None:
    """The SAEs on the map, a row each."""
    rows = frame.groupby(["run", "seed"], sort=False).agg(
        features=("feature", "size"),
        alive=("alive", "mean"),
        stability=("stability", "mean"),
        max_cosine=("max_cosine", "mean"),
        density=("density", "median"),
    )
    st.dataframe(
        rows.reset_index(),
        hide_index=True,
        alt="The sparse autoencoders on the map",
        column_config={
            "alive": st.column_config.NumberColumn(format="percent"),
            "stability": st.column_config.NumberColumn("mean stability", format="%.3f"),
            "max_cosine": st.column_config.NumberColumn("mean best cosine", format="%.3f"),
            "density": st.column_config.NumberColumn("median density", format="percent"),
        },
    )


def chosen_lasso(map_id: str, look: str, chart: str) -> tuple[Polygon, Polygon]:
    """The lasso in force, and the one the figure must outline itself because the chart on the page did not draw it.

    The lasso lives in the URL. A figure that changes is a new chart to the browser and forgets what was drawn on it, so
    the reader's own lasso is left to the chart for as long as the figure stays the same (`look`).
    """
    link = st.query_params.get("lasso", "")
    drawn = encode_lasso(polygon_of((st.session_state.get(chart) or {}).get("selection") or {}))
    last = st.session_state.get("map_chart") or {}
    if last and last["map"] != map_id and last["link"] == link:
        link = ""
    if not last or (last["map"], last["look"], last["link"]) != (map_id, look, link):
        drawn, outlined = "", link
    elif drawn != last["drawn"]:
        link = drawn
        drawn, outlined = (drawn, "") if not last["outlined"] else ("", drawn)
    else:
        outlined = last["outlined"]
    lasso = decode_lasso(link)
    link, outlined = (link, outlined) if len(lasso) else ("", "")
    _put_link(link)
    st.session_state["map_chart"] = {
        "map": map_id, "look": look, "link": link, "drawn": drawn, "outlined": outlined,
    }  # fmt: skip
    return lasso, decode_lasso(outlined)


def clear_lasso() -> None:
    """Forget the lasso, on the chart too; for callbacks."""
    _put_link("")
    st.session_state["map_clearings"] = st.session_state.get("map_clearings", 0) + 1


def _put_link(link: str) -> None:
    if link:
        st.query_params["lasso"] = link
    else:
        st.query_params.pop("lasso", None)
