"""Bundles under a real engine: out, in on another machine's state folder, and everything a bad file can try."""

import hashlib
import json
import os
import shlex
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.files import write_json
from engine.bundles import IDENTITY, members, read_bundle
from engine.client import Client, EngineError
from engine.errors import UserError
from engine.executors import LocalExecutor
from engine.identity import command, identity
from engine.library import Library
from engine.reproduce import compare, reproduce
from engine.scheduler import Scheduler
from engine.store import Store
from engine.studies.base import parse_config
from engine.tools import JOBS
from tests.conftest import TINY_WORLD


class Idle(LocalExecutor):
    """Never asked to start anything."""


@pytest.fixture(scope="module")
def run(engine: Client) -> str:
    return str(engine.wait(engine.submit("sae_consistency", TINY_WORLD, [0, 1])["id"])["id"])


@pytest.fixture(scope="module")
def bundle(engine: Client, run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    engine.set_label(run, 0, 3, "a label of mine")
    said = Path(os.environ["CONCORDANCE_HOME"]) / "reviews" / run / "selections"
    said.mkdir(parents=True)
    write_json(said / "my choice.json", {"run": run, "triplets": [1]})
    target = tmp_path_factory.mktemp("bundle") / "run.zip"
    engine.export_bundle(run, target)
    return target


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Callable[[Path], dict]]:
    """Another state folder, whose engine's own parts take bundles in."""
    home = tmp_path / "elsewhere"
    home.mkdir()
    store = Store(home)
    scheduler, library = Scheduler(home, store, Idle()), Library(home, store)

    def take_in(path: Path) -> dict:
        return {
            **read_bundle(scheduler, library, path),
            "home": home,
            "store": store,
            "scheduler": scheduler,
            "library": library,
        }

    yield take_in
    store.close()


def rewritten(source: Path, target: Path, change: Callable[[dict[str, bytes], dict], None]) -> Path:
    """A bundle with its files and header changed by `change`."""
    with zipfile.ZipFile(source) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(files.pop("bundle.json"))
    change(files, header)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("bundle.json", json.dumps(header))
        for name, content in files.items():
            archive.writestr(name, content)
    return target


def test_a_bundle_brings_run_label_and_tables(
    bundle: Path, run: str, engine: Client, elsewhere: Callable
) -> None:
    found = elsewhere(bundle)
    assert found["run"] == run and found["added"] == [run] and not found["present"]
    store = found["store"]
    assert store.check(found["scheduler"].still) == []
    for table in ("saes", "pairs", "matches", "features", "metrics"):
        there = store.rows(run, table, None, {}, None, None, 0).read_all()
        assert there.num_rows > 0 and there.num_rows == engine.table(run, table).num_rows
    assert found["library"].document()["labels"][0]["label"] == "a label of mine"
    assert found["scheduler"].get(run).state["state"] == "done"
    assert (found["home"] / "reviews" / run / "selections" / "my choice.json").exists()
    mine = Path(os.environ["CONCORDANCE_HOME"]) / "runs" / run
    theirs = found["home"] / "runs" / run
    assert (mine / "manifest.json").read_bytes() == (theirs / "manifest.json").read_bytes()
    assert compare(mine, theirs).verdict == "bytes"
    assert "Imported from a bundle" in (theirs / "events.jsonl").read_text()


def test_taking_it_in_again_changes_nothing(engine: Client, bundle: Path, run: str) -> None:
    found = engine.import_bundle(bundle)
    assert found["added"] == [] and run in found["present"]
    home = Path(os.environ["CONCORDANCE_HOME"])
    assert not [path for path in (*home.iterdir(), *(home / "runs").iterdir()) if "bundle-" in path.name]


def test_an_unfinished_run_is_not_exported(engine: Client, tmp_path: Path) -> None:
    queued = engine.submit("sae_consistency", {**TINY_WORLD, "n_steps": 10**6}, [0])["id"]
    with pytest.raises(EngineError, match="only a finished run"):
        engine.export_bundle(queued, tmp_path / "x.zip")
    assert list(tmp_path.iterdir()) == []
    engine.cancel(queued)
    engine.wait(queued)


def traversal(files: dict[str, bytes], header: dict) -> None:
    files["runs/../../evil"] = b"x"
    header["files"]["runs/../../evil"] = "0" * 64


def foreign_folder(files: dict[str, bytes], header: dict) -> None:
    name = f"runs/{header['run']}/code/run.py"
    files[name] = b"x"
    header["files"][name] = "0" * 64


def foreign_review(files: dict[str, bytes], header: dict) -> None:
    name = f"reviews/{header['run']}/selections/x.py"
    files[name] = b"x"
    header["files"][name] = "0" * 64


