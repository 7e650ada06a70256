"""Images on which a new model and the champion are compared: the run's validation images, or registry.eval_root."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from trainer import InputError
from trainer.config import Config, LossConfig
from trainer.data.dataset import Dataset, ValidationSet, open_dataset
from trainer.data.sources import Sources, find_sources
from trainer.data.view import view_of
from trainer.engine.evaluate import evaluate, score_table
from trainer.model.score_table import ScoreTable
from trainer.model.segmenter import Segmenter
from trainer.system.parallel import Progress
from trainer.tracking.evidence import HOLDOUT, Scorers


def make_scorers(config: Config, dataset: Dataset, cache: Path, progress: Progress) -> Scorers:
    """Ways to score models on the run's validation images, and on those of registry.eval_root where that is set.

    `config` is resolved. The images of registry.eval_root are decoded when they are first needed.
    """
    scorers = Scorers(functools.partial(_score, config.loss, lambda: dataset.validation))
    if config.registry.eval_root is None:
        return scorers

    @functools.cache
    def holdout() -> ValidationSet:
        sources = find_holdout(config, dataset.names)
        return open_dataset(sources, view_of(config.data), cache, progress).validation

    return replace(scorers, holdout=functools.partial(_score, config.loss, holdout))


def find_holdout(config: Config, names: tuple[str, ...]) -> Sources:
    """Find the samples in registry.eval_root, all of which validate.

    `names`: those of the K classes, which the folder need not have. Raises InputError where it cannot be used.
    """
    root = Path(config.registry.eval_root or "")
    if not root.is_dir():
        raise InputError(f"{HOLDOUT}: {root}: no such folder; give one with labelled pictures, or leave it out")
    try:
        sources = find_sources(replace(config.data, unlabelled=None), [root], validate_all=True)
    except InputError as error:
        raise InputError(f"{HOLDOUT}: {error}") from error
    found = sources.names or names
    if found != names:
        ours, theirs = ", ".join(names[1:]), ", ".join(found[1:])
        raise InputError(f"{HOLDOUT}: {root}: its classes are {theirs}, and those of this training {ours}")
    return replace(sources, names=names)


def _score(loss: LossConfig, data: Callable[[], ValidationSet], segmenter: Segmenter) -> ScoreTable:
    validation = data()
    evaluation = evaluate(segmenter, validation, loss)
    return score_table(evaluation, validation, segmenter.contract.class_names, {})
