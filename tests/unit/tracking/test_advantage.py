"""What a comparison must say of a run whose scores are not those of unseen images, or that has none."""

import json
from dataclasses import replace
from pathlib import Path

from tests.support.compared import SETTINGS, run_folder
from tests.support.tables import make_table
from trainer.model.model_folder import CONTRACT_FILE
from trainer.model.score_table import OF_SEEDS, OUT_OF_FOLD
from trainer.model.training_images import TrainingImages, write_training_images
from trainer.system.run_folder import SWEEP, RunFolder, new_run_folder
from trainer.tracking.comparison import describe_comparison
from trainer.tracking.run_reader import read_folder

TABLE = make_table(9)
STARTED = SETTINGS + "model: {init: 'models:/cats/1'}\n"


def started(work: Path, images: TrainingImages | None) -> RunFolder:
    """Run that started from another model, and what is known of the images that trained it."""
    folder = run_folder(work, "b", TABLE, STARTED)
    folder.model.mkdir()
    (folder.model / CONTRACT_FILE).write_text(json.dumps({}))
    if images:
        write_training_images(folder.model, images)
    return folder


def test_images_that_trained_an_evaluated_model(tmp_path: Path) -> None:
    tags = {"evaluation.model": "models:/cats/1", "evaluation.trained_images": "5"}
    assert read_folder(run_folder(tmp_path, "a", TABLE, tags=tags)).notes == (
        "5 of its 9 images have trained the model: it has an advantage",
    )
    assert read_folder(run_folder(tmp_path, "a", TABLE, tags=tags | {"evaluation.trained_images": "0"})).notes == ()


def test_images_that_trained_the_model_it_started_from(tmp_path: Path) -> None:
    seen = frozenset(one.image for one in TABLE.images[:4])
    assert read_folder(started(tmp_path, TrainingImages(inherited=seen))).notes == (
        "4 of its 9 images have trained models:/cats/1, from which it started: it has an advantage",
    )
    assert read_folder(started(tmp_path, TrainingImages(inherited=frozenset({"f" * 16})))).notes == ()
    unknown = ("whether some of its images have trained models:/cats/1, from which it started, is not known",)
    assert read_folder(started(tmp_path, TrainingImages(complete=False))).notes == unknown
    assert read_folder(started(tmp_path, None)).notes == unknown


def test_parents_have_no_scores_and_settings_of_the_record_decide_nothing(tmp_path: Path) -> None:
    sweep = new_run_folder(tmp_path, "cats", "s", tracked=False, kind=SWEEP)
    sweep.config.write_text(SETTINGS + "registry: {name: x}\ntracking: {required: false}\n")
    runs = [read_folder(sweep), read_folder(run_folder(tmp_path, "a"))]
    assert runs[0].notes[0] == "a run of kind sweep has no scores of its own; name its children"
    content = describe_comparison(runs, None, "", [])
    assert content["verdict"] == ["not ranked: none of them has a table of scores on single images"]
    assert content["settings"] == {}


def test_scores_of_more_than_one_model(tmp_path: Path) -> None:
    scored = {"folds": {OUT_OF_FOLD: "5 folds"}, "seeds": {OF_SEEDS: "3 seeds"}, "one": {}}
    runs = [
        read_folder(run_folder(tmp_path, name, replace(TABLE, model=TABLE.model | by))) for name, by in scored.items()
    ]
    folds, seeds, _one = (run.name for run in runs)
    runs = [replace(run, notes=()) for run in runs]
    assert describe_comparison(runs, None, "", [])["notes"] == [
        f"{folds}: each image is scored by the model of 5 folds that did not see it",
        f"{seeds}: each image is scored by the mean of 3 seeds",
    ]
    assert describe_comparison(runs, None, "", [], folder="labelled")["notes"] == []


def test_what_a_group_left_to_its_trainings_is_no_difference(tmp_path: Path) -> None:
    texts = ["folds: 5, epochs: auto", "folds: 0, epochs: 9", "folds: 0, epochs: 9"]
    for network, differing in ((["auto", "lite2", "lite2"], False), (["lite0", "lite2", "lite2"], True)):
        stored = [
            f"train: {{{train}}}\nmodel: {{encoder: {name}}}\n" for train, name in zip(texts, network, strict=True)
        ]
        runs = [read_folder(run_folder(tmp_path, f"{place}", TABLE, text)) for place, text in enumerate(stored)]
        settings = describe_comparison(runs, None, "", [])["settings"]
        assert ("model.encoder" in settings) is differing
        assert "train.folds" in settings
    alone = [replace(run, settings=run.settings | {"train.folds": 0}) for run in runs[:2]]
    alone[0] = replace(alone[0], settings=alone[0].settings | {"model.encoder": "auto"})
    assert "model.encoder" in describe_comparison(alone, None, "", [])["settings"]
