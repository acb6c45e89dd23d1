"""One run: open the rows, train every stage, write the tables."""

import torch

from engine.run import Run
from engine.studies.multimodal_causal.fitting import fit
from engine.studies.multimodal_causal.results import write_results
from engine.studies.multimodal_causal.source import open_source
from engine.studies.multimodal_causal.stages import Session


def train(run: Run) -> None:
    """Train all seeds of a run side by side. Raises UserError for data that do not fit, Stopped when asked to stop."""
    if run.device == "cpu":
        torch.set_num_threads(1)
    source = open_source(run.config)
    fitted = fit(Session(run, run.config.checkpoint_every), source)
    write_results(run, source, fitted)
