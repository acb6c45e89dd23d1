"""A run: every arm of every seed by itself, then their evaluation on the test rows."""

import warnings

from engine.run import Run
from engine.studies.counterfactual_text.config import Config
from engine.studies.counterfactual_text.learner import Learner
from engine.studies.counterfactual_text.source import Source, is_shared, open_source
from engine.studies.seeds import SeedSession, Threads, one_thread_each


def train(run: Run) -> None:
    """Train what the config asks for, evaluate it and write the tables. Raises UserError, and Stopped after a checkpoint."""
    from threadpoolctl import threadpool_limits

    from engine.studies.counterfactual_text.results import write_results

    with warnings.catch_warnings(), one_thread_each() as pool, threadpool_limits(1):
        warnings.filterwarnings("ignore", message=".*sklearn.utils.parallel.delayed")
        run.progress(0, 1, "reading the data")
        session = Session(run, pool)
        session.train()
        write_results(run, session.learners, pool)


class Session(SeedSession[Learner]):
    """The learners of a run, as many at a time as there are cores."""

    def __init__(self, run: Run, pool: Threads) -> None:
        super().__init__(run, pool)
        self.config: Config = run.config
        sources = self._sources()
        self.learners = [
            Learner(self.config, sources[seed], arm, seed, run.data_seed, self.log)
            for seed in run.seeds
            for arm in self.config.arm_names
        ]
        self.resume()
        self.keep_all()

    def _sources(self) -> dict[int, Source]:
        """The data of every seed; what left a file's rows out is reported."""
        seeds, data_seed = self.run.seeds, self.run.data_seed
        if not is_shared(self.config):
            return {seed: open_source(self.config, seed, data_seed) for seed in seeds}
        source = open_source(self.config, seeds[0], data_seed)
        for reason, rows in (source.texts.left_out if source.texts else {}).items():
            self.run.message(f"{rows:,} rows {reason} were left out.")
        return dict.fromkeys(seeds, source)
