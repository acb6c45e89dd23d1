"""A run: every seed is trained by itself, two at a time, then evaluated on the same test prompts."""

from engine.run import Run, Stopped
from engine.studies.sapo.base_models import base_tensors
from engine.studies.sapo.config import Config
from engine.studies.sapo.evaluation import Evaluation, Evaluator
from engine.studies.sapo.importing import import_run
from engine.studies.sapo.learner import Learner
from engine.studies.sapo.policies import open_policies, sampler_of
from engine.studies.sapo.results import write_results
from engine.studies.seeds import SeedSession, Threads, one_thread_each

AT_ONCE = 2


def train(run: Run) -> None:
    """Train base and arms of every seed, evaluate them and write the tables; or import files. Raises UserError, Stopped.

    A large policy has its base already, and its seeds share one model, one after the other.
    """
    config: Config = run.config
    if config.imported:
        return import_run(run)
    with one_thread_each(1 if config.is_large else AT_ONCE) as pool:
        session = Session(run, pool)
        session.train()
        write_results(run, session.learners, session.evaluate())


class Session(SeedSession[Learner]):
    """The learners of a run; those of a large policy share its model."""

    def __init__(self, run: Run, pool: Threads) -> None:
        super().__init__(run, pool)
        self.config: Config = run.config
        if self.config.is_large:
            run.progress(0, 1, "loading the model")
            if self.config.policy == "llada":
                run.message(f"Running the code that comes with {self.config.large_model}, its owner's.")
        self.policies = open_policies(self.config, run.device)
        self.learners = [Learner(self.policies, seed, run.data_seed, self.log) for seed in run.seeds]
        self._start()
        self.keep_all()

    def _start(self) -> None:
        if self.resume(self.run.device) or self.config.trains_base:
            return
        for learner in self.learners:
            named = self.config.start_from
            learner.start_from(base_tensors(self.config, learner.seed) if named else None)

    def to_its_end(self, learner: Learner) -> None:
        """A checkpoint after every `checkpoint_every` units of work, however long they take."""
        while not learner.finished and not self.run.should_stop:
            for _ in range(self.config.checkpoint_every):
                if learner.finished or self.run.should_stop:
                    break
                learner.advance()
                self.progress(learner)
            self.checkpoint(learner)

    def evaluate(self) -> dict[tuple[int, str], Evaluation]:
        """Every policy's evaluation, by seed and arm. Raises Stopped between two of them; they are then made anew."""
        wanted = [(learner, arm) for learner in self.learners for arm in learner.stages]
        found: dict[tuple[int, str], Evaluation] = {}

        def one(place: tuple[Learner, str]) -> None:
            learner, arm = place
            if self.run.should_stop:
                return
            sampler = sampler_of(self.policies, self.policies.loaded(learner.ends[arm]))
            evaluator = Evaluator(sampler, learner.seed, arm, self.run.data_seed)
            found[learner.seed, arm] = evaluator.run()
            with self.lock:
                self.run.progress(len(found), len(wanted), "evaluation")

        self.each(wanted, one)
        if len(found) < len(wanted):
            raise Stopped
        return found
