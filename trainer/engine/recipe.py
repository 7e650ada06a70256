"""Settings left to `auto` that follow from the data: what they become, and why."""

from dataclasses import replace

from trainer.config import Config
from trainer.data.cache import Dataset
from trainer.data.sampler import Sampler
from trainer.model.loss import settled

STEPS, FEWEST_EPOCHS = 3000, 30
"""That a training should have at least. The steps come from k-fold trials with 38 pictures, see the README."""

NARROW, WIDE, FEW_PICTURES = 16, 32, 200
"""The network's width for fewer training pictures than that, and for more."""


def settle(config: Config, dataset: Dataset, width: int | None = None) -> tuple[Config, list[str]]:
    """`config` with everything decided that the data decides, and a line for people about each decision.

    `width`: of the model that training starts from, where there is one. Raises InputError where the settings do not fit
    the data.
    """
    train, pictures = config.train, len(dataset.split.train)
    config = replace(config, loss=settled(config.loss, dataset.pixels().tolist()))
    lines = []
    if config.model.width == "auto":
        reason = "as model.init has it" if width else f"for {pictures} training pictures"
        width = width or (NARROW if pictures < FEW_PICTURES else WIDE)
        config = replace(config, model=replace(config.model, width=width))
        lines.append(f"model.width {width}, {reason}")
    if train.epochs == "auto":
        epochs = recommended_epochs(pictures, train.batch_size, config.data.drop_last)
        config = replace(config, train=replace(train, epochs=epochs))
        lines.append(f"train.epochs {epochs}, for {pictures} training pictures")
    return config, lines


def recommended_epochs(pictures: int, batch_size: int, drop_last: bool = False) -> int:
    """Few pictures are seen often and many rarely: what counts is the number of steps."""
    steps_per_epoch = Sampler(pictures, batch_size, 0, drop_last).steps_per_epoch
    return max(FEWEST_EPOCHS, round(STEPS / steps_per_epoch))
