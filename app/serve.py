"""The app's server (`streamlit run serve.py`, started by `concordance up`): Streamlit's own, and an index for deep links."""

from pathlib import Path

import streamlit as st
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from streamlit.file_util import get_static_dir

HERE = '<script>window.__streamlit={BACKEND_BASE_URL:location.origin+"/"}</script>'
INDEX = (
    (Path(get_static_dir()) / "index.html").read_text(encoding="utf-8").replace("<head>", f"<head>{HERE}", 1)
)


async def index(request: Request) -> HTMLResponse:
    """Streamlit's page, told where its server is; it would look under a page's own path first and log two errors."""
    return HTMLResponse(INDEX, headers={"Cache-Control": "no-cache"})


pages = sorted(view.stem.replace("_", "-") for view in Path(__file__).with_name("views").glob("*.py"))
app = st.App("home.py", routes=[Route(f"/{page}", index) for page in pages])
