"""Text, one document at a time: the bundled English mix, a user's files, or a Hugging Face dataset."""

import csv
import hashlib
import heapq
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data.assets import ASSETS, AssetMissing, content_hash, locate
from data.parquet import refusing_damage

ENGLISH_MIX = "english-mix"
SUFFIXES = (".txt", ".jsonl", ".parquet")
MIN_CHARACTERS = 20


class CorpusError(ValueError):
    """A corpus cannot be read; one sentence with the fix."""


@dataclass(frozen=True)
class Document:
    """A text and the name of the source it came from."""

    text: str
    source: str


def documents(corpus: str) -> Iterator[Document]:
    """Stream a corpus in a fixed order, exact duplicates and texts under 20 characters left out.

    Memory: 16 bytes per document seen. Raises CorpusError.
    """
    seen: set[bytes] = set()
    for document in _raw(corpus):
        text = document.text.strip()
        digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest()
        if len(text) >= MIN_CHARACTERS and digest not in seen:
            seen.add(digest)
            yield Document(text, document.source)


def fingerprint(corpus: str) -> str:
    """sha256 that changes when the corpus' content does. Raises CorpusError."""
    if corpus == ENGLISH_MIX:
        identity = " ".join(ASSETS[name].sha256 for name in _available_sources())
    elif (path := _user_path(corpus)) is not None:
        identity = " ".join(content_hash(file) for file in _files(path))
    else:
        identity = f"hub {corpus}"
    return hashlib.sha256(identity.encode()).hexdigest()


def describe(corpus: str) -> list[dict[str, str]]:
    """Source, licence and tier of what a corpus holds."""
    if corpus == ENGLISH_MIX:
        return [
            {"source": name, "licence": ASSETS[name].licence, "tier": ASSETS[name].tier}
            for name in _available_sources()
        ]
    return [{"source": corpus, "licence": "stated by its owner", "tier": "real data"}]


def missing(corpus: str) -> list[str]:
    """One sentence for each source of the English mix that is absent; it goes on without them."""
    if corpus != ENGLISH_MIX:
        return []
    return [problem for name in MIX if (problem := _problem(name))]


def _raw(corpus: str) -> Iterator[Document]:
    if corpus == ENGLISH_MIX:
        return _interleaved({name: MIX[name] for name in _available_sources()})
    path = _user_path(corpus)
    return _hub(corpus) if path is None else _from_files(path)


def _user_path(corpus: str) -> Path | None:
    """The file or folder a corpus names; None when it can only be a hub id."""
    path = Path(corpus).expanduser()
    if path.exists():
        return path
    if path.is_absolute() or path.suffix in SUFFIXES or corpus.count("/") != 1 or corpus.startswith("."):
        raise CorpusError(
            f"{corpus!r} does not exist; give {ENGLISH_MIX}, a .txt, .jsonl or .parquet file, a folder of them, or owner/name of a dataset."
        )
    return None


def _files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES)
    if not files or files[0].suffix not in SUFFIXES:
        raise CorpusError(f"{path} holds no .txt, .jsonl or .parquet file; add one or name another corpus.")
    return files


def _from_files(path: Path) -> Iterator[Document]:
    readers = {".txt": _text_file, ".jsonl": _jsonl_file, ".parquet": _parquet_file}
    for file in _files(path):
        for text in readers[file.suffix](file):
            yield Document(text, file.name)


def _text_file(path: Path) -> Iterator[str]:
    """Paragraphs, separated by blank lines."""
    paragraph: list[str] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.strip():
                paragraph.append(line)
            elif paragraph:
                yield "".join(paragraph)
                paragraph = []
    yield "".join(paragraph)


def _jsonl_file(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line) if line.strip() else {"text": ""}
                yield str(row["text"])
            except (ValueError, KeyError, TypeError):
                raise CorpusError(
                    f'{path.name} line {number} is not a JSON object with a "text" field; fix or drop it.'
                ) from None


