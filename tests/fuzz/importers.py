"""Every importer as a function of one file's bytes, with sound files to begin from. A file is taken or refused in one sentence."""

import atexit
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analyses.graph_files import read_graph
from data.corpora import CorpusError, documents
from data.domain_texts import read_texts
from data.image_folder import open_image, read_folder
from data.label_shift import read_features
from data.question_folder import read_question_folder
from data.sr2.checking import check_puzzle, read_puzzle
from data.user_tables import read_table
from engine.bundles import read_bundle
from engine.errors import UserError
from engine.executors import LocalExecutor
from engine.library import Library
from engine.plain_text import one_line
from engine.scheduler import Scheduler
from engine.store import Store
from engine.studies.sapo.foreign import read_file
from tests.fuzz.sae_folders import sae_files

LONGEST = 1_000


class Importer(NamedTuple):
    """`read` takes the path of a file named `name`; `sound` are bytes of files it takes."""

    name: str
    read: Callable[[Path], object]
    sound: tuple[bytes, ...]


def _parquet(**columns: list) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def _jsonl(*rows: dict) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def _features() -> bytes:
    """120 rows of three classes."""
    columns = {f"f{i}": np.random.default_rng(i).normal(size=120).tolist() for i in range(3)}
    return _parquet(label=["abc"[row % 3] for row in range(120)], **columns)


def _picture() -> bytes:
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(sink, "PNG")
    return sink.getvalue()


def _table() -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(0).normal(size=(110, 3)).round(3), columns=["a", "b", "c"])


def _bundle() -> bytes:
    sink = io.BytesIO()
    header = {
        "format": 1, "run": "a" * 12, "runs": ["a" * 12], "environments": {}, "library": {"labels": [], "lists": []},
        "files": {f"runs/{'a' * 12}/config.json": "0" * 64},
    }  # fmt: skip
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("bundle.json", json.dumps(header))
        archive.writestr(f"runs/{'a' * 12}/config.json", "{}")
    return sink.getvalue()


@cache
def _elsewhere() -> tuple[Scheduler, Library]:
    """A state folder for this process that no bundle has come to; refused ones leave it as it was."""
    home = tempfile.TemporaryDirectory()
    store = Store(Path(home.name))
    atexit.register(home.cleanup)
    atexit.register(store.close)
    return Scheduler(Path(home.name), store, LocalExecutor()), Library(Path(home.name), store)


def take_bundle(path: Path) -> None:
    scheduler, library = _elsewhere()
    try:
        read_bundle(scheduler, library, path)
    finally:
        assert not [*(scheduler.home / "runs").iterdir()], "something of a refused bundle stayed"


def _random() -> np.random.Generator:
    return np.random.default_rng(0)


TEXTS = [{"text": f"this is sentence {i} of some length", "domain": "ab"[i % 2], "label": ["no", "yes"][i // 2 % 2]} for i in range(400)]  # fmt: skip
D1 = {"generations": [{"question": "numbers [1, 2, 3], target 6", "generations": "<answer>1+2+3</answer>", "ground_truth": [[1, 2, 3], 6]}]}  # fmt: skip
LIST = [
    {
        "id": "1",
        "image": "p.png",
        "captions": ["a red ball"],
        "conversations": [{"from": "human", "value": "what"}],
    }
]
IMPORTERS = {
    "table.csv": Importer("table.csv", read_table, (_table().to_csv(index=False).encode(),)),
    "table.parquet": Importer("table.parquet", read_table, (_parquet(**_table().to_dict("list")),)),
    "graph.csv": Importer(
        "graph.csv", read_graph, (b"source,target,weight\na,b,1\nb,c,0.5\n", b"a,b\n0,1\n0,0\n", b"\xef\xbb\xbf,a,b\na,0,1\nb,0,0\n")
    ),
    "graph.parquet": Importer("graph.parquet", read_graph, (_parquet(source=["a", "b"], target=["b", "c"]),)),
    "texts.jsonl": Importer(
        "texts.jsonl", lambda path: read_texts(str(path), 20, 1_000, _random()), (_jsonl(*TEXTS),)
    ),
    "corpus.jsonl": Importer("corpus.jsonl", lambda path: [*documents(str(path))], (_jsonl(*TEXTS[:3]),)),
    "corpus.txt": Importer("corpus.txt", lambda path: [*documents(str(path))], (b"A paragraph of text.\n\nAnother one.",)),
    "corpus.parquet": Importer("corpus.parquet", lambda path: [*documents(str(path))], (_parquet(text=["some text that is long enough"]),)),
    "generations.json": Importer("countdown_generations.json", read_file, (json.dumps(D1).encode(),)),
    "generations.txt": Importer("sample_process.txt", read_file, (b"1: the [MASK] sat\n2: the cat sat\n", b"")),
    "generations.parquet": Importer("sapo_rollouts.parquet", read_file, (_parquet(text=["a"], prompt=["b"]),)),
    "sudoku.txt": Importer(
        "sudoku.txt",
        lambda path: check_puzzle(read_puzzle(path.read_text(errors="replace"), "sudoku", 4), "sudoku", 4),
        (b"1...\n..3.\n.4..\n...2", b"1000003004000002"),
    ),
    "maze.txt": Importer(
        "maze.txt",
        lambda path: check_puzzle(read_puzzle(path.read_text(errors="replace"), "maze", 5), "maze", 5),
        (b"#####\n#S..#\n###.#\n#G..#\n#####",),
    ),
    "captions/list.json": Importer("data.json", lambda path: read_folder(path.parent), (json.dumps(LIST).encode(),)),
    "questions/list.json": Importer(
        "data.json", lambda path: read_question_folder(path.parent, 8), (json.dumps(LIST).encode(),)
    ),
    "picture.png": Importer("picture.png", lambda path: open_image(path, 8), (_picture(),)),
    "bundle.zip": Importer("bundle.zip", take_bundle, (_bundle(),)),
    "features.parquet": Importer("features.parquet", lambda path: read_features(path, 100, _random()), (_features(),)),
    **{which: Importer(name, read, (content,)) for which, (name, read, content) in sae_files().items()},
}  # fmt: skip


def attempt(which: str, content: bytes, folder: Path) -> bool:
    """Whether the importer took a file with these bytes.

    AssertionError where it was not refused by an error that the engine answers in one sentence (`engine.server`).
    """
    importer = IMPORTERS[which]
    path = folder / importer.name
    path.write_bytes(content)
    try:
        importer.read(path)
    except (UserError, ValueError) as error:
        assert type(error) in (UserError, ValueError, CorpusError), repr(error)
        assert one_line(str(error), LONGEST)
        return False
    return True
