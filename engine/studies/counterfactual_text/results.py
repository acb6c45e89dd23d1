"""What a finished run leaves: every table of the study, and the weights of every arm."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analyses.counterfactual_text import supports
from analyses.identifiability import block_r2
from analyses.streams import stream_seed
from data.assets import AssetMissing
from data.domain_texts import SPLITS
from engine import schema
from engine.errors import UserError
from engine.run import Run, Stopped
from engine.studies.counterfactual_text.config import Config
from engine.studies.counterfactual_text.evaluation import Codes, bench_row, codes_of, influence_of
from engine.studies.counterfactual_text.learner import Learner, weights
from engine.studies.counterfactual_text.model import MASKED_BELOW
from engine.studies.counterfactual_text.source import Source, is_shared

Floats = NDArray[np.float64]
Rows = list[dict[str, Any]]
Tables = dict[str, Rows]
BLOCKS = ("content", "style noise")
COMPARED_ROWS = 300
EMPTY = ("cf_bench", "cf_examples", "cf_scores", "cf_pairs", "cf_words", "cf_classifier", "cf_agreement")


def weights_name(seed: int, arm: str) -> str:
    """The file of a run's tensors that holds an arm of a seed."""
    return f"model-seed-{seed}-{arm}"


def write_results(run: Run, learners: Sequence[Learner], pool: ThreadPoolExecutor) -> None:
    """Evaluate every arm once on test rows and write every table. Raises Stopped when asked to stop; training is kept."""
    measuring = Measuring(run, learners, pool)
    tables: Tables = {name: [] for name in EMPTY}
    for found in measuring.arms():
        for name, rows in found.items():
            tables.setdefault(name, []).extend(rows)
    tables["cf_curve"] = [row for learner in learners for row in learner.curve]
    tables["cf_agreement"] = measuring.agreement()
    if run.config.reads_text:
        tables |= measuring.texts()
    tables["cf_data"] = _data(learners[0].source) + measuring.notes
    for name, rows in tables.items():
        wanted = schema.run_columns(name)
        filled = [{column: row.get(column) for column in wanted.names} for row in rows]
        run.write_table(name, pa.Table.from_pylist(filled, schema=wanted))
    for learner in learners:
        run.write_tensors(weights_name(learner.seed, learner.arm), weights(learner.model))


