"""Names that people did not mean as an attack, and those that are one, through every entry point."""

import csv
import json
import os
import re
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from tests.support import runs
from tests.support.images import smooth_image
from tests.support.layouts import save_image, save_mask
from tests.support.program import Ended, Program
from trainer.system.text import one_line

FaultTrial = Callable[[int, str], AbstractContextManager[None]]
NAMES = [
    "裂缝".encode("gbk"),
    "ü".encode("latin-1"),
    *(
        name.encode()
        for name in ("[red]x[bold]", "[on red]", "=cmd|1", "+1", "a\x1b]0;title\x07", "a\nb", "gpj\u202e", "é" * 60)
    ),
    b"x" * 250,
    b"x" * 249 + b"y",
    b" blank ",
    b'it\'s "$HOME" `id`',
]
"""Names of pictures, without their suffix."""

CLASSES = [".", "..", "n" * 300, "a/b", "[red]"]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\udc80-\udcff\u202e]")
"""What must never reach a terminal."""

ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
"""Environment of a terminal that knows nothing but ASCII."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and masks of these names and classes, below a folder with a name that is no UTF-8."""
    root = Path(os.fsdecode(bytes(tmp_path_factory.mktemp("names")) + b"/set [bold]\xff"))
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for number, name in enumerate(map(os.fsdecode, NAMES)):
        mask = np.zeros((36, 40), np.uint8)
        for class_id in range(1, len(CLASSES) + 1):
            mask[6 * class_id : 6 * class_id + 4, 4:30] = class_id
        save_image(root / "images" / f"{name}.png", smooth_image(36, 40, number))
        save_mask(root / "masks" / f"{name}.png", mask)
    (root / "class_names.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return root


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Program:
    return Program(tmp_path_factory.mktemp("program") / "program", variables=ASCII, tables=empty_store)


@pytest.fixture(scope="module")
def trained(program: Program, root: Path) -> Ended:
    names = ["--tracking.experiment", "[red]x[/red] 'q' \"50 %\"", "--tracking.run_name", "[/] $HOME `id` ü"]
    settings = [
        "--registry.name",
        "my model.v1 ü",
        "--train.epochs",
        "1",
        "--model.depth",
        "1",
        "--tracking.watch",
        "3",
    ]
    return program.train("--data.root", str(root), *names, *settings, "--data.val_fraction", "0.5", code=0)


def check_output(ended: Ended) -> None:
    assert "Traceback" not in ended.output
    assert not CONTROL.search(ended.output)
    ended.output.encode("ascii")


def test_check(program: Program, root: Path, tmp_path: Path, fault_trial: FaultTrial) -> None:
    with fault_trial(30, "names in check"):
        shown = program.python("prepare", "check", str(root), "--json", str(tmp_path / "report.json"), code=0)
        check_output(shown)
        report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
        assert report["pictures"] == len(NAMES)
        assert [row["name"] for row in report["classes"][1:]] == CLASSES
        printed = program.python("prepare", "check", str(root), "--json", "-", code=0)
        assert json.loads(printed.stdout) == report


def test_train(program: Program, trained: Ended, fault_trial: FaultTrial) -> None:
    """Everything arrives in MLflow under names that it accepts, each class and picture under its own."""
    with fault_trial(39, "names in training"):
        check_output(trained)
        assert "not sent" not in trained.output
        (folder,) = program.run_folders()
        assert runs.status(folder)["state"] == "finished"
        assert runs.status(folder)["unsent_records"] == 0
        run = runs.store_run(program.database, folder)
        classes = [key for key in run.data.metrics if key.startswith("val/iou/")]
        assert len(classes) == len(CLASSES)
        assert all(len(key) <= 250 for key in classes)
        client = MlflowClient(program.store)
        pictures = {Path(file.path).name for file in client.list_artifacts(run.info.run_id, "images")}
        watched = {name.partition("+step")[0] for name in pictures if name.startswith("watch")}
        assert len(watched) == 3
        assert run.info.run_name == "[/] $HOME `id` ü"
        assert client.get_experiment(run.info.experiment_id).name == "[red]x[/red] 'q' \"50 %\""
        assert client.get_model_version("my model.v1 ü", "1").run_id == run.info.run_id


def test_resume_of_such_a_run(program: Program, trained: Ended) -> None:
    command = next(line for line in trained.output.splitlines() if "continue with:" in line).partition(":  ")[2]
    words = shlex.split(command)
    ended = program.python("train", *words[words.index("trainer/train.py") + 1 :], code=0)
    assert "nothing is left to do" in ended.output


def test_predict(program: Program, trained: Ended, root: Path, tmp_path: Path, fault_trial: FaultTrial) -> None:
    """The command that training prints, pasted: a mask for each picture, and a report that every program can read."""
    broken = tmp_path / "broken\n\x1b[31m.png"
    broken.touch()
    line = next(line for line in trained.output.splitlines() if "predict.py" in line)
    command = line.replace("PICTURES", '"$1" "$2"').replace("OUT", '"$3"').replace("  python ", "")
    with fault_trial(30, "names in predict"):
        inputs = [str(root / "images"), str(broken), str(tmp_path / "out")]
        ended = program.run("bash", "-c", f"python {command}", "bash", *inputs, code=3)
        check_output(ended)
        masks = {os.fsencode(file.name) for file in (tmp_path / "out" / "masks").iterdir()}
        assert masks == {name + b".png" for name in NAMES}
        report = json.loads((tmp_path / "out" / "report.json").read_bytes().decode())
        json.dumps(report, ensure_ascii=False).encode()
        assert len(report["files"]) == len(NAMES) + 1
        with (tmp_path / "out" / "report.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len((tmp_path / "out" / "report.csv").read_text(encoding="utf-8").splitlines()) == len(NAMES) + 2
        wanted = {one_line(root / "images" / f"{os.fsdecode(name)}.png") for name in NAMES} | {one_line(broken)}
        assert {row["file"] for row in rows} == wanted


def test_formulas_in_a_report(program: Program, trained: Ended, root: Path, tmp_path: Path) -> None:
    (folder,) = program.run_folders()
    for name in ("=cmd|1.png", "+1.png"):
        os.symlink(root / "images" / name, program.folder / name)
    program.python(
        "predict", "--model", str(folder / "model"), "--input", "=cmd|1.png", "+1.png", "--output", "out", code=0
    )
    lines = (program.folder / "out" / "report.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines[1:]] == ["'=cmd|1.png", "'+1.png"]


@pytest.mark.parametrize(
    "setting",
    [
        *(
            ["--registry.name", name]
            for name in ("a/b", "a:b", "it's", 'say "x"', "50 %", ".", "..", " ", "x" * 300, "\x1b")
        ),
        *(["--tracking.experiment", name] for name in ("", "\x1b[31m", "a\nb", "x" * 300)),
        *(["--tracking.run_name", name] for name in (" ", "\x1b[31m", "a\nb", "x" * 300)),
    ],
)
def test_names_that_mlflow_would_refuse_later(setting: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from trainer.cli import parse

    with pytest.raises(SystemExit) as ended:
        parse(setting)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert setting[0].removeprefix("--") in error
    assert not CONTROL.search(error)
