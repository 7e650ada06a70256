"""Which trainings folds and seeds are, and that each has the settings of a training by itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainer import InputError
from trainer.config import Config, DataConfig, TrackingConfig, TrainConfig, flatten
from trainer.data.sources import find_sources
from trainer.engine.folds import plan
from trainer.engine.folds.plan import Training


def config(**train: object) -> Config:
    return Config(train=replace(TrainConfig(), **train))  # type: ignore[arg-type]


def test_folds_times_seeds() -> None:
    group = config(folds=3, seeds=2, seed=7)
    wanted = [(seed, fold) for seed in (7, 8) for fold in (0, 1, 2)]
    assert [(one.seed, one.fold) for one in plan.all_trainings(group)] == wanted
    only = replace(group, train=replace(group.train, only_fold=1))
    assert [(one.seed, one.fold) for one in plan.own_trainings(only)] == [(7, 1), (8, 1)]
    assert [one.name(group) for one in plan.own_trainings(only)] == ["fold 1, seed 7", "fold 1, seed 8"]


def test_seeds_alone_share_the_split() -> None:
    group = replace(config(seeds=2), data=DataConfig(fold=1, val_fraction=0.25))
    assert plan.all_trainings(group) == [Training(0, 1), Training(1, 1)]
    child = plan.child_config(group, Training(1, 1))
    assert (child.data.fold, child.data.val_fraction, child.train.seed) == (1, 0.25, 1)
    assert plan.registered(group) == "best"
    assert plan.registered(config(folds=2)) == "all"
    assert plan.registered(config(folds=2, final="none")) == "none"


def test_a_child_is_a_training_by_itself() -> None:
    """Nothing but the fold, the seed and the names differs from what a person would give for that fold."""
    group = replace(config(folds=4, seeds=2, batch_size=3), tracking=TrackingConfig(run_name="mine"))
    child = flatten(plan.child_config(group, Training(1, 2)))
    alone = flatten(Config(data=DataConfig(fold=2, val_fraction=0.25), train=TrainConfig(seed=1, batch_size=3)))
    differing = {key: child[key] for key in child if child[key] != alone[key]}
    assert differing == {"tracking.run_name": "mine, fold 2, seed 1", "registry.name": None}
    assert Training(1, 2).is_of(child)
    assert not Training(1, 3).is_of(child)
    assert not Training(0, 2, final=True).is_of(child)


def test_every_picture_validates_once(tmp_path: Path, make_voc: object) -> None:
    root = make_voc(*(f"picture {number}" for number in range(11)))  # type: ignore[operator]
    group = replace(config(folds=3), data=DataConfig(root=str(root)))
    sources = find_sources(group.data, train_all=True)
    assert sources.split.val == ()
    assert len(sources.split.train) == 11
    rows: list[int] = []
    for training in plan.all_trainings(group):
        child = plan.child_config(group, training)
        split = plan.split_for(child, sources).split
        assert split == find_sources(child.data).split
        rows += split.val
    assert sorted(rows) == list(range(11))


def test_what_cannot_be_cut_is_refused(make_voc: object) -> None:
    root = make_voc("a", "b", "c")  # type: ignore[operator]
    data = DataConfig(root=str(root))
    sources = find_sources(data, train_all=True)
    with pytest.raises(InputError, match=r"train.folds: 4 is not possible with 3 labelled pictures; give 3 at most"):
        plan.require_folds(replace(config(folds=4), data=data), sources)
    plan.require_folds(replace(config(folds=3), data=data), sources)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "val.txt").write_text("c\n")
    with pytest.raises(InputError, match=r"train.folds: 3: voc has a split of its own, which puts \w into (train|val)"):
        plan.require_folds(replace(config(folds=3), data=data), find_sources(data, train_all=True))
    plan.require_folds(replace(config(seeds=3), data=data), find_sources(data, train_all=True))


def test_the_final_training_is_as_long_and_as_wide_as_the_folds() -> None:
    group = config(folds=3)
    resolved = {"model.encoder": "none", "model.width": 16}
    final = plan.final_config(group, "uid", resolved, steps=[90, 100, 140], steps_per_epoch=12)
    assert final.train.epochs == round(np.mean([90, 100, 140]) / 12)
    assert final.train.eval_every == final.train.epochs
    assert (final.train.patience, final.data.val_fraction, final.registry.name) == (0, 0, None)
    assert (final.model.encoder, final.model.width) == ("none", 16)
    assert final.without_validation
    assert not plan.child_config(group, Training(0, 0)).without_validation
    assert plan.final_training(group).is_of(flatten(final))
