"""Models of folds in the gate: scored by models that did not see the images, though they have trained on them all."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.registry import registered_run, scored
from trainer.model.model_folder import save_segmenter
from trainer.model.score_table import OF_SEEDS, OUT_OF_FOLD, ScoreTable
from trainer.model.segmenter import Segmenter
from trainer.model.training_images import TrainingImages, of_hashes, write_training_images
from trainer.system.run_folder import RunFolder
from trainer.tracking.evidence import Scorers
from trainer.tracking.promotion import Decision, decide

ALL = range(10)
"""Numbers of all labelled images."""


@pytest.fixture
def client(tmp_path: Path, empty_store: Path) -> Iterator[MlflowClient]:
    before = dict(os.environ)
    uri = f"sqlite:///{shutil.copyfile(empty_store, tmp_path / 'mlflow.db')}"
    os.environ["MLFLOW_TRACKING_URI"] = uri
    found = MlflowClient(uri)
    found.create_experiment("cats", (tmp_path / "artifacts").as_uri())
    found.create_registered_model("cats")
    yield found
    os.environ.clear()
    os.environ.update(before)


class Registry:
    """Registers models with what their runs have kept, and decides about each."""

    def __init__(self, client: MlflowClient, top: Path, segmenter: Segmenter) -> None:
        self.client, self.top, self.segmenter = client, top, segmenter

    def add(self, table: ScoreTable, trained: TrainingImages, scorers: Scorers | None = None) -> Decision:
        experiment = self.client.get_experiment_by_name("cats")
        assert experiment is not None
        run_id = self.client.create_run(experiment.experiment_id).info.run_id
        model = self.top / f"model {run_id}"
        save_segmenter(self.segmenter, model)
        write_training_images(model, trained)
        tags = {"val/miou": f"{table.scores().miou}", "dataset_digest": run_id}
        version = self.client.create_model_version("cats", model.as_uri(), run_id, tags).version
        folder = registered_run(self.top / run_id, "cats", str(version), model)
        self.keep(table, folder, run_id)
        return decide(self.client, folder, "auto", scorers)

    def keep(self, table: ScoreTable, folder: RunFolder, run_id: str) -> None:
        folder.evaluation.mkdir()
        table.write(folder.scores)
        self.client.log_artifact(run_id, str(folder.scores), "evaluation")


@pytest.fixture
def models(client: MlflowClient, tmp_path: Path, make_segmenter: Callable[..., Segmenter]) -> Registry:
    names = ("_background_", "cat")
    segmenter = make_segmenter()
    segmenter.contract = replace(segmenter.contract, class_names=names)
    return Registry(client, tmp_path, segmenter)


def of_folds(iou: float) -> ScoreTable:
    return replace(scored(*[(iou,)] * len(ALL)), model={OUT_OF_FOLD: "5 folds"})


def held_out(iou: float, images: int = 2) -> tuple[ScoreTable, TrainingImages]:
    """Table of a training by itself, and the images that trained it: all but the first ones."""
    return scored(*[(iou,)] * images), of_hashes(ALL[images:])


EVERYTHING = of_hashes(ALL)


def test_against_a_training_by_itself(models: Registry) -> None:
    """On the images that validated that one."""
    assert models.add(*held_out(0.5)).promoted
    worse = models.add(of_folds(0.4), EVERYTHING)
    assert not worse.promoted
    assert "on the 2 pictures that validated both" in worse.reason
    assert models.add(of_folds(0.6), EVERYTHING).promoted


def test_a_training_by_itself_against_it(models: Registry) -> None:
    """Where the champion has trained on all pictures, its model cannot be scored on them, but its folds have been."""
    assert models.add(of_folds(0.5), EVERYTHING).promoted

    def score(_segmenter: Segmenter) -> ScoreTable:
        raise AssertionError("a model that has seen the pictures is not scored on them")

    worse = models.add(*held_out(0.4), scorers=Scorers(score))
    assert not worse.promoted
    assert "0.400 against 0.500" in worse.reason
    assert models.add(*held_out(0.7), scorers=Scorers(score)).promoted


def test_folds_against_folds(models: Registry) -> None:
    assert models.add(of_folds(0.5), EVERYTHING).promoted
    assert not models.add(of_folds(0.45), EVERYTHING).promoted
    better = models.add(of_folds(0.55), EVERYTHING)
    assert better.promoted
    assert "10 pictures" in better.reason


def test_images_of_the_model_that_it_started_from_do_not_count(models: Registry) -> None:
    """An ancestor has shown them to all folds."""
    assert models.add(of_folds(0.5), EVERYTHING).promoted
    inherited = EVERYTHING.after(of_hashes(ALL[:9]))
    decision = models.add(of_folds(0.9), inherited)
    assert not decision.promoted
    assert "it cannot be compared" in decision.reason


def test_the_same_scores_without_the_mark_count_nothing(models: Registry) -> None:
    """A model that was scored on images it has learnt."""
    assert models.add(*held_out(0.5)).promoted
    leaked = scored(*[(0.9,)] * len(ALL))
    assert not models.add(leaked, EVERYTHING).promoted


def test_the_mean_of_several_seeds_is_not_the_model_that_is_registered(models: Registry) -> None:
    """It is scored itself, whatever the others of its group have found."""
    assert models.add(*held_out(0.5)).promoted
    table, trained = held_out(0.3)
    of_seeds = replace(table, model={OF_SEEDS: "2 seeds"})
    better = models.add(of_seeds, trained, Scorers(lambda _segmenter: held_out(0.6)[0]))
    assert "0.600 against" in better.reason