def changed_bytes(files: dict[str, bytes], header: dict) -> None:
    files[f"runs/{header['run']}/tables/saes.parquet"] += b"x"


def changed_config(files: dict[str, bytes], header: dict) -> None:
    name = f"runs/{header['run']}/config.json"
    record = json.loads(files[name])
    record["config"]["k"] = 3
    files[name] = json.dumps(record).encode()
    header["files"][name] = hashlib.sha256(files[name]).hexdigest()


def not_parquet(files: dict[str, bytes], header: dict) -> None:
    base = f"runs/{header['run']}/"
    manifest = json.loads(files[base + "manifest.json"])
    files[base + "tables/saes.parquet"] = b"PAR1 nothing PAR1"
    manifest["tables/saes.parquet"] = hashlib.sha256(b"PAR1 nothing PAR1").hexdigest()
    files[base + "manifest.json"] = json.dumps(manifest).encode()
    for name in (base + "tables/saes.parquet", base + "manifest.json"):
        header["files"][name] = hashlib.sha256(files[name]).hexdigest()


def missing_file(files: dict[str, bytes], header: dict) -> None:
    del files[f"runs/{header['run']}/tables/saes.parquet"]


def unlisted_manifest_file(files: dict[str, bytes], header: dict) -> None:
    name = f"runs/{header['run']}/tables/saes.parquet"
    del files[name], header["files"][name]


def other_format(files: dict[str, bytes], header: dict) -> None:
    header["format"] = 99


def no_object(files: dict[str, bytes], header: dict) -> None:
    header["files"] = 3


def with_header(change: Callable[[dict], object]) -> Callable:
    return lambda files, header: change(header)


def with_record(change: Callable[[dict], object]) -> Callable:
    """The run with another record, under the id and the hash that this record has."""

    def apply(files: dict[str, bytes], header: dict) -> None:
        old = header["run"]
        record = json.loads(files[f"runs/{old}/config.json"])
        change(record)
        new = record["id"] = identity({key: record[key] for key in IDENTITY})
        files[f"runs/{old}/config.json"] = content = json.dumps(record).encode()
        renamed = {name.replace(old, new): held for name, held in files.items()}
        files.clear()
        files |= renamed
        header |= json.loads(json.dumps(header).replace(old, new))
        header["files"][f"runs/{new}/config.json"] = hashlib.sha256(content).hexdigest()

    return apply


TAMPERED = {
    "no environments": with_header(lambda header: header.pop("environments")),
    "environments in a list": with_header(lambda header: header.update(environments=[])),
    "environment of text": with_header(lambda header: header["environments"].update({header["run"]: "torch"})),
    "labels of a number": with_header(lambda header: header["library"].update(labels=3)),
    "label of nothing": with_header(lambda header: header["library"].update(labels=[{}])),
    "label of a run only": with_header(lambda header: header["library"].update(labels=[{"run": header["run"]}])),
    "library in a list": with_header(lambda header: header.update(library=[])),
    "run named twice": with_header(lambda header: header.update(runs=header["runs"] * 2)),
    "files in a list": with_header(lambda header: header.update(files=list(header["files"]))),
    "created as text": with_record(lambda record: record.update(created="1.0")),
    "created at no time": with_record(lambda record: record.update(created=float("nan"))),
    "created too late to show": with_record(lambda record: record.update(created=1e300)),
    "seeds as text": with_record(lambda record: record.update(seeds="ab")),
    "seeds of text": with_record(lambda record: record.update(seeds=["0", "1"])),
    "seed twice": with_record(lambda record: record.update(seeds=[1, 1])),
    "data seed as text": with_record(lambda record: record.update(data_seed="0")),
    "data seed below zero": with_record(lambda record: record.update(data_seed=-1)),
    "no preset": with_record(lambda record: record.pop("preset")),
    "preset in a list": with_record(lambda record: record.update(preset=["tour"])),
    "fingerprint of a number": with_record(lambda record: record.update(fingerprint=3)),
    "a value that JSON lacks": with_record(lambda record: record.update(more=float("inf"))),
}  # fmt: skip
NAMED = [
    traversal, foreign_folder, foreign_review, changed_bytes, changed_config, not_parquet, missing_file,
    unlisted_manifest_file, other_format, no_object,
]  # fmt: skip


@pytest.mark.parametrize(
    "change", [*NAMED, *TAMPERED.values()], ids=[*(change.__name__ for change in NAMED), *TAMPERED]
)
def test_a_tampered_bundle_is_refused_whole(
    change: Callable, bundle: Path, elsewhere: Callable, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"^bundle: .*choose a file that `concordance export` wrote\.$"):
        elsewhere(rewritten(bundle, tmp_path / "bad.zip", change))
    home = tmp_path / "elsewhere"
    assert list((home / "runs").iterdir()) == []
    for stray in (tmp_path / "evil", home / "evil", home / "reviews", home / "library.json"):
        assert not stray.exists()


