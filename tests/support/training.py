"""A training in the test's own process, from the program's own parts: settings, data, model, Trainer."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator

from tests.support.data import count_nothing
from trainer.cli import parse
from trainer.config import Config
from trainer.data.choose_channels import choose_channels
from trainer.data.choose_view import choose_view
from trainer.data.dataset import Dataset, open_dataset
from trainer.data.sources import find_sources
from trainer.data.view import view_of
from trainer.engine.assembly import build_trainer, prepare_model
from trainer.engine.callback import Callback, NullCallback
from trainer.engine.checkpoint.format import TrainState
from trainer.engine.evaluate import Evaluation
from trainer.engine.loop import Trainer
from trainer.model.segmenter import Segmenter


@dataclass(frozen=True)
class Prepared:
    """Everything that a Trainer is made of; `config` is resolved."""

    config: Config
    dataset: Dataset
    segmenter: Segmenter

    def trainer(
        self, accelerator: Accelerator, callback: Callback | None = None, stop: Callable[[], bool] = lambda: False
    ) -> Trainer:
        """Make the Trainer of this process."""
        return build_trainer(self.config, accelerator, self.dataset, self.segmenter, callback, stop)[0]


def prepare(arguments: list[str] | Config, cache: Path) -> Prepared:
    """Prepare a training from the command line of train.py, or from what `parse` made of it."""
    config = parse(arguments) if isinstance(arguments, list) else arguments
    sources = find_sources(config.data)
    data, _ = choose_channels(config.data, sources.samples)
    data, _ = choose_view(data, sources, cache, count_nothing)
    config = replace(config, data=data)
    dataset = open_dataset(sources, view_of(data), cache, count_nothing)
    config, segmenter, _ = prepare_model(config, dataset)
    return Prepared(config, dataset, segmenter)


class Recorder(NullCallback):
    """Callback that stores the numbers it receives."""

    def __init__(self) -> None:
        self.steps: dict[int, dict[str, float]] = {}
        self.planned = 0
        self.scores: dict[int, float] = {}
        self.missing_at_evaluation: list[int] = []

    def on_train_begin(self, state: TrainState) -> None:
        self.planned = state.total_steps

    def on_step(self, step: int, values: dict[str, float]) -> None:
        self.steps[step] = values

    def on_evaluation(self, state: TrainState, values: dict[str, float], evaluation: Evaluation) -> None:
        self.scores[state.step] = evaluation.loss
        self.missing_at_evaluation.append(state.step - len(self.steps))


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Copy the weights and statistics in training."""
    return {name: value.clone() for name, value in trainer.train_step.segmenter.state_dict().items()}


def same_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether the tensors of `one` are bit for bit those of `other`."""
    return all(torch.equal(one[name], other[name]) for name in one)
