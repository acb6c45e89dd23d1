"""One run: open the rows, play the rounds of every seed, write the tables."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from math import ceil

from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from analyses.label_shift import ADAPTER, divergence
from engine.run import Run, Stopped
from engine.studies.label_shift.arms import SCORES
from engine.studies.label_shift.config import Config
from engine.studies.label_shift.deployment import Deployment
from engine.studies.label_shift.results import write_results
from engine.studies.label_shift.source import open_source
from engine.studies.seeds import one_thread_each, under

LOGGED_POINTS = 100


def train(run: Run) -> None:
    """Play all seeds of a run, each on a core of its own. Raises UserError for data that do not fit, Stopped when asked."""
    config: Config = run.config
    with warnings.catch_warnings(), threadpool_limits(1), one_thread_each() as pool:
        warnings.simplefilter("ignore", ConvergenceWarning)
        source = open_source(run)
        run.progress(0, 1, "fitting backbones")
        seeds = {seed: pool.submit(Deployment, config, source, run.data_seed, seed) for seed in run.seeds}
        deployments = {seed: future.result() for seed, future in seeds.items()}
        play(run, deployments, pool)
        write_results(run, source, deployments)


def play(run: Run, deployments: dict[int, Deployment], pool: ThreadPoolExecutor) -> None:
    """All rounds of all seeds, from where a checkpoint left them. Raises Stopped after a checkpoint when asked to stop."""
    config: Config = run.config
    total, every = config.all_rounds, config.checkpoint_every
    _restore(run, deployments)
    logged = {ceil(total * (i + 1) / LOGGED_POINTS) for i in range(LOGGED_POINTS)}
    for target in range(min(one.done for one in deployments.values()) + 1, total + 1):
        list(pool.map(lambda one, upto=target: one.step() if one.done < upto else None, deployments.values()))
        if target in logged:
            _log(run, deployments, target)
        if target % every == 0 or target == total or run.should_stop:
            _checkpoint(run, deployments, target)
        run.progress(target, total, "playing rounds")
        if run.should_stop:
            raise Stopped


def _log(run: Run, deployments: dict[int, Deployment], number: int) -> None:
    """Excess loss, forecast error and accuracy of the adapter in the last round."""
    for seed, deployment in deployments.items():
        past = deployment.trajectories[ADAPTER]
        scores = dict(zip(SCORES, past.scores[number - 1], strict=True))
        run.log(
            number,
            seed,
            excess_nll=scores["nll"] - scores["nll_oracle"],
            forecast_kl=float(divergence(past.log_p[number - 1], past.log_forecast[number - 1])),
            accuracy=scores["accuracy"],
        )


def _checkpoint(run: Run, deployments: dict[int, Deployment], done: int) -> None:
    tensors = {
        f"seed-{seed}.{name}": value
        for seed, one in deployments.items()
        for name, value in one.tensors().items()
    }
    run.checkpoint(done, tensors, {})


def _restore(run: Run, deployments: dict[int, Deployment]) -> None:
    restored = run.restore()
    if restored is None:
        return
    done, tensors, _ = restored
    for seed, deployment in deployments.items():
        deployment.load(under(f"seed-{seed}.", tensors), done)
