"""Folds and seeds as a person trains them: how many runs, whose children, what score, which model."""

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.support import folds, runs
from tests.support.discs import make_discs
from tests.support.folds import FOLDED
from tests.support.program import ONE_THREAD, TINY, Ended, Program, train_command
from trainer.model.contract import read_contract

IMAGES = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_discs(tmp_path_factory.mktemp("data") / "disçs 'of' all", count=IMAGES)
    (root / "class_names.txt").write_text("_background_\ndisc\n")
    return root


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory, data: Path) -> tuple[Program, Ended]:
    """Two folds without a store."""
    program = Program(tmp_path_factory.mktemp("untracked") / "program", variables=ONE_THREAD)
    words = ["--data.root", str(data), *FOLDED, "--train.folds", "2", "--train.epochs", "6"]
    return program, program.train(*words, "--tracking.enabled", "false", code=0)


def test_every_picture_is_scored_by_the_model_that_did_not_see_it(untracked: tuple[Program, Ended]) -> None:
    program, ended = untracked
    group, found = folds.parent(program), folds.trainings(program)
    assert sorted(found) == [(0, 0, "all"), (0, 0, "auto"), (0, 1, "auto")]
    miou, names = folds.pooled_miou(program)
    assert len(set(names)) == len(names) == IMAGES
    curves = runs.curves(group.path)
    assert curves["folds/miou"] == curves["best/miou"]
    ((count, value),) = curves["folds/miou"]
    assert count == 2
    assert value == pytest.approx(miou, abs=1e-12)
    assert miou > 0.05  # they have learnt something
    assert f"mIoU {miou:.3f} [" in ended.stdout
    assert f"on {IMAGES} pictures, each predicted by a model that did not see it" in ended.stdout
    assert (group.path / "folds.csv").read_text().count("\n") == 1 + 2 + 3
    assert runs.tags(group.path)["mlflow.note.content"].startswith(f"**mIoU {miou:.3f} [")


def test_the_model_is_trained_on_all_pictures(untracked: tuple[Program, Ended]) -> None:
    program, _ = untracked
    found, group = folds.trainings(program), folds.parent(program)
    final = found[0, 0, "all"]
    split = json.loads(final.split.read_text())
    assert (len(split["train"]), split["val"]) == (IMAGES, [])
    steps = [runs.last_step(found[0, fold, "auto"].path) for fold in (0, 1)]
    assert runs.last_step(final.path) == pytest.approx(sum(steps) / 2, abs=IMAGES / 4 / 2)
    assert not any(key.startswith("val/") for key in runs.curves(final.path))
    contract, _ = read_contract(group.model / "segmenter.json")
    parts = [read_contract(found[0, fold, "auto"].model / "segmenter.json")[0] for fold in (0, 1)]
    assert contract.temperature == pytest.approx(sum(one.temperature for one in parts) / 2, rel=1e-3)
    assert (group.model / "weights.safetensors").read_bytes() == (final.model / "weights.safetensors").read_bytes()


def test_nothing_is_left_to_do(untracked: tuple[Program, Ended]) -> None:
    program, _ = untracked
    before = program.run_folders()
    again = program.python("train", "--resume", str(folds.parent(program)), code=0)
    assert "is finished; nothing is left to do" in again.stdout
    assert program.run_folders() == before


def test_what_cannot_be_is_said_before_any_work(untracked: tuple[Program, Ended], data: Path, tmp_path: Path) -> None:
    program, _ = untracked
    lists = make_discs(tmp_path / "listed", count=4) / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("disc_00\ndisc_01\n")
    (lists / "val.txt").write_text("disc_02\ndisc_03\n")
    common = ["--tracking.enabled", "false", *TINY, *FOLDED]
    before = program.run_folders()
    ends = program.in_one_process(
        "train",
        {
            "many": ["--data.root", str(data), *common, "--train.folds", f"{IMAGES + 1}"],
            "own split": ["--data.root", str(tmp_path / "listed"), *common, "--train.folds", "2"],
        },
    )
    ends["a child"] = program.python("train", "--resume", str(before[-1]), "--train.folds", "3")
    assert [end.returncode for end in ends.values()] == [2, 2, 2], ends
    assert f"train.folds: {IMAGES + 1} is not possible with {IMAGES} labelled pictures" in ends["many"].stderr
    assert "has a split of its own" in ends["own split"].stderr
    assert "give no train.folds" in ends["a child"].stderr
    assert all("Traceback" not in end.output for end in ends.values())
    assert program.run_folders() == before


# ---------------------------------------------------------------- in MLflow


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, data: Path, empty_store: Path) -> tuple[Program, Ended]:
    """Two folds with two seeds, in MLflow."""
    program = Program(tmp_path_factory.mktemp("tracked") / "program", variables=ONE_THREAD, tables=empty_store)
    words = ["--data.root", str(data), *FOLDED, "--train.folds", "2", "--train.seeds", "2", "--train.epochs", "4"]
    return program, program.train(*words, "--registry.name", "discs", code=0, timeout_s=900)


