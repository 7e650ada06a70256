"""How the entry points end: at Ctrl-C, and where nobody reads, or nothing takes, what they print."""

import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support import runs
from tests.support.discs import make_discs
from tests.support.program import FULL, ONE_THREAD, TINY, Command, Program
from trainer.model.model_folder import save_segmenter

FaultTrial = Callable[[int, str], AbstractContextManager[None]]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_discs(tmp_path_factory.mktemp("data") / "discs", count=20)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "program", variables=ONE_THREAD)


@pytest.fixture
def many(data: Path, tmp_path: Path) -> Path:
    """A folder with 400 images."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(20):
        for image in (data / "JPEGImages").iterdir():
            shutil.copyfile(image, folder / f"{number}-{image.name}")
    return folder


@pytest.fixture
def model(tmp_path: Path, make_segmenter: Callable[..., Any]) -> Path:
    save_segmenter(make_segmenter(), tmp_path / "model")
    return tmp_path / "model"


def predict_words(model: Path, images: Path) -> list[str]:
    return ["trainer/predict.py", "--model", str(model), "--input", str(images), "--output", "out", "--batch_size", "2"]


def first_line_is_reached(command: Command) -> None:
    """Wait until Python itself has started: the program then has a handler of SIGHUP, which Python has not."""

    def handled() -> bool:
        (mask,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{command.pid}/status").read_text())
        return bool(int(mask, 16) >> (signal.SIGHUP - 1) & 1)

    command.wait_for(handled, "a handler")


def check_report(program: Program) -> int:
    """Fail where a report does not name the masks there are; return their number."""
    out = program.folder / "out"
    masks = sorted(path.stem for path in out.glob("masks/*"))
    assert not list(out.glob("**/.*")), "a part of a file is left"
    if not (out / "report.json").exists():
        assert masks == []
        return 0
    rows = json.loads((out / "report.json").read_text())["files"]
    assert sorted(Path(row["file"]).stem for row in rows) == masks
    assert len((out / "report.csv").read_text().splitlines()) == len(masks) + 1
    return len(masks)


def test_ctrl_c_in_predict_leaves_a_report_of_what_is_done(
    program: Program, model: Path, many: Path, fault_trial: FaultTrial
) -> None:
    with fault_trial(40, "SIGINT in predict"):
        with program.start(sys.executable, *predict_words(model, many)) as command:
            command.wait_for(lambda: len(list(program.folder.glob("out/masks/*"))) >= 10, "ten masks")
            command.process.send_signal(signal.SIGINT)
            ended = command.end(60)
        done = check_report(program)
        assert 10 <= done < 400
        assert ended.returncode == 130
        said = f"predict.py: stopped; {done} of 400 pictures are done, see report.csv"
        assert ended.stderr == f"{said}; the same command with --skip_existing does the rest\n"


@pytest.mark.parametrize("entry", ["train", "predict", "prepare", "serve", "sync", "promote"])
@pytest.mark.parametrize("number", CODES)
def test_a_signal_during_the_imports(entry: str, number: signal.Signals, program: Program) -> None:
    with program.start(sys.executable, f"trainer/{entry}.py", "--help") as command:
        first_line_is_reached(command)
        command.process.send_signal(number)
        ended = command.end(60)
    assert (ended.returncode, ended.stderr) == (CODES[number], f"{entry}.py: stopped\n")


SENDS = """
import os, signal, sys
class Sender:
    def find_spec(self, name, *_given):
        if name == "trainer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Sender())
"""


@pytest.mark.parametrize("entry", ["train", "predict", "prepare", "serve", "sync", "promote"])
def test_ctrl_c_before_the_first_import(entry: str, program: Program) -> None:
    (program.folder / "sitecustomize.py").write_text(SENDS)
    ended = program.python(entry, "--help")
    assert (ended.returncode, ended.output) == (-signal.SIGINT, "")


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["train", "predict", "check", "labelme", "synthetic", "sync"])
def test_a_signal_at_any_moment(
    name: str, data: Path, many: Path, model: Path, tmp_path: Path, fault_trial: FaultTrial
) -> None:
    """Every tenth of a second of a run: one line, and whole files or none; a training that has begun is saved."""
    program = Program(tmp_path / "program", variables=ONE_THREAD)
    program.python("prepare", "synthetic", "labelme", "--count", "60", "--labelme", "--size", "64", code=0)
    if name == "sync":
        program.train("--data.root", str(data), *FULL, code=0)
    words = {
        "train": ["trainer/train.py", "--data.root", str(data), *TINY, *FULL],
        "predict": predict_words(model, many),
        "check": ["trainer/prepare.py", "check", str(data)],
        "labelme": ["trainer/prepare.py", "labelme", "labelme", "out", "--labels", "labelme/labels.txt"],
        "synthetic": ["trainer/prepare.py", "synthetic", "out", "--count", "40", "--size", "128"],
        "sync": ["trainer/sync.py", *map(str, program.run_folders())],
    }[name]
    seconds, again = 0.0, True
    while again:
        number = signal.SIGINT if round(10 * seconds) % 2 else signal.SIGTERM
        shutil.rmtree(program.folder / "out", ignore_errors=True)
        before = program.run_folders()
        with fault_trial(40, f"{name} is stopped"):
            with program.start(sys.executable, *words) as command:
                first_line_is_reached(command)
                time.sleep(seconds)
                again = command.running
                command.signal(number)
                ended = command.end(60)
            assert "Traceback" not in ended.output
            assert ended.returncode in (0, 130, 143)
            assert not list(program.folder.glob(".*.partial"))
            if name == "predict":
                check_report(program)
            for folder in set(program.run_folders()) - set(before):
                assert runs.status(folder)["exit_code"] == ended.returncode
                assert runs.states(folder) == ["KILLED" if ended.returncode else "FINISHED"]
            if ended.returncode == 130:
                assert ended.stderr.startswith(f"{Path(words[0]).name}: stopped")
                assert len(ended.stderr.splitlines()) == 1
        seconds += 0.1 if seconds < 1 else 0.3


@pytest.mark.parametrize(
    ("output", "code", "shown"),
    [
        ("| head -1", 0, ""),
        ("--json - | head -c 10", 0, ""),
        (">&- 2>&-", 0, ""),
        ("> /dev/full", 1, "prepare.py: what it prints cannot be written (No space left on device)\n"),
        ("--json - > /dev/full", 1, "prepare.py: what it prints cannot be written (No space left on device)\n"),
        ("> /dev/full 2>&1", 1, ""),
    ],
)
def test_output_that_nobody_takes(output: str, code: int, shown: str, program: Program, data: Path) -> None:
    line = f"{sys.executable} trainer/prepare.py check {data} {output}; exit ${{PIPESTATUS[0]}}"
    ended = program.run("bash", "-c", line, code=code)
    assert ended.stderr == shown


@pytest.mark.long
@pytest.mark.parametrize("output", ["| head -1", ">&- 2>&-", "> /dev/full"])
def test_predict_does_its_work_whoever_reads(output: str, program: Program, model: Path, data: Path) -> None:
    words = " ".join(predict_words(model, data / "JPEGImages"))
    ended = program.run("bash", "-c", f"{sys.executable} {words} {output}; exit ${{PIPESTATUS[0]}}", code=0)
    assert "Traceback" not in ended.output
    assert check_report(program) == 20