class Measuring:
    """The evaluation of a run's learners, as many arms at a time as there are cores."""

    def __init__(self, run: Run, learners: Sequence[Learner], pool: ThreadPoolExecutor) -> None:
        self.run, self.learners, self.pool = run, learners, pool
        self.config: Config = run.config
        self.codes: dict[tuple[str, int], Codes] = {}
        self.notes: Rows = []
        self._done, self._lock = 0, threading.Lock()

    def arms(self) -> list[Tables]:
        """The tables of every arm of every seed."""

        def one(learner: Learner) -> Tables | None:
            if self.run.should_stop:
                return None
            found = self._arm(learner)
            with self._lock:
                self._done += 1
                self.run.progress(self._done, len(self.learners), "measuring")
            return found

        found = [tables for tables in self.pool.map(one, self.learners) if tables is not None]
        if len(found) < len(self.learners):
            raise Stopped
        return found

    def _arm(self, learner: Learner) -> Tables:
        model, source, who = learner.model, learner.source, {"seed": learner.seed, "arm": learner.arm}
        codes = codes_of(model, source)
        self.codes[learner.arm, learner.seed] = codes
        influence = influence_of(model, source)
        found = supports(influence, self.config.d_style)
        mask = model.mask.detach().numpy() if model.prior.has_flow else np.ones(self.config.d_content)
        value, parts = learner.validate()
        tables: Tables = {
            "cf_arms": [
                {
                    **who,
                    **{name: parts[name] for name in ("reconstruction", "kl_content", "kl_style")},
                    "validation": value,
                    "support_style": found.style,
                    "support_content": found.content,
                    "relative": found.relative,
                    "style_only": found.style_only,
                    "masked": int((mask <= MASKED_BELOW).sum()),
                }
            ],
            "cf_influence": [{**who, **row} for row in _influence_rows(influence, self.config.d_content)],
            "cf_codes": [{**who, **row} for row in _code_rows(codes, mask)],
        }
        if source.world is not None:
            row, examples = bench_row(self.config, model, source, learner.seed, learner.data_seed, codes)
            tables |= {"cf_bench": [{**who, **row}], "cf_examples": [{**who, **one} for one in examples]}
        return tables

    def agreement(self) -> Rows:
        """Every two seeds of every arm, the first from the second; none where seeds see different worlds."""
        if not is_shared(self.config):
            return []
        asked = [
            (arm, a, b, block)
            for arm in self.config.arm_names
            for a, b in combinations(self.run.seeds, 2)
            for block in BLOCKS
        ]
        rows: Rows = []
        for done, row in enumerate(self.pool.map(self._agree, asked), start=1):
            if row is None:
                raise Stopped
            self.run.progress(done, len(asked), "comparing seeds")
            rows.append(row)
        return rows

    def _agree(self, asked: tuple[str, int, int, str]) -> dict[str, Any] | None:
        if self.run.should_stop:
            return None
        arm, a, b, block = asked
        one, other = (self._block(arm, seed, block) for seed in (a, b))
        rng = np.random.default_rng(stream_seed(f"counterfactual agreement {block}", a, b))
        shuffled = other[rng.permutation(len(other))]
        most = min(self.config.probe_rows, COMPARED_ROWS)
        values = {"r2": block_r2(one, other, rng, most), "null": block_r2(one, shuffled, rng, most)}
        return {"arm": arm, "seed_a": a, "seed_b": b, "block": block, **values}

    def _block(self, arm: str, seed: int, block: str) -> Floats:
        codes = self.codes[arm, seed]
        return codes.content if block == BLOCKS[0] else codes.noise

    def texts(self) -> Tables:
        """What every arm, route and baseline wrote, and how it is judged. Raises UserError, Stopped."""
        from engine.studies.counterfactual_text import text_evaluation as of

        source = self.learners[0].source
        self.run.progress(0, 1, "judging styles")
        judge = of.fit_classifier(source)
        pairs = of.choose_pairs(self.config, source, self.run.data_seed)
        try:
            written = of.baselines(source, pairs)
        except AssetMissing as error:
            raise UserError("source", str(error)) from error
        for found in self.pool.map(lambda one: of.rewritten(one, pairs), self.learners):
            written += found
        nll: dict[str, float] = {}
        if self.config.fluency:
            nll = of.surprises(
                written,
                pairs,
                lambda: self.run.should_stop,
                lambda done, total: self.run.progress(done, total, "reading what was written"),
            )
        rows = [of.pair_table(one, pairs, source, judge, nll) for one in written]
        tables: Tables = {
            "cf_pairs": [row for one in rows for row in one],
            "cf_scores": [row for one in rows for row in of.score_table(one, source.domains)],
            "cf_words": [{"place": place, "word": word} for place, word in enumerate(source.words)],
        }
        if judge is not None:
            columns = judge.rows()
            tables["cf_classifier"] = [
                dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
            accuracy = of.classifier_accuracy(judge, source)
            self.notes += [
                {"name": "judge", "key": key, "value": f"{value:.4f}"} for key, value in accuracy.items()
            ]
        return tables


def _influence_rows(influence: Floats, d_content: int) -> Rows:
    return [
        {
            "block": BLOCKS[0] if latent < d_content else "style",
            "dim": latent if latent < d_content else latent - d_content,
            "output": output,
            "value": float(influence[output, latent]),
        }
        for latent in range(influence.shape[1])
        for output in range(len(influence))
    ]


def _code_rows(codes: Codes, mask: NDArray[Any]) -> Rows:
    blocks: Mapping[str, Floats] = {BLOCKS[0]: codes.content, "style": codes.style, BLOCKS[1]: codes.noise}
    return [
        {
            "block": block,
            "dim": dim,
            "mean": float(values[:, dim].mean()),
            "spread": float(values[:, dim].std()),
            "mask": float(mask[dim]) if block == BLOCKS[0] else None,
        }
        for block, values in blocks.items()
        for dim in range(values.shape[1])
    ]


def _data(source: Source) -> Rows:
    """Domains with their rows in each split, and whose data they are."""
    rows = [
        {"name": f"rows {split}", "key": name, "value": str(int((part.domain == place).sum()))}
        for split, part in source.parts.items()
        for place, name in enumerate(source.domains)
    ]
    texts = source.texts
    if texts is None:
        return [
            *rows,
            {"name": "licence", "key": "", "value": "made here"},
            {"name": "tier", "key": "", "value": "synthetic"},
        ]
    rows += [
        {"name": "licence", "key": "", "value": texts.licence},
        {"name": "tier", "key": "", "value": texts.tier},
    ]
    rows += [{"name": "style", "key": str(k), "value": name} for k, name in enumerate(texts.styles)]
    rows += [{"name": "left out", "key": reason, "value": str(n)} for reason, n in texts.left_out.items()]
    labelled = {split: int((texts.label[texts.rows(split)] >= 0).sum()) for split in SPLITS}
    return rows + [{"name": "labelled", "key": split, "value": str(n)} for split, n in labelled.items()]
