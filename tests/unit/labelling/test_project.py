"""A project's files: what a person chose comes back, and every mistake in them is named with its fix."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer import InputError
from trainer.labelling.project import (
    Project,
    Round,
    only_round,
    open_project,
    open_state,
    settings_of,
    start_project,
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project that has begun, in a folder with an odd name."""
    for name in ("labelled", "pool"):
        (tmp_path / name).mkdir()
    training = {"train.epochs": 3, "train.mixed_precision": False, "data.classes": ["cat", "dog"]}
    folder = tmp_path / "Bär's project"
    made = Project(folder, (tmp_path / "labelled",), tmp_path / "pool", Path("to_label"), "cats", 7, training)
    start_project(made)
    return open_project(folder)


def test_it_comes_back(project: Project, tmp_path: Path) -> None:
    assert (project.model, project.count, project.name) == ("cats", 7, "Bär's project")
    assert project.labelled == (tmp_path / "labelled",)
    assert project.to_label == project.folder / "to_label"
    assert project.training_words() == [
        *("--train.epochs", "3", "--train.mixed_precision", "false", "--data.classes", '["cat", "dog"]')
    ]
    with pytest.raises(InputError, match="exists already"):
        start_project(project)


def test_the_folder_to_label_in_trains_once_something_is_there(project: Project) -> None:
    assert project.roots == [*project.labelled]
    (project.to_label / ".label").mkdir(parents=True)
    (project.to_label / ".label" / "record.json").write_text("{}")  # before the first prediction is written
    assert project.roots == [*project.labelled]
    (project.to_label / "a.json").write_text("{}")
    assert project.roots == [*project.labelled, project.to_label]


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no folder": (lambda content: content.update(pool="gone"), "gone: no such folder"),
    "no labels": (lambda content: content.update(labelled=[]), "labelled: [] is not possible"),
    "numbers as folders": (lambda content: content.update(labelled=[3]), "labelled: [3] is not possible"),
    "a count of nothing": (lambda content: content.update(count=0), "count: 0 is not possible"),
    "a count in words": (lambda content: content.update(count="ten"), "count: 'ten' is not possible"),
    "a model without a name": (lambda content: content.pop("model"), "model: None is not possible"),
    "a model with a slash": (lambda content: content.update(model="a/b"), "registry.name: 'a/b'"),
    "a key too many": (lambda content: content.update(cuont=3), "cuont: no such key"),
    "a setting of the round's own": (
        lambda content: content.update(training={"model.init": "models:/x@champion"}),
        "model.init is made by each round",
    ),
    "no registry": (
        lambda content: content.update(training={"tracking.enabled": False}),
        "tracking.enabled false registers no model",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_value_is_named(fault: str, project: Project) -> None:
    file = project.folder / "project.yaml"
    content = yaml.safe_load(file.read_text())
    WRONG[fault][0](content)
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError) as error:
        open_project(project.folder)
    assert WRONG[fault][1] in str(error.value)


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b"- 3", b"", b"&a [*a]"])
def test_a_damaged_file_is_named(content: bytes, project: Project) -> None:
    (project.folder / "project.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"project\.yaml"):
        open_project(project.folder)


def test_no_project(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no project there"):
        open_project(tmp_path / "nothing")


def test_the_state_comes_back(project: Project) -> None:
    state = open_state(project)
    state.rounds.append(Round(1, "cats-round-1-abc", 8, "digest", steps={"gate": {"miou": 0.5}}))
    state.save()
    again = open_state(project)
    assert (again.uid, again.rounds) == (state.uid, state.rounds)
    assert again.scores() == [(8, 0.5)]
    assert not again.rounds[0].complete


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"uid": "x", "parent": "", "rounds": [{"number": "one"}]}', '{"rounds": 3}', "{" * 10000],
)
def test_a_damaged_state_is_named(content: str, project: Project) -> None:
    (project.folder / "state.json").write_text(content)
    with pytest.raises(InputError, match=r"state\.json: damaged .*restore it, or rename it"):
        open_state(project)


def test_a_state_with_values_of_other_kinds(project: Project) -> None:
    one = {"number": "1", "name": "x", "images": 3, "labels": "", "champion": "", "steps": {}}
    (project.folder / "state.json").write_text(json.dumps({"uid": "x", "parent": "", "rounds": [one]}))
    with pytest.raises(InputError, match="values of other kinds"):
        open_state(project)


def test_one_round_at_a_time(project: Project) -> None:
    with only_round(project), pytest.raises(InputError, match="another round is under way"), only_round(project):
        pass


def test_settings_of_a_command_line() -> None:
    words = ["--train.epochs", "3", "--data.classes=[cat]", "--optim.lr", "1e-3", "--model.encoder", "none"]
    assert settings_of(words) == {
        "train.epochs": 3,
        "data.classes": ["cat"],
        "optim.lr": "1e-3",  # for YAML it is a text; train.py reads it as the number that it is
        "model.encoder": "none",
    }
    for wrong in (["train.epochs", "3"], ["--train.epochs"], ["--"]):
        with pytest.raises(InputError, match="not a setting of train"):
            settings_of(wrong)
