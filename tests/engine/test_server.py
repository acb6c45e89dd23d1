import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from engine.client import Client, EngineError
from tests.conftest import TINY_WORLD


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


def test_studies_describe_their_config(engine: Client) -> None:
    study = engine.studies()[0]
    for name, schema in study["schema"]["properties"].items():
        assert schema["description"] and schema["group"], name
    assert {"tour", "standard", "paper"} <= set(study["presets"])
