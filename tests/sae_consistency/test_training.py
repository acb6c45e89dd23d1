"""The trainer: reproducible to the byte, resumable at any step, honest about bad data; and the published level."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from analyses.matching import random_direction_null
from data.files import write_json
from engine.errors import UserError
from engine.run import Run, Stopped
from engine.studies.sae_consistency.config import Architecture, Config
from engine.studies.sae_consistency.presets import PRESETS
from engine.studies.sae_consistency.results import write_results
from engine.studies.sae_consistency.source import BatchOrder, MemoryRows, Source, open_source
from engine.studies.sae_consistency.training import (
    Training,
    decoder_bias,
    match_points,
    schedule,
    step_together,
    train,
)

WORLD: dict[str, Any] = {
    "source": "synthetic", "d_in": 16, "n_true_features": 24, "true_sparsity": 2, "n_samples": 3000,
    "d_sae": 24, "k": 2, "n_steps": 120, "batch_size": 128, "checkpoint_every": 30, "n_match_points": 5,
    "dead_after": 500, "learning_rate": 3e-3,
}  # fmt: skip


ALL = get_args(Architecture)


def make_run(folder: Path, seeds: list[int] | None = None, data_seed: int = 0, **changes: Any) -> Run:
    folder.mkdir(exist_ok=True)
    record = {"id": "x", "study": "s", "seeds": seeds or [0, 1], "data_seed": data_seed}
    write_json(folder / "config.json", record)
    return Run(folder, Config(**{**WORLD, **changes}))


def results(folder: Path) -> dict[str, bytes]:
    files = [*folder.rglob("*.safetensors"), *folder.rglob("*.parquet"), *folder.rglob("cfg.json")]
    return {str(f.relative_to(folder)): f.read_bytes() for f in files if "checkpoints" not in f.parts}


def go(*trainings: Training) -> None:
    with torch.no_grad():
        while step_together(trainings):
            pass


@pytest.mark.parametrize("architecture", ALL)
def test_same_seeds_give_the_same_bytes(tmp_path: Path, architecture: str) -> None:
    for name in ("a", "b"):
        train([make_run(tmp_path / name, architecture=architecture)])
    first = results(tmp_path / "a")
    assert first == results(tmp_path / "b")
    assert len(first) >= 10


@pytest.mark.parametrize(
    ("stop_at", "changes"),
    [
        (1, {}),
        (47, {}),
        (90, {}),
        (47, {"d_sae": 600}),
        *[(47, {"architecture": architecture, "d_sae": size}) for architecture in ALL for size in (24, 600)],
        (47, {"seed_varies": "order"}),
        (47, {"control": "frozen_decoder"}),
        (47, {"control": "soft_frozen", "orthogonality": 0.1}),
    ],
)
def test_stopped_and_resumed_equals_uninterrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int, changes: dict[str, Any]
) -> None:
    train([make_run(tmp_path / "whole", **changes)])
    stopped = make_run(tmp_path / "stopped", **changes)
    original = Training._train_batch

    def stopping(self: Training, step: int, batches: Any) -> Any:
        self.run.should_stop = step + 1 == stop_at
        return original(self, step, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_train_batch", stopping)
        with pytest.raises(Stopped):
            train([stopped])
    train([make_run(tmp_path / "stopped", **changes)])
    assert results(tmp_path / "whole") == results(tmp_path / "stopped")


def test_one_seed_stopped_where_it_is_measured_keeps_each_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Training._measure

    def stopping(self: Training, step: int) -> None:
        measured(self, step)
        self.run.should_stop = step > 1

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_measure", stopping)
        with pytest.raises(Stopped):
            train([make_run(tmp_path, seeds=[3])])
    train([make_run(tmp_path, seeds=[3])])
    rows = pq.read_table(tmp_path / "tables" / "gt_trajectory.parquet")
    assert rows["step"].to_pylist() == sorted(match_points(WORLD["n_steps"], WORLD["n_match_points"]))


def test_a_run_stopped_while_evaluating_only_evaluates_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train([make_run(tmp_path / "whole", n_steps=100)])
    stopped = make_run(tmp_path / "stopped", n_steps=100)
    progress = stopped.progress

    def stopping(done: float, total: float, stage: str) -> None:
        stopped.should_stop = stage == "evaluating"
        progress(done, total, stage)

    monkeypatch.setattr(stopped, "progress", stopping)
    with pytest.raises(Stopped):
        train([stopped])
    resumed = make_run(tmp_path / "stopped", n_steps=100)
    monkeypatch.setattr(Training, "_train_batch", None)
    train([resumed])
    assert results(tmp_path / "whole") == results(tmp_path / "stopped")


@pytest.mark.parametrize(("n_rows", "batch"), [(1000, 100), (1000, 990), (130, 64), (50, 20)])
def test_an_epoch_reads_rows_once_in_an_order_of_the_data_seed(n_rows: int, batch: int) -> None:
    order = BatchOrder(n_rows, batch, 0)
    epochs = [
        np.concatenate([order.indices(epoch * order.per_epoch + step) for step in range(order.per_epoch)])
        for epoch in range(2)
    ]
    for rows in epochs:
        assert len(np.unique(rows)) == len(rows) > n_rows - batch - 64
        assert rows.min() >= 0 and rows.max() < n_rows
    assert not np.array_equal(*epochs)
    assert not np.array_equal(order.indices(0), BatchOrder(n_rows, batch, 1).indices(0))
    assert np.array_equal(order.indices(0), epochs[0][:batch])


def test_seed_result_does_not_depend_on_its_companions(tmp_path: Path) -> None:
    train([make_run(tmp_path / "alone", seeds=[1])])
    train([make_run(tmp_path / "both", seeds=[0, 1])])
    name = "saes/seed-1/sae_weights.safetensors"
    assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "both" / name).read_bytes()


def test_nan_vectors_are_refused(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((500, 16)).astype(np.float32)
    rows[:, 3] = np.nan
    run = make_run(tmp_path)
    source = Source(MemoryRows(rows), MemoryRows(rows))
    with pytest.raises(UserError, match="NaN"):
        go(Training(run, source))


def test_too_few_rows_name_the_field(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size"):
        train([make_run(tmp_path, batch_size=5000)])


def test_divergence_names_the_learning_rate(tmp_path: Path) -> None:
    rows = np.full((500, 16), 1e25, dtype=np.float32)
    with pytest.raises(UserError, match="learning_rate"):
        go(Training(make_run(tmp_path, decoder_bias="zero"), Source(MemoryRows(rows), MemoryRows(rows))))


def test_schedule_rises_holds_and_falls() -> None:
    config = Config(**{**WORLD, "n_steps": 100, "warmup_fraction": 0.1, "decay_fraction": 0.2})
    rates = [schedule(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1 and rates[50] == 1
    assert rates[80] == 1 and rates[99] == pytest.approx(0.05)
    assert match_points(100, 4) == {0, 1, 10, 100}
    assert match_points(100, 0) == set()


def test_decoder_bias_is_the_samples_middle_and_kind_matters() -> None:
    sample = torch.from_numpy(np.random.default_rng(0).exponential(size=(2000, 4)).astype(np.float32))
    assert torch.equal(decoder_bias(sample, "zero"), torch.zeros(4))
    torch.testing.assert_close(decoder_bias(sample, "mean"), sample.mean(dim=0))
    assert (decoder_bias(sample, "geometric_median") < decoder_bias(sample, "mean")).all()


@pytest.mark.parametrize("architecture", ALL)
def test_export_is_read_by_sae_lens(tmp_path: Path, architecture: str) -> None:
    from sae_lens import SAE

    run = make_run(tmp_path, architecture=architecture, d_in=16)
    rows = np.random.default_rng(1).standard_normal((3000, 16)).astype(np.float32)
    source = Source(MemoryRows(rows * 0.25), MemoryRows(rows[:500] * 0.25), scale=0.25)
    training = Training(run, source)
    go(training)
    with torch.no_grad():
        write_results(training)
        norm = pq.read_table(tmp_path / "tables" / "saes.parquet")["mean_activation_norm"][0].as_py()
        assert norm == pytest.approx(np.linalg.norm(rows[:500], axis=1).mean(), rel=1e-5)
        mine = training.saes[0]
        loaded = SAE.load_from_disk(str(tmp_path / "saes" / "seed-0"))
        raw = torch.from_numpy(rows[:64])
        torch.testing.assert_close(loaded.encode(raw), mine.encode(raw * 0.25), rtol=1e-4, atol=1e-5)
        expected = mine.decode(mine.encode(raw * 0.25)) / 0.25
        torch.testing.assert_close(loaded(raw), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("d_sae", [24, 600])
def test_a_launch_trains_its_runs_as_they_train_alone(tmp_path: Path, d_sae: int) -> None:
    """Several recipes on one stream, of different length, one of them stopped half-way and resumed."""
    recipes: dict[str, dict[str, Any]] = {
        "topk": {"d_sae": d_sae, "n_steps": 90},
        "relu": {"d_sae": d_sae, "architecture": "relu"},
        "random": {"d_sae": d_sae, "control": "random"},
        "small-batch": {"d_sae": d_sae, "batch_size": 64},
    }
    for name, recipe in recipes.items():
        train([make_run(tmp_path / f"{name}-alone", **recipe)])
    ahead = make_run(tmp_path / "relu-together", **recipes["relu"])
    training = Training(ahead, open_source(ahead))
    with torch.no_grad():
        while training.step < 50:
            step_together([training])
    training.checkpoint()
    train([make_run(tmp_path / f"{name}-together", **recipe) for name, recipe in recipes.items()])
    for name in recipes:
        assert results(tmp_path / f"{name}-alone") == results(tmp_path / f"{name}-together"), name


def test_a_batch_of_a_launch_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    original = MemoryRows.gather
    monkeypatch.setattr(
        MemoryRows, "gather", lambda self, rows: reads.append(len(rows)) or original(self, rows)
    )  # type: ignore[func-returns-value]
    train([make_run(tmp_path / str(k), k=k, n_steps=30) for k in (1, 2, 3)])
    assert reads.count(WORLD["batch_size"]) == 30


def test_a_failing_run_leaves_its_companions_going(tmp_path: Path) -> None:
    good, bad = make_run(tmp_path / "good"), make_run(tmp_path / "bad", batch_size=5000)
    ended = []
    train([bad, good], lambda run: ended.append(run))
    assert ended == [good] and bad.ended
    assert "batch_size" in (tmp_path / "bad" / "events.jsonl").read_text()


def decoders(folder: Path) -> list[torch.Tensor]:
    from safetensors.torch import load_file

    return [load_file(path)["W_dec"] for path in sorted(folder.glob("saes/*/sae_weights.safetensors"))]


def test_what_the_seeds_vary(tmp_path: Path) -> None:
    """Start, order or both: at step 0 seeds of one start agree, of one order do not; later all differ."""
    for varies in ("init", "order", "both"):
        folder = tmp_path / varies
        train([make_run(folder, seed_varies=varies)])
        start = pq.read_table(folder / "tables" / "trajectory.parquet").to_pandas().query("step == 0")
        assert (start["pw_mcc_abs"] > 0.999).all() == (varies == "order")
        first, second = decoders(folder)
        assert not torch.equal(first, second)
    again = tmp_path / "again"
    train([make_run(again, seeds=[1], seed_varies="order")])
    assert torch.equal(decoders(again)[0], decoders(tmp_path / "order")[1])


def test_training_goes_on_from_a_runs_own_saes_and_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCORDANCE_HOME", str(tmp_path))
    (tmp_path / "runs").mkdir()
    train([make_run(tmp_path / "runs" / "first")])
    for start in (
        "run:first",
        ",".join(str(tmp_path / "runs" / "first" / "saes" / f"seed-{s}") for s in (0, 1)),
    ):
        train([make_run(tmp_path / "kept", n_steps=0, start_from=start)])
        for kept, first in zip(
            decoders(tmp_path / "kept"), decoders(tmp_path / "runs" / "first"), strict=True
        ):
            torch.testing.assert_close(kept, first, rtol=1e-5, atol=1e-6)
    fvu = [
        pq.read_table(tmp_path / f / "tables" / "saes.parquet")["fvu"].to_numpy()
        for f in ("runs/first", "kept")
    ]
    np.testing.assert_allclose(*fvu, rtol=1e-3)
    train([make_run(tmp_path / "further", start_from="run:first")])
    assert (
        pq.read_table(tmp_path / "further" / "tables" / "saes.parquet")["fvu"].to_numpy().mean()
        < fvu[0].mean()
    )
    for changes, field in (({"d_sae": 30}, "d_sae"), ({"architecture": "relu"}, "architecture"), ({"start_from": "run:none"}, "start_from")):  # fmt: skip
        with pytest.raises(UserError) as refused:
            train([make_run(tmp_path / "bad", **{"start_from": "run:first", **changes})])
        assert refused.value.field == field


@pytest.mark.parametrize("control", ["random", "frozen_decoder", "soft_frozen"])
def test_controls_keep_the_random_dictionary(tmp_path: Path, control: str) -> None:
    train([make_run(tmp_path / control, control=control, d_in=64, n_true_features=96, d_sae=96)])
    train([make_run(tmp_path / "none", control="random", d_in=64, n_true_features=96, d_sae=96)])
    cosine = (decoders(tmp_path / control)[0] * decoders(tmp_path / "none")[0]).sum(dim=1)
    assert float(cosine.min()) >= (0.8 if control == "soft_frozen" else 1) - 1e-4


def test_topk_reaches_the_published_level_in_the_synthetic_world(tmp_path: Path) -> None:
    """Five seeds, m 16, 32 features, k 3 (paper: GT-MCC 0.97, PW-MCC 0.95; accepted: 0.93, 0.90, gap 0.06).

    A quarter of the preset's steps; the whole is in `concordance verify sae_consistency`.
    """
    write_json(tmp_path / "config.json", {"id": "x", "study": "s", "seeds": [0, 1, 2, 3, 4], "data_seed": 0})
    train([Run(tmp_path, Config(**{**PRESETS["world"], "n_steps": 2_000}))])

    def read(name: str) -> Any:
        return pq.read_table(tmp_path / "tables" / f"{name}.parquet").to_pandas()

    gt = read("saes")["gt_mcc_abs"].mean()
    pairs = read("pairs")
    pw = pairs[pairs["subset"] == "all"]["pw_mcc_abs"].mean()
    start = read("trajectory").query("step == 0")["pw_mcc_abs"].mean()
    assert len(pairs[pairs["subset"] == "all"]) == 10
    assert gt >= 0.93 and pw >= 0.90 and abs(pw - gt) <= 0.06, (gt, pw)
    assert start == pytest.approx(0.53, abs=0.03)
    assert random_direction_null(16, 32, 32).mean == pytest.approx(0.53, abs=0.03)


def test_a_world_that_cannot_be_names_the_field(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        train([make_run(tmp_path, world="hierarchy", n_true_features=24, true_sparsity=20)])
    assert refused.value.field == "true_sparsity"
