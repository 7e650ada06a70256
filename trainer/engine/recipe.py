"""Settings left to `auto` that follow from the data: what they become, and why."""

from dataclasses import replace

from trainer.config import Config
from trainer.data.cache import Dataset
from trainer.data.sampler import Sampler
from trainer.model.loss import settled

STEPS = 4000
"""That a training should have, where neither bound below is reached."""

FEWEST_EPOCHS, MOST_EPOCHS = 30, 300


def settle(config: Config, dataset: Dataset) -> tuple[Config, list[str]]:
    """`config` with everything decided that the data decides, and a line for people about each decision.

    Raises InputError where the settings do not fit the data.
    """
    train, pictures = config.train, len(dataset.split.train)
    config = replace(config, loss=settled(config.loss, dataset.pixels().tolist()))
    lines = []
    if train.epochs == "auto":
        epochs = recommended_epochs(pictures, train.batch_size, config.data.drop_last)
        config = replace(config, train=replace(train, epochs=epochs))
        lines.append(f"train.epochs {epochs}, for {pictures} training pictures")
    return config, lines


def recommended_epochs(pictures: int, batch_size: int, drop_last: bool = False) -> int:
    """Few pictures are seen often and many rarely, so that trainings are of some 4000 steps."""
    steps_per_epoch = Sampler(pictures, batch_size, 0, drop_last).steps_per_epoch
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(STEPS / steps_per_epoch)))
