"""When a round begins, goes on or begins again, and what its digest depends on."""

import json
import shutil
from pathlib import Path

import pytest

from trainer import InputError
from trainer.config import Config, DataConfig
from trainer.labelling.project import STEPS, Project, Round, State
from trainer.labelling.rounds import Labels, StepFailed, Steps, begin_round, count_labels
from trainer.labelling.tally import count, describe
from trainer.make.synthetic import write_labelme
from trainer.system.child import run_entry


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "all"
    write_labelme(folder, 4, size=32)
    return folder


@pytest.fixture
def project(drawn: Path, tmp_path: Path) -> Project:
    """A project with four labelled images, two of them as predictions that wait."""
    for name in ("labelled", "to_label", "pool"):
        (tmp_path / name).mkdir()
    shutil.copyfile(drawn / "labels.txt", tmp_path / "labelled" / "labels.txt")
    shutil.copyfile(drawn / "labels.txt", tmp_path / "to_label" / "labels.txt")
    for number, file in enumerate(sorted(drawn.glob("*.jpg"))):
        folder = tmp_path / ("labelled" if number < 2 else "to_label")
        shutil.copyfile(file, folder / file.name)
        shutil.copyfile(file.with_suffix(".json"), folder / f"{file.stem}.json")
    for file in (tmp_path / "to_label").glob("*.json"):
        mark(file, True)
    return Project(tmp_path, (tmp_path / "labelled",), tmp_path / "pool", tmp_path / "to_label", "cats")


def mark(file: Path, waits: bool) -> None:
    from trainer.data.layouts.labelme_predicted import mark_predicted

    content = mark_predicted(json.loads(file.read_text()))
    file.write_text(json.dumps(content | {"flags": {"predicted": waits}}))


def labels_of(project: Project) -> Labels:
    return count_labels(project, DataConfig(val_fraction=0.5))


def test_only_what_a_person_did_changes_the_digest(project: Project) -> None:
    alone = Project(project.folder, project.labelled, project.pool, project.folder / "none", "cats")
    before = labels_of(project)
    assert before == labels_of(alone), "predictions count"
    assert before.images == 2
    one, other = sorted(project.to_label.glob("*.json"))
    mark(one, False)
    accepted = labels_of(project)
    assert accepted.images == 3
    tally = count(project, accepted.images, 0)
    assert (tally.corrected, tally.accepted, tally.waiting, tally.drawn) == (0, 1, 1, 0)
    content = json.loads(other.read_text())
    content["shapes"] = content["shapes"][1:]
    other.write_text(json.dumps(content))
    corrected = labels_of(project)
    assert corrected.images == 4
    other.write_text(json.dumps(content | {"shapes": []}))
    emptied = labels_of(project)
    assert emptied.images == 4
    assert len({before.digest, accepted.digest, corrected.digest, emptied.digest}) == 4
    longer = Project(project.folder, project.labelled, project.pool, project.to_label, "cats", 20, {"train.epochs": 3})
    assert labels_of(longer).digest != emptied.digest
    tally = count(project, emptied.images, 0)
    assert (tally.corrected, tally.accepted, tally.waiting, tally.drawn) == (1, 1, 0, 0)
    (project.to_label / "broken.json").write_text("{")
    with pytest.raises(InputError, match=r"broken\.json"):
        labels_of(project)


def begin(state: State, labels: str, project: Project) -> Round:
    return begin_round(project, state, Labels(8, labels), lambda: "models:/cats/1", lambda _text: None)


def test_rounds_begin_and_go_on(project: Project) -> None:
    state = State(project.folder / "state.json", "uid")
    one = begin(state, "a", project)
    assert (one.number, one.champion, one.complete) == (1, "models:/cats/1", False)
    assert begin(state, "a", project) is one
    one.steps["check"] = {}
    again = begin(state, "b", project)  # labelled further before the training had ended
    assert (again.number, again.steps) == (1, {})
    assert again.name != one.name
    again.steps |= {"check": {}, "train": {}}
    assert begin(state, "c", project) is again  # the training is done, and stays
    again.steps |= {step: {} for step in STEPS}
    with pytest.raises(InputError, match="nothing has been labelled since round 1"):
        begin(state, "b", project)
    assert begin(state, "c", project).number == 2
    assert [one.number for one in state.rounds] == [1, 2]


def test_a_failed_step_is_not_done(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    state = State(project.folder / "state.json", "uid")
    one = begin(state, "a", project)
    (project.to_label / "broken.json").write_text("{")
    config = Config(data=DataConfig(val_fraction=0.5, classes=["cat"]))
    with pytest.raises(StepFailed) as failed:
        Steps(project, state, one, config, run_entry, print).do_all()
    assert (failed.value.step, failed.value.code) == ("check", 2)
    assert one.steps == {}
    assert "broken.json: not valid JSON" in capfd.readouterr().out


def test_the_status_says_what_is_not_known(project: Project) -> None:
    state = State(project.folder / "state.json", "uid")
    for number, score in enumerate((0.5, 0.6, 0.65, 0.68, 0.7), start=1):
        lines = describe(project, state, count(project, 2, 5))
        assert "2 predictions not looked at yet" in lines[4]
        if number <= 4:
            assert "not known; the learning curve takes 4 rounds" in lines[-1]
        else:
            assert "expected gain of 7 more than round 4 had: +0." in lines[-1], "2 wait, 5 are left"
            assert "90%: +0." in lines[-1]
        steps = {"gate": {"miou": score, "promoted": True}}
        state.rounds.append(Round(number, "", 20 * number, "", steps=steps))
    assert sum("champion" in line for line in lines) == 4
    for file in project.to_label.glob("*.json"):
        file.unlink()
    assert "expected gain: none; no picture of" in describe(project, state, count(project, 2, 0))[-1]
