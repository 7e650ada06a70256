"""A training in this process, from the program's own parts: settings, data, model, Trainer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator

from tests.support.data import count_nothing
from trainer.cli import parse
from trainer.config import Config
from trainer.data.dataset import Dataset, open_dataset
from trainer.data.sources import find_sources
from trainer.engine.assembly import build_trainer, prepare_model
from trainer.engine.callback import Callback
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


def prepare(arguments: list[str], cache: Path) -> Prepared:
    """Prepare a training from the command line of train.py."""
    config = parse(arguments)
    dataset = open_dataset(find_sources(config.data), config.data.image_size, cache, count_nothing)
    config, segmenter, _ = prepare_model(config, dataset)
    return Prepared(config, dataset, segmenter)
