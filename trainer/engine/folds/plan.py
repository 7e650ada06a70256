"""Trainings that folds and seeds stand for, and the settings of each. Light: known on all processes before any data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trainer import InputError
from trainer.config import Config
from trainer.data.sources import Sources
from trainer.data.split import split_samples

SETTINGS = ("train.seed", "data.fold", "train.final")
"""Settings by which the trainings of one group differ."""


@dataclass(frozen=True, order=True)
class Training:
    """One training of a group."""

    seed: int
    fold: int
    final: bool = False
    """Whether it is the one on all images, whose model is registered."""

    def name(self, config: Config) -> str:
        """Name among the trainings of a group, such as `fold 2, seed 0`."""
        if self.final:
            return "final"
        parts = [f"fold {self.fold}"] if config.train.folds else []
        parts += [f"seed {self.seed}"] if config.train.seeds > 1 else []
        return ", ".join(parts)

    def is_of(self, settings: Mapping[str, Any]) -> bool:
        """Return whether these settings, by dotted keys, are its own."""
        return tuple(settings.get(key) for key in SETTINGS) == (self.seed, self.fold, "all" if self.final else "auto")


def all_trainings(config: Config) -> list[Training]:
    """Trainings of all folds and seeds, in their order; without the final one."""
    seeds = range(config.train.seed, config.train.seed + config.train.seeds)
    folds = range(config.train.folds) if config.train.folds else [config.data.fold]
    return [Training(seed, fold) for seed in seeds for fold in folds]


def own_trainings(config: Config) -> list[Training]:
    """Those of them that this start trains: of one fold where there is train.only_fold."""
    only = config.train.only_fold
    return [one for one in all_trainings(config) if only in (None, one.fold)]


def registered(config: Config) -> str:
    """Model that the group registers: all, best or none."""
    if config.train.final != "auto":
        return config.train.final
    return "all" if config.train.folds else "best"


def child_config(config: Config, training: Training) -> Config:
    """Settings of one training of the group: those of a training by itself that validates on that fold."""
    data = config.data
    if config.train.folds:
        data = replace(data, fold=training.fold, val_fraction=1 / config.train.folds)
    train = replace(config.train, folds=0, seeds=1, only_fold=None, final="auto", seed=training.seed)
    name = config.tracking.run_name and f"{config.tracking.run_name}, {training.name(config)}"
    return replace(
        config,
        data=data,
        train=train,
        tracking=replace(config.tracking, run_name=name),
        registry=replace(config.registry, name=None),  # the group registers its model itself
        resume="never",
    )


def final_config(
    config: Config, parent: str, resolved: Mapping[str, Any], steps: Sequence[int], steps_per_epoch: int
) -> Config:
    """Settings of the training on all images.

    `parent`: uid of the group; `resolved`: settings of one of the folds, by dotted keys, whose network this one has;
    `steps`: number of steps of each of them. It takes as many as they did on average, in whole epochs of
    `steps_per_epoch` steps, and its learning rate falls to 0 over them: without validation images there is nothing to
    end it earlier.
    """
    training = final_training(config)
    child = child_config(config, training)
    epochs = max(1, round(sum(steps) / len(steps) / steps_per_epoch))
    return replace(
        child,
        data=replace(child.data, fold=0, val_fraction=0.0),
        model=replace(child.model, encoder=resolved["model.encoder"], width=resolved["model.width"]),
        train=replace(child.train, final="all", epochs=epochs, eval_every=epochs, patience=0, minutes=0.0),
        tracking=replace(child.tracking, parent=parent),
    )


def title(base: str, config: Config) -> str:
    """Beginning of the name of the group's run; `base`: that of its trainings."""
    folds, seeds = config.train.folds, config.train.seeds
    return "-".join([base, *([f"{folds}folds"] if folds else []), *([f"{seeds}seeds"] if seeds > 1 else [])])


def final_training(config: Config) -> Training:
    """Training on all images."""
    return Training(config.train.seed, 0, final=True)


def require_folds(config: Config, sources: Sources) -> None:
    """Raise InputError where the images cannot be cut into train.folds parts."""
    folds, count = config.train.folds, len(sources.samples)
    if not folds:
        return
    if sources.parts:
        part = next(iter(sources.parts))
        raise InputError(
            f"train.folds: {folds}: {sources.title} has a split of its own, which puts {part} into "
            f"{sources.parts[part]}; leave train.folds out, or give the pictures without that split (take out "
            "train.txt and val.txt, or put all into one folder)"
        )
    if folds > count:
        raise InputError(f"train.folds: {folds} is not possible with {count} labelled pictures; give {count} at most")


def split_for(config: Config, sources: Sources) -> Sources:
    """Split the samples as one training of the group wants them."""
    data = config.data
    return replace(sources, split=split_samples(sources.samples, sources.parts, data.val_fraction, data.fold))
