"""The loop of labelling on photographs of cats, and on generated ones: two rounds, the second killed in each step.

The photographs are no part of the repository; without them their test skips.
"""

import base64
import functools
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from tests.support import runs
from tests.support.labelling import contents, correct, happened, predictions, trainings
from tests.support.program import REPOSITORY, Program
from trainer.make.synthetic import write_labelme

DATA = REPOSITORY / ".." / "shared" / "data"
CATS, MORE_CATS = DATA / "cats", DATA / "cats-more"

COUNT, MODEL = 5, "cat-unet"
SETTINGS = [
    *("--data.image_size", "64", "--train.batch_size", "4", "--train.threads", "1", "--train.epochs", "2"),
    *("--data.val_fraction", "0.25", "--tracking.watch", "1", "--train.checkpoint_minutes", "0"),
]
"""So short that the first model is a poor one, which the second round betters with more labels and LONGER."""

LONGER = 24
"""Epochs of the second round."""

LONG_S = 3600.0
"""Bound of a command, in seconds: it ends a hang."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(4 * LONG_S)]


@dataclass(frozen=True)
class World:
    """Eight labelled images, a pool of others, and what a person would draw in these."""

    labelled: Path
    pool: Path
    truth: Path
    """A JSON file of Labelme for each image of the pool."""


@pytest.fixture(params=["generated", "photographs"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    made = World(tmp_path / "my labels", tmp_path / "pööl", tmp_path / "truth")
    if request.param == "generated":
        _generate(made)
    elif not MORE_CATS.is_dir():
        pytest.skip(f"{MORE_CATS} is not there")
    else:
        _copy_cats(made)
    return made


def _generate(world: World) -> None:
    """Labelme files throughout."""
    write_labelme(world.truth, 20, size=96, seed=3)
    world.labelled.mkdir()
    world.pool.mkdir()
    shutil.copyfile(world.truth / "labels.txt", world.labelled / "labels.txt")
    for number, image in enumerate(sorted(world.truth.glob("*.jpg"))):
        shutil.move(image, world.labelled if number < 8 else world.pool)
        if number < 8:
            shutil.move(image.with_suffix(".json"), world.labelled)


def _copy_cats(world: World) -> None:
    """Labelled as Pascal VOC, without names of classes; what is corrected is Labelme."""
    shutil.copytree(CATS, world.labelled, copy_function=shutil.copyfile)
    shutil.copytree(MORE_CATS / "JPEGImages", world.pool, copy_function=shutil.copyfile)
    world.truth.mkdir()
    for file in (MORE_CATS / "SegmentationClassPNG").glob("*.png"):
        cat = np.array(Image.open(file)) == 1
        coded = io.BytesIO()
        Image.fromarray(cat.astype(np.uint8) * 255).save(coded, "PNG")
        corners = [[0, 0], [cat.shape[1] - 1, cat.shape[0] - 1]]
        shape = {"label": "class_1", "shape_type": "mask", "points": corners, "group_id": None, "flags": {}}
        content = {"shapes": [shape | {"mask": base64.b64encode(coded.getvalue()).decode()}]}
        (world.truth / f"{file.stem}.json").write_text(json.dumps(content))


def kill_in_each_step(program: Program, project: Path, number: int) -> None:
    """Begin a round, and go on with it, killing the command alone in each step."""
    before = len(predictions(project))

    def checkpoint(_printed: str) -> bool:
        return len(trainings(program)) == number and bool(runs.checkpoint_steps(trainings(program)[-1]))

    moments: dict[str, Callable[[str], bool]] = {
        "check": lambda printed: f"round {number}: check" in printed,
        "train": checkpoint,
        "gate": lambda printed: f"round {number}: gate" in printed,
        "next": lambda _printed: len(predictions(project)) > before,
    }
    for step, moment in moments.items():
        with program.start(sys.executable, "trainer/label.py", "round", str(project)) as command:
            command.wait_for(functools.partial(happened, moment, command), step, LONG_S)
            os.kill(command.pid, signal.SIGKILL)
            command.end(LONG_S)


def test_the_second_model_passes_the_gate(world: World, tmp_path: Path, empty_store: Path) -> None:
    program = Program(tmp_path / "program", tables=empty_store)
    project = tmp_path / "Bär's cats"
    words = ["start", str(project), "--labelled", str(world.labelled), "--pool", str(world.pool), "--model", MODEL]
    program.python("label", *words, "--count", f"{COUNT}", *SETTINGS, code=0, timeout_s=LONG_S)
    program.python("label", "round", str(project), code=0, timeout_s=LONG_S)

    first = predictions(project)
    assert len(first) == COUNT
    *corrected, untouched = first
    correct(corrected, world.truth)
    before = contents(world.labelled) | contents(world.pool) | contents(project / "to_label")
    old = json.loads(untouched.read_text())
    settings = project / "project.yaml"
    settings.write_text(settings.read_text().replace("train.epochs: 2\n", f"train.epochs: {LONGER}\n"))

    kill_in_each_step(program, project, 2)
    program.python("label", "round", str(project), code=0, timeout_s=LONG_S)
    check_versions(program, project, {file.stem for file in corrected})
    after = contents(world.labelled) | contents(world.pool) | contents(project / "to_label")
    assert {path for path, digest in before.items() if after.get(path) != digest} == {untouched}
    new = json.loads(untouched.read_text())
    assert (old["predictedBy"], new["predictedBy"]) == (f"{MODEL} version 1", f"{MODEL} version 2")
    assert new["flags"] == {"predicted": True}


def check_versions(program: Program, project: Path, labelled: set[str]) -> None:
    """Two trainings, two versions, the second one champion; digests, lineage and images are the rounds'."""
    rounds = json.loads((project / "state.json").read_text())["rounds"]
    assert [one["images"] for one in rounds] == [8, 8 + len(labelled)]
    assert [one["steps"]["gate"]["promoted"] for one in rounds] == [True, True]
    folders = trainings(program)
    assert "resumed.after_step" in runs.tags(folders[1]), "the training began anew"
    runs.untimed(runs.journal_points(folders[1]))  # no step has two values
    splits: list[dict[str, Any]] = [json.loads((folder / "split.json").read_text()) for folder in folders]
    client = MlflowClient(program.store)
    versions = sorted(client.search_model_versions(f"name = '{MODEL}'"), key=lambda one: int(one.version))
    assert [one.tags["dataset_digest"] for one in versions] == [split["digest"] for split in splits]
    assert len({split["digest"] for split in splits}) == 2
    assert str(client.get_model_version_by_alias(MODEL, "champion").version) == "2"
    assert rounds[1]["champion"] == f"models:/{MODEL}/1"
    assert f"init: models:/{MODEL}/1" in (folders[1] / "config.yaml").read_text()
    names = {Path(name).name for part in ("train", "val") for name in splits[1][part]}
    assert labelled <= names
    assert len(names) == 8 + len(labelled)
    for number, version in enumerate(versions, start=1):
        assert client.get_run(str(version.run_id)).data.tags["round"] == f"{number}"
    assert len(predictions(project)) == 2 * COUNT
