"""A run: every seed's CLIP and arms, each seed by itself, then their evaluation on the same test pictures."""

from engine.run import Run, Stopped
from engine.studies.seeds import SeedSession, Threads, one_thread_each
from engine.studies.smartclip.config import Config
from engine.studies.smartclip.evaluation import Evaluation
from engine.studies.smartclip.learner import Learner
from engine.studies.smartclip.models import open_model
from engine.studies.smartclip.results import write_results
from engine.studies.smartclip.source import base_tensors, open_pictures


def train(run: Run) -> None:
    """Train what the config asks for, evaluate it and write the tables. Raises UserError, and Stopped after a checkpoint."""
    with one_thread_each() as pool:
        run.progress(0, 1, "drawing pictures")
        session = Session(run, pool)
        session.train()
        write_results(run, session.learners, session.evaluate())


class Session(SeedSession[Learner]):
    """The learners of a run, as many at a time as there are cores."""

    def __init__(self, run: Run, pool: Threads) -> None:
        super().__init__(run, pool)
        self.config: Config = run.config
        pictures = open_pictures(self.config)
        for sentence in pictures.skipped[:20]:
            run.message(f"Skipped: {sentence}")
        model = open_model(self.config, pictures, run.device)
        self.learners = [
            Learner(self.config, pictures, model, seed, run.data_seed, self.log) for seed in run.seeds
        ]
        self._start()
        self.keep_all()

    def _start(self) -> None:
        if self.resume(self.run.device) or self.config.trains_clip:
            return
        for learner in self.learners:
            named = self.config.start_from
            learner.start_from(base_tensors(self.config, learner.seed) if named else None)

    def evaluate(self) -> dict[tuple[int, str], Evaluation]:
        """Every arm's evaluation, by seed and arm. Raises Stopped between two of them; they are then made anew."""
        found: dict[tuple[int, str], Evaluation] = {}
        total = sum(len(learner.stages) for learner in self.learners)

        def one(learner: Learner) -> None:
            for arm in learner.stages:
                if self.run.should_stop:
                    return
                learner.network.load_state_dict(learner.ends[arm])
                found[learner.seed, arm] = learner.evaluator(arm).run(learner.seed)
                with self.lock:
                    self.run.progress(len(found), total, "evaluation")

        self.each(self.learners, one)
        if len(found) < total:
            raise Stopped
        return found
