"""From a finished run to its cards: one pass, one sort per seed, then what the model and the dictionary say."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from data.files import sync, write_json
from engine import schema
from engine.run import Run, Stopped
from engine.tools.feature_cards.logits import write_logits, write_neighbours
from engine.tools.feature_cards.of_run import OfRun
from engine.tools.feature_cards.sorting import SortedFile, sorted_features
from engine.tools.feature_cards.statistics import Statistics
from engine.tools.feature_cards.stream import Stream
from engine.tools.feature_cards.tokens import Tokens, read_tokens

WORK = "work"
SORTING = "sorting seed {}"


def make_cards(run: Run) -> None:
    """Write everything of a feature_cards run that is not there yet. Raises UserError, Stopped."""
    of = OfRun.open(run)
    tokens = read_tokens(of.activations.folder, of.context_size, run.config.max_tokens)
    if not _written(run, "cards"):
        _write_cards(run, of, tokens)
    if not _written(run, "card_neighbours"):
        write_neighbours(run, of)
    _ask_model(run, of)
    shutil.rmtree(run.directory / WORK, ignore_errors=True)
    run.progress(1, 1, "done")


def _written(run: Run, table: str) -> bool:
    return (run.directory / "tables" / f"{table}.parquet").exists()


def _write_cards(run: Run, of: OfRun, tokens: Tokens) -> None:
    folder = run.directory / WORK
    stream = Stream(run, of, tokens, folder)
    stream.collect()
    _write_tokens(run, of, tokens)
    parts = {seed: folder / f"cards-seed-{seed}.parquet" for seed in of.seeds}
    for seed, part in parts.items():
        if not part.exists():
            _sort(run, of, tokens, stream, seed, part)
        for bucket in stream.buckets(seed):
            bucket.unlink()
    run.write_table("cards", pa.concat_tables([pq.read_table(part) for part in parts.values()]))


def _sort(run: Run, of: OfRun, tokens: Tokens, stream: Stream, seed: int, part: Path) -> None:
    """The sorted activations of a seed, and its rows of `cards` as `part`."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(of.activations.folder / "tokenizer.json"))
    statistics = Statistics(tokens, tokenizer, seed, of.config.d_sae)
    target = SortedFile(run.directory / "tables" / f"activations-seed-{seed}.parquet")
    buckets = stream.buckets(seed)
    sizes = [bucket.stat().st_size for bucket in buckets]
    try:
        for done, bucket in enumerate(buckets):
            run.progress(sum(sizes[:done]), sum(sizes), SORTING.format(seed))
            if run.should_stop:
                raise Stopped
            target.add(statistics.passing(sorted_features(bucket)))
        target.close()
    except BaseException:
        target.abandon()
        raise
    temporary = part.with_suffix(".tmp")
    pq.write_table(statistics.table(), temporary)
    sync(temporary)
    os.replace(temporary, part)


def _write_tokens(run: Run, of: OfRun, tokens: Tokens) -> None:
    folder = run.directory / "tensors"
    folder.mkdir(exist_ok=True)
    temporary = folder / "tokens.tmp"
    save_file({"token_id": tokens.ids, "kept": tokens.kept}, temporary)
    sync(temporary)
    os.replace(temporary, folder / "tokens.safetensors")
    shutil.copyfile(of.activations.folder / "tokenizer.json", folder / "tokenizer.json")
    counts = {"n_tokens": len(tokens.ids), "n_kept": int(np.count_nonzero(tokens.kept))}
    write_json(folder / "cards.json", {**of.describe(), **counts, "max_tokens": run.config.max_tokens})


def _ask_model(run: Run, of: OfRun) -> None:
    """Everything that needs the language model, which is loaded only if something is missing."""
    if of.config.reads_run:
        run.message("Logits, loss recovered and probes are left out: they need a language model.")
        run.write_table("card_logits", schema.run_columns("card_logits").empty_table())
        return
    steps: dict[str, Callable[[Run, OfRun, Any], None]] = {"card_logits": write_logits}
    if run.config.checks_tokens > 0:
        from engine.tools.feature_cards.checks import write_checks

        steps["checks"] = write_checks
    if run.config.probe_documents > 0:
        from engine.tools.feature_cards.probing import write_probes

        steps["probes"] = write_probes
    missing = {table: step for table, step in steps.items() if not _written(run, table)}
    if not missing:
        return
    from engine.language_model import load

    run.progress(0, 1, "loading the language model")
    model = load(of.config.model, run.device)
    for step in missing.values():
        if run.should_stop:
            raise Stopped
        step(run, of, model)
