import base64
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import plotly.graph_objects as go
import pytest

from engine.client import Client, EngineError
from engine.errors import UserError
from engine.figures import VECTOR_POINTS, FigureServer
from tests.conftest import TINY_WORLD

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_every_call_but_health_needs_the_token(engine: Client) -> None:
    token = (Path(os.environ["CONCORDANCE_HOME"]) / "token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    paths = httpx.get(f"{engine.address}/openapi.json", headers=headers, trust_env=False).json()["paths"]
    called = 0
    for path, methods in paths.items():
        for method in methods:
            url = engine.address + path.replace("{run_id}", "x").replace("{name}", "saes")
            for wrong in ({}, {"Authorization": "Bearer wrong"}):
                response = httpx.request(method, url, headers=wrong, trust_env=False)
                assert response.status_code == (200 if path == "/health" else 401), path
                called += 1
    assert called > 20


def test_token_file_is_private_and_engine_on_loopback(engine: Client) -> None:
    token = Path(os.environ["CONCORDANCE_HOME"]) / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert engine.address.startswith("http://127.0.0.1:")


def test_other_hosts_need_an_explicit_flag(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "engine.server", "--host", "0.0.0.0"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "CONCORDANCE_HOME": str(tmp_path)}
    )
    assert done.returncode != 0 and "--allow-remote" in done.stderr


BAD = [
    ({"nonsense": 1}, [0], "nonsense"),
    ({"d_sae": 0}, [0], "d_sae"),
    ({"k": 99}, [0], "k"),
    ({"d_sae": "many"}, [0], "d_sae"),
    ({"true_sparsity": 50}, [0], "true_sparsity"),
    ({}, [], "seeds"),
    ({}, [1, 1], "seeds"),
    ({}, [-1], "seeds"),
    ({"source": "language_model", "corpus": "/nowhere/at/all.txt"}, [0], "corpus"),
    ({"source": "language_model", "model": "/nowhere/model"}, [0], "model"),
]


@pytest.mark.parametrize(("change", "seeds", "field"), BAD)
def test_bad_input_is_one_sentence_that_names_the_field(
    engine: Client, change: dict, seeds: list, field: str
) -> None:
    with pytest.raises(EngineError) as caught:
        engine.submit("sae_consistency", {**TINY_WORLD, **change}, seeds)
    assert caught.value.status == 422
    assert caught.value.message.startswith(f"{field}: ")
    assert "\n" not in caught.value.message and caught.value.message.endswith(".")
    assert not engine.runs()


def test_unknown_names_are_refused(engine: Client) -> None:
    for call, field in [
        (lambda: engine.submit("nothing", {}, [0]), "study"),
        (lambda: engine.submit("sae_consistency", {}, [0], preset="huge"), "preset"),
        (lambda: engine.run("nope"), "run"),
        (lambda: engine.match(("nope", 0), ("nope", 1)), "run"),
        (lambda: engine.match(("../../etc", 0), ("nope", 1)), "run"),
    ]:
        with pytest.raises(EngineError) as caught:
            call()
        assert caught.value.message.startswith(f"{field}: ")


def test_table_names_and_columns_cannot_inject_sql(engine: Client) -> None:
    run = engine.submit("sae_consistency", TINY_WORLD, [0])["id"]
    for options in ({"columns": ["seed; DROP TABLE runs"]}, {"order": "1; DROP"}, {"where": {"1=1 --": 1}}):
        with pytest.raises(EngineError, match="column"):
            engine.table(run, "saes", **options)
    with pytest.raises(EngineError, match="table"):
        engine.table(run, "sqlite_master")
    engine.cancel(run)


def test_figure_export_is_real_svg_pdf_png(engine: Client) -> None:
    figure = json.dumps(
        {"data": [{"x": [1, 2], "y": [3, 4], "type": "scatter"}], "layout": {"title": {"text": "A title"}}}
    )
    assert b"A title" in engine.export_figure(figure, "svg")
    assert engine.export_figure(figure, "pdf").startswith(b"%PDF")
    assert engine.export_figure(figure, "png").startswith(b"\x89PNG")
    with pytest.raises(EngineError, match="format"):
        engine.export_figure(figure, "exe")
    with pytest.raises(EngineError, match="figure"):
        engine.export_figure("not json", "svg")