def _parquet_file(path: Path) -> Iterator[str]:
    with refusing_damage(path, CorpusError):
        file = pq.ParquetFile(path)
        if "text" not in file.schema_arrow.names:
            raise CorpusError(f'{path.name} has no "text" column; rename the column that holds the text.')
        for batch in file.iter_batches(columns=["text"], batch_size=1024):
            yield from (str(text) for text in batch.column(0).to_pylist() if text is not None)


def _hub(name: str) -> Iterator[Document]:
    from datasets import load_dataset

    try:
        rows: Iterable[dict[str, Any]] = load_dataset(name, split="train", streaming=True)
        for row in rows:
            yield Document(str(row["text"]), name)
    except KeyError:
        raise CorpusError(f'dataset {name} has no "text" field; export it to .jsonl with one.') from None
    except Exception as error:
        raise CorpusError(
            f"dataset {name} cannot be read ({type(error).__name__}); check its name and the network, or give a local file."
        ) from error


def _problem(name: str) -> str:
    """Why a source of the mix cannot be read; empty when it can."""
    try:
        locate(name)
    except AssetMissing as error:
        return str(error)
    return ""


def _available_sources() -> list[str]:
    """Sources of the mix that are installed. Raises CorpusError when none is."""
    found = [name for name in MIX if not _problem(name)]
    if not found:
        raise CorpusError(
            f"{ENGLISH_MIX} has no source installed; run `make setup` or name a file of your own."
        )
    return found


def _interleaved(sources: dict[str, Callable[[], list[str]]]) -> Iterator[Document]:
    """Spread every source evenly over the whole stream: item i of n stands at (i + ½)/n."""

    def placed(name: str) -> Iterator[tuple[float, str, str]]:
        texts = sources[name]()
        return (((i + 0.5) / len(texts), name, text) for i, text in enumerate(texts))

    for _, name, text in heapq.merge(*map(placed, sources)):
        yield Document(text, name)


def _wikipedia_leads() -> list[str]:
    articles = json.loads(locate("wikipedia-leads").read_text(encoding="utf-8"))
    return [article["extract"] for _, article in sorted(articles.items()) if article["extract"]]


def bbc_articles() -> list[tuple[str, str]]:
    """(topic, text) of every article of the BBC news set, topics interleaved. Raises AssetMissing."""
    files = sorted(locate("bbc-news").rglob("*.txt"), key=lambda file: (file.stem, file.parent.name))
    return [(file.parent.name, file.read_text(encoding="utf-8", errors="replace")) for file in files]


def _bbc_news() -> list[str]:
    return [text for _, text in bbc_articles()]


def _tweets() -> list[str]:
    with locate("tweets").open(encoding="utf-8", errors="replace", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


RATED_DOMAINS = ("amazonReviewSnippets", "movieReviewSnippets", "nytEditorialSnippets", "tweets")


def _rated_snippets() -> list[str]:
    domains = rated_snippets().values()
    order = (
        (i / len(rows), d, text) for d, rows in enumerate(domains) for i, (_, _, text) in enumerate(rows)
    )
    return [text for _, _, text in sorted(order)]


def rated_snippets() -> dict[str, list[tuple[str, float, str]]]:
    """Per domain, (id, mean rating from −4 to 4, text) of every snippet; "12_3" is the third of review 12.

    Raises AssetMissing.
    """
    with tarfile.open(locate("rated-snippets")) as outer:
        inner = outer.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
        assert inner is not None
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as archive:
            return {name: _rated_domain(archive, name) for name in RATED_DOMAINS}


def _rated_domain(archive: tarfile.TarFile, name: str) -> list[tuple[str, float, str]]:
    file = archive.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
    assert file is not None
    lines = file.read().decode("utf-8", errors="replace").splitlines()
    rows = (line.split("\t", 2) for line in lines if line.count("\t") >= 2)
    return [(identifier, float(rating), text) for identifier, rating, text in rows]


MIX: dict[str, Callable[[], list[str]]] = {
    "wikipedia-leads": _wikipedia_leads,
    "bbc-news": _bbc_news,
    "tweets": _tweets,
    "rated-snippets": _rated_snippets,
}