def settings_of(words: list[str]) -> dict[str, str]:
    """What a shown command sets."""
    pairs = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    return dict(pair.split("=", 1) for pair in pairs)


def test_a_preset_that_is_not_known_here_is_no_obstacle(
    bundle: Path, run: str, elsewhere: Callable, tmp_path: Path
) -> None:
    change = with_record(lambda record: record.update(preset="renamed since"))
    found = elsewhere(rewritten(bundle, tmp_path / "other.zip", change))
    shown = found["scheduler"].listing(None, None, 10, 0)[0]
    assert (shown["id"], shown["preset"]) == (run, "renamed since")
    words = shlex.split(shown["command"])
    assert "--preset" not in words
    asked = found["scheduler"].record("sae_consistency", None, settings_of(words), [0, 1], 0)
    assert identity(asked) == run


@pytest.mark.parametrize("name", ["sae_consistency", "sapo", "sr2", "smartclip"])
def test_the_command_of_every_preset_asks_for_its_config_under_any_name(name: str) -> None:
    study = JOBS[name]
    for preset in study.presets:
        config = parse_config(study, preset, {})
        record = {
            "study": study.name, "config": config.model_dump(mode="json"), "seeds": [0], "data_seed": 0,
        }  # fmt: skip
        for named in ({}, {"preset": None}, {"preset": "renamed since"}):
            words = shlex.split(command({**record, **named}))
            assert "--preset" not in words
            assert parse_config(study, None, settings_of(words)) == config
        assert shlex.split(command({**record, "preset": preset}))[3:] == ["--preset", preset, "--seeds", "1"]


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04" + b"\0" * 200])
def test_what_is_no_bundle_gets_one_sentence(engine: Client, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(EngineError, match=r"^bundle: ") as refused:
        engine.import_bundle(path)
    assert refused.value.status == 422


def test_a_cut_bundle_is_refused(engine: Client, bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.zip"
    path.write_bytes(bundle.read_bytes()[:-3000])
    with pytest.raises(EngineError, match=r"^bundle: "):
        engine.import_bundle(path)


def test_a_run_reproduces_to_the_same_bytes(engine: Client, run: str) -> None:
    rows: list[dict] = []
    found = reproduce(Path(os.environ["CONCORDANCE_HOME"]), run, rows.append)
    assert (found.verdict, found.different, found.same_code) == ("bytes", [], True)
    assert rows and engine.store_check()["sound"]


def test_comparing_names_the_column_that_differs(run: str, engine: Client, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from engine.run import write_manifest

    first = Path(os.environ["CONCORDANCE_HOME"]) / "runs" / run
    for factor, verdict in ((1 + 1e-6, "figures"), (1.1, "differs")):
        second = tmp_path / verdict
        shutil.copytree(first, second)
        table = pq.read_table(second / "tables" / "pairs.parquet")
        place = table.column_names.index("pw_mcc_abs")
        moved = pa.array([value * factor for value in table["pw_mcc_abs"].to_pylist()])
        pq.write_table(
            table.set_column(place, table.schema.field(place), moved), second / "tables" / "pairs.parquet"
        )
        write_manifest(second)
        found = compare(first, second)
        assert found.verdict == verdict and found.where == "pairs.pw_mcc_abs"
        assert found.largest == pytest.approx(abs(factor - 1), rel=0.2)


def test_a_bundle_holds_what_the_run_reads_and_what_was_made_of_these(tmp_path: Path) -> None:
    def put(run_id: str, study: str, config: dict, state: str = "done") -> None:
        folder = tmp_path / "runs" / run_id
        folder.mkdir(parents=True)
        record = {
            "id": run_id,
            "study": study,
            "config": config,
            "seeds": [0],
            "data_seed": 0,
            "created": 0.0,
            "preset": None,
        }
        write_json(folder / "config.json", record)
        times = {"created": 0.0, "queued": 0.0, "started": None, "finished": None}
        write_json(folder / "state.json", {"state": state, "group": None, "error": None, **times})

    base, reader, other = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"
    put(base, "sr2", {})
    put(reader, "sae_consistency", {"model": f"run:{base}/seed-0"})
    put(other, "sae_consistency", {})
    put("d" * 12, "feature_cards", {"of": reader})
    put("e" * 12, "feature_map", {"runs": f"{reader},{other}"})
    put("f" * 12, "feature_cards", {"of": reader}, state="failed")
    store = Store(tmp_path)
    found = members(Scheduler(tmp_path, store, Idle()), reader)
    store.close()
    assert [entry.record["id"] for entry in found] == [reader, base, "d" * 12]
