"""What a sweep leaves: table, charts, best settings."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from trainer.cli import read
from trainer.config import Config, to_yaml
from trainer.search.results import (
    best_settings,
    describe_sweep,
    rows,
    use_command,
    write_best,
    write_charts,
    write_table,
)
from trainer.search.space import Choice, Range, Space
from trainer.search.study import Study
from trainer.search.sweep_folder import SweepFolder
from trainer.search.trial import describe, same_reason
from trainer.system.run_folder import SWEEP, new_run_folder

SPACE = Space(
    {"optim.lr": Range(1e-4, 1e-2, log=True), "loss.class_weights": Choice(("balanced", [1, 2.5]))},
    {"optim.lr": {}, "loss.class_weights": []},
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepFolder, Study]:
    """A sweep with two complete trials, a pruned one, one that failed, and one that is under way."""
    work = tmp_path_factory.mktemp("wörk ' dir")
    folder = SweepFolder(new_run_folder(work, "discs", None, tracked=False, kind=SWEEP))
    study = Study(f"sqlite:///{folder.study}", folder.path.name, 0)
    for _ in range(5):
        study.ask(SPACE, 5, {})
    for number, score in ((0, 0.25), (1, 0.5)):
        study.report(number, {10: score / 2})
        study.complete(number, score)
    study.report(2, {10: 0.05, 33: 0.1})
    study.prune(2, "after 33 %", 0.1)
    study.fail(3, 'no memory,\n"really"')
    return folder, study


def test_the_table_has_every_trial(swept: tuple[SweepFolder, Study]) -> None:
    folder, study = swept
    write_table(folder, rows(study, SPACE))
    with folder.table.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["state"] for row in table] == ["complete", "complete", "pruned", "failed", "unfinished"]
    assert [row["miou"] for row in table] == ["0.25", "0.5", "0.1", "", ""]
    assert [row["remark"] for row in table] == ["", "", "after 33 %", 'no memory,\n"really"', ""]
    assert [float(row["optim.lr"]) for row in table] == [one.params["optim.lr"] for one in study.trials()]
    assert {row["loss.class_weights"] for row in table} <= {"balanced", "[1, 2.5]"}
    content = json.loads(folder.table.with_suffix(".json").read_text())
    assert content["columns"] == list(table[0])
    assert [row[0] for row in content["data"]] == [0, 1, 2, 3, 4]


def test_the_best_settings_are_read_by_training(swept: tuple[SweepFolder, Study]) -> None:
    folder, study = swept
    words = ["--data.root", "a 'dir", "--model.width", "8", "--train.compile", "off", "--train.mixed_precision", "no"]
    config = read([*words, "--tracking.run_name", "mine", "--registry.name", "x"])
    best = study.best()
    assert best is not None
    write_best(folder, config, SPACE, best)
    assert folder.best.read_text().startswith(f"# Best of sweep {folder.path.name}: trial 1, best/miou 0.5000\n")
    found = read(["--config", str(folder.best)])
    assert found.optim.lr == best.params["optim.lr"]
    assert found.loss.class_weights == SPACE.settings(best.params)["loss.class_weights"]
    assert (found.data.root, found.model.width, found.train.compile) == ("a 'dir", 8, "off")
    assert (found.registry.name, found.tracking.run_name) == ("x", None)
    assert "resume" not in yaml.safe_load(folder.best.read_text())
    assert folder.best.name in use_command(folder)


def test_a_value_that_is_the_default_is_written_too(swept: tuple[SweepFolder, Study]) -> None:
    """Another version of the program may have another default."""
    assert best_settings(Config(), {"optim.lr": Config().optim.lr}) == {"optim.lr": Config().optim.lr}


def test_the_description_names_the_best(swept: tuple[SweepFolder, Study]) -> None:
    folder, study = swept
    text = describe_sweep(folder, rows(study, SPACE), SPACE, study.best())
    assert "`optim.lr`, `loss.class_weights`: 4 trials ended" in text
    assert "Best: trial 1, mIoU 0.5000 with lr " in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines] == ["| trial", "| 1", "| 0"]
    said = describe_sweep(folder, rows(study, SPACE), SPACE, study.best(), "trial 1 is better")
    assert said.replace("\n\ntrial 1 is better", "") == text != said
    assert "0 trials ended" in describe_sweep(folder, [], SPACE, None)


def test_charts_show_the_trials(swept: tuple[SweepFolder, Study]) -> None:
    folder, study = swept
    names = write_charts(folder, study, SPACE)
    assert names == ["history.png", "settings.png"]  # too few trials to tell what matters
    for name in names:
        pixels = np.asarray(Image.open(folder.path / name).convert("RGB")).reshape(-1, 3)
        colours = {tuple(int(value) for value in one) for one in np.unique(pixels, axis=0)}
        assert (0, 114, 178) in colours  # complete
        assert (230, 159, 0) in colours  # pruned


def test_settings_in_few_words() -> None:
    assert describe({"optim.lr": 0.00123456, "model.width": 16, "loss.class_weights": [1, 2]}, "-") == (
        "lr0.00123-width16-classweights[1, 2]"
    )
    assert describe({"optim.weight_decay": 0.1, "model.width": 16}) == "weight decay 0.1, width 16"
    assert describe({"optim.lr": 0.1, "model.lr": 2}) == "optim.lr 0.1, model.lr 2"
    assert same_reason("out of memory: 12 GiB of 16", "out of memory: 13 GiB of 16")
    assert not same_reason("out of memory", "no such file")


def test_all_settings_of_a_sweep_can_be_read_back(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(Config()))
    assert read(["--config", str(tmp_path / "config.yaml")]) == Config()
