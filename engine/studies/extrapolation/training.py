"""One run: worlds or pictures of every seed, piece by piece on as many threads as there are cores, then the tables."""

import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from math import ceil

from threadpoolctl import threadpool_limits

from engine.run import Run, Stopped
from engine.studies.extrapolation.config import Config
from engine.studies.extrapolation.pictures import PictureLearner
from engine.studies.extrapolation.source import open_pictures
from engine.studies.extrapolation.worlds import WorldLearner
from engine.studies.seeds import one_thread_each, under

Learner = WorldLearner | PictureLearner
LOGGED_POINTS = 60
PICTURES = "pictures"


def train(run: Run) -> None:
    """Train and measure all seeds of a run. Raises UserError for data that do not fit, Stopped when asked."""
    config: Config = run.config
    with warnings.catch_warnings(), threadpool_limits(1), one_thread_each() as pool:
        warnings.filterwarnings("ignore", message=".*batching rule.*")
        if config.source == "world":
            from engine.studies.extrapolation.results import write_worlds

            worlds = {
                (seed, regime): WorldLearner(config, regime, run.data_seed, seed)
                for seed in run.seeds
                for regime in config.regimes
            }
            work(run, worlds, pool)
            write_worlds(run, worlds, pool)
            return
        from engine.studies.extrapolation.picture_results import write_pictures

        run.progress(0, 1, "reading pictures")
        pictures = open_pictures(config)
        for sentence in pictures.skipped[:20]:
            run.message(sentence)
        learners = {
            (seed, PICTURES): PictureLearner(config, pictures, run.data_seed, seed) for seed in run.seeds
        }
        work(run, learners, pool)
        write_pictures(run, pictures, learners, pool)


def work(run: Run, learners: Mapping[tuple[int, str], Learner], pool: ThreadPoolExecutor) -> None:
    """All pieces of work of all learners, from where a checkpoint left them. Raises Stopped after a checkpoint when asked to stop."""
    config: Config = run.config
    _restore(run, learners)
    some = next(iter(learners.values()))
    total, training = some.total, some.training
    logged = {ceil(training * (i + 1) / LOGGED_POINTS) for i in range(LOGGED_POINTS)}
    for target in range(min(one.done for one in learners.values()) + 1, total + 1):
        stage = "training" if target <= training else "adapting to each sample"
        found = list(
            pool.map(lambda one, upto=target: one.advance() if one.done < upto else {}, learners.values())
        )
        for (seed, name), values in zip(learners, found, strict=True):
            if values and (target in logged or target > training):
                run.log(
                    some.step if target <= training else target,
                    seed,
                    **{f"{name}.{k}": v for k, v in values.items()},
                )
        if target % config.checkpoint_every == 0 or target == total or run.should_stop:
            _checkpoint(run, learners, target)
        run.progress(target, total, stage)
        if run.should_stop:
            raise Stopped


def _checkpoint(run: Run, learners: Mapping[tuple[int, str], Learner], done: int) -> None:
    tensors = {
        f"{seed}.{name}.{key}": value.contiguous()
        for (seed, name), one in learners.items()
        for key, value in one.tensors().items()
    }
    run.checkpoint(done, tensors, {f"{seed}.{name}": one.state() for (seed, name), one in learners.items()})


def _restore(run: Run, learners: Mapping[tuple[int, str], Learner]) -> None:
    restored = run.restore()
    if restored is None:
        return
    done, tensors, states = restored
    for (seed, name), learner in learners.items():
        place = f"{seed}.{name}"
        learner.load(under(f"{place}.", tensors), done, states[place])