@pytest.fixture
def outside() -> Iterator[tuple[str, list[str]]]:
    """The address of a server on this machine that gives a picture, and the paths it was asked for."""
    asked: list[str] = []

    class Picture(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.end_headers()
            self.wfile.write(PIXEL)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Picture) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def pictured(source: str) -> dict[str, Any]:
    place = {"x": 0, "y": 1, "sizex": 1, "sizey": 1, "xref": "paper", "yref": "paper"}
    return {"data": [], "layout": {"images": [{"source": source, **place}]}}


def test_a_map_is_drawn_in_vectors_unless_that_is_slower(engine: Client) -> None:
    for n, pixels in ((100, False), (VECTOR_POINTS + 1, True)):
        figure = go.Figure(go.Scattergl(x=np.arange(n), y=np.arange(n), mode="markers"))
        drawn = engine.export_figure(figure.to_json(), "svg")
        assert (b"data:image/png" in drawn) is pixels
        assert (drawn.count(b'class="point"') == n) is not pixels


def test_a_figure_that_names_an_address_is_refused(engine: Client, outside: tuple[str, list[str]]) -> None:
    address, asked = outside
    trace = {"type": "choropleth", "locations": ["a"], "z": [1], "geojson": f"{address}/g.json"}
    drawn = {"sources": {"a": {"type": "raster", "tiles": [f"{address}/{{z}}"]}}, "layers": []}
    refused = {
        "source": [
            pictured(f"{address}/x.png"),
            pictured("file:///etc/hostname"),
            pictured(" data:image/png,"),
        ],
        "geojson": [
            {"data": [trace]},
            {"data": [], "layout": {"template": {"data": {"choropleth": [trace]}}}},
        ],
        "style": [{"data": [{"type": "scattermap"}], "layout": {"map": {"style": f"{address}/s.json"}}}],
        "tiles": [{"data": [], "layout": {"map": {"style": drawn}}}],
        "topojsonURL": [{"data": [], "config": {"topojsonURL": address}}],
    }
    for key, figures in refused.items():
        for figure in figures:
            with pytest.raises(EngineError, match=f"^figure: its {key} names an address") as caught:
                engine.export_figure(json.dumps(figure), "svg")
            assert caught.value.status == 422 and caught.value.message.endswith(".")
    assert asked == []


def test_the_browser_that_renders_fetches_nothing(
    tmp_path: Path, outside: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = outside
    (tmp_path / "x.png").write_bytes(PIXEL)
    brought = pictured("data:image/png;base64," + base64.b64encode(PIXEL).decode())
    style = f"background-image:url({address}/span.png)"
    text = {
        "data": [],
        "layout": {"title": {"text": f'<span style="{style}">A title</span>', "font": {"style": "italic"}}},
    }
    figures = FigureServer()
    try:
        assert b"data:image/png" in figures.render(json.dumps(brought).encode(), "svg", 300, 200)
        assert b"A title" in figures.render(json.dumps(text).encode(), "svg", 300, 200)
        monkeypatch.setattr("engine.figures.FETCHED", frozenset())
        for source in (f"{address}/x.png", (tmp_path / "x.png").as_uri()):
            drawn = figures.render(json.dumps(pictured(source)).encode(), "svg", 300, 200)
            assert b"data:image" not in drawn
        for undrawable in ({}, {"data": "x"}, {"data": [], "layout": []}):
            with pytest.raises(UserError, match="plotly cannot draw it"):
                figures.render(json.dumps(undrawable).encode(), "svg", 300, 200)
    finally:
        figures.close()
    assert asked == []


def test_studies_describe_their_config(engine: Client) -> None:
    study = engine.studies()[0]
    for name, schema in study["schema"]["properties"].items():
        assert schema["description"] and schema["group"], name
    assert {"tour", "standard", "paper"} <= set(study["presets"])