def store_runs(program: Program) -> list[Any]:
    return runs.store_runs(MlflowClient(program.store))


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_one_parent_and_its_children(tracked: tuple[Program, Ended]) -> None:
    program, _ = tracked
    found = store_runs(program)
    (parent,) = [one for one in found if one.data.tags.get("kind") == "folds"]
    children = [one for one in found if one is not parent]
    assert len(children) == 2 * 2 + 1
    assert {one.data.tags["mlflow.parentRunId"] for one in children} == {parent.info.run_id}
    assert {one.info.status for one in found} == {"FINISHED"}
    marks = sorted((one.data.tags["fold"], one.data.tags["seed"]) for one in children)
    assert marks == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1"), ("final", "0")]
    assert parent.data.metrics["folds/miou"] == pytest.approx(folds.pooled_miou(program, 0, 1)[0], abs=1e-12)
    assert parent.data.metrics["folds/miou_low"] <= parent.data.metrics["folds/miou"]
    assert 0 < len(parent.data.params) <= 8
    assert not any(key.startswith("tracking.") for key in parent.data.params)
    artifacts = {one.path for one in MlflowClient(program.store).list_artifacts(parent.info.run_id)}
    assert {"folds.csv", "folds.json", "evaluation", "config.yaml"} <= artifacts


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_only_the_group_registers(tracked: tuple[Program, Ended]) -> None:
    program, ended = tracked
    client = MlflowClient(program.store)
    (version,) = client.search_model_versions("name = 'discs'")
    (parent,) = [one for one in store_runs(program) if one.data.tags.get("kind") == "folds"]
    assert version.run_id == parent.info.run_id
    assert version.tags["trained_on"] == "trained on all pictures"
    assert float(version.tags["val/miou"]) == parent.data.metrics["folds/miou"]
    assert "each predicted by a model that did not see it" in version.tags["val/miou.of"]
    assert client.get_model_version_by_alias("discs", "champion").version == version.version, ended.output


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_fold_is_the_training_of_that_fold_alone(tracked: tuple[Program, Ended], data: Path) -> None:
    """Also after another training in the same process, which leaves no trace."""
    program, _ = tracked
    words = ["--data.root", str(data), *FOLDED, "--train.epochs", "4", "--data.fold", "1", "--data.val_fraction", "0.5"]
    alone = Program(program.folder.parent / "alone", variables=ONE_THREAD)
    alone.train(*words, "--train.seed", "1", "--tracking.enabled", "false", code=0)
    (folder,) = alone.run_folders()
    assert runs.result(folder) == runs.result(folds.trainings(program)[1, 1, "auto"].path)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_jobs_that_train_a_fold_each_share_a_group(
    untracked: tuple[Program, Ended], data: Path, tmp_path: Path
) -> None:
    """Two jobs at the same moment begin one group; the same command without the key closes it."""
    whole, _ = untracked
    program = Program(tmp_path / "jobs", variables=ONE_THREAD)
    words = [*TINY, "--data.root", str(data), *FOLDED, "--train.folds", "2", "--train.epochs", "6"]
    words += ["--tracking.enabled", "false"]
    commands = [train_command(1, *words, "--train.only_fold", f"{fold}") for fold in (0, 1)]
    with program.start(*commands[0]) as one, program.start(*commands[1]) as other:
        ends = [one.end(600), other.end(600)]
    assert [end.returncode for end in ends] == [0, 0], ends
    assert sorted(folds.trainings(program)) == [(0, 0, "auto"), (0, 1, "auto")]
    assert folds.parent(program).read_status()["state"] == "running"
    program.python("train", "--resume", "latest", code=0, timeout_s=600)
    assert folds.result(program) == folds.result(whole)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_seeds_alone_register_the_best(data: Path, tmp_path: Path) -> None:
    program = Program(tmp_path / "seeds", variables=ONE_THREAD)
    words = ["--data.root", str(data), *FOLDED, "--train.seeds", "2", "--train.epochs", "6"]
    ended = program.train(*words, "--tracking.enabled", "false", code=0)
    group, found = folds.parent(program), folds.trainings(program)
    assert sorted(found) == [(0, 0, "auto"), (1, 0, "auto")]
    scores = {seed: folds.pooled_miou(program, seed)[0] for seed in (0, 1)}
    best = max(scores, key=lambda seed: (scores[seed], -seed))
    weights = (found[best, 0, "auto"].model / "weights.safetensors").read_bytes()
    assert (group.model / "weights.safetensors").read_bytes() == weights
    assert f"mIoU {folds.pooled_miou(program, 0, 1)[0]:.3f} [" in ended.stdout


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_two_processes_train_the_same_folds(untracked: tuple[Program, Ended], data: Path, tmp_path: Path) -> None:
    """One group, the same pictures in each fold, and each the training of two processes alone, to the last bit."""
    whole, _ = untracked
    words = [*TINY, "--data.root", str(data), *FOLDED, "--train.epochs", "6", "--tracking.enabled", "false"]
    program, alone = (Program(tmp_path / name, variables=ONE_THREAD) for name in ("two", "alone"))
    program.run(*train_command(2, *words, "--train.folds", "2"), code=0, timeout_s=900)
    found, expected = folds.trainings(program), folds.trainings(whole)
    assert found.keys() == expected.keys()
    names = [json.loads(one[0, 1, "auto"].split.read_text())["val"] for one in (found, expected)]
    assert names[0] == names[1]
    miou, _ = folds.pooled_miou(program)
    ((count, value),) = runs.curves(folds.parent(program).path)["folds/miou"]
    assert count == 2
    assert value == pytest.approx(miou, abs=1e-12)
    alone.run(*train_command(2, *words, "--data.fold", "1", "--data.val_fraction", "0.5"), code=0, timeout_s=900)
    (folder,) = alone.run_folders()
    assert runs.result(folder) == runs.result(found[0, 1, "auto"].path)
    assert folds.parent(program).read_status()["exit_code"] == 0
