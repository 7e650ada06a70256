"""Every command of README.md, given as a person gives it: in a shell with `.venv` active, in a copy of the program.

Commands are the lines of the README's indented blocks, its Python block, and all inline code that has a space in it or
begins with an option. Each has a function in RUN; a command without one, or one that is gone, is an error.

The text of the README is run as it is, and the files it names exist: FOLDER and NEW_PHOTOGRAPHS hold generated cats
with Labelme files. Added or replaced is only this:

    trainer/train.py               SMALL is appended: a tiny network, one thread, and just so many epochs that it finds
                                   something, since no other model becomes champion. UNTRACKED is, where only processes
                                   matter, and TO_BE_KILLED before a training is resumed
    --resume mlruns/work/RUN       RUN becomes the folder of a run that was killed
    --resume latest                is appended to the fourth step, after a run of that was killed
    --num_processes 8              becomes 2, or 1 where there is one GPU
    launch/multi_cpu.yaml          GPUs are hidden
    bash launch/ui.sh              the environment variable PORT is a free port
    bash launch/quickstart.sh      configs/quickstart.yaml is overridden by SMALL_QUICKSTART, at its end
    pip install                    installs nothing (--dry-run) and needs no network
"""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.support.installed import link_environment
from tests.support.mlflow_server import START_SECONDS
from tests.support.program import REPOSITORY, Command, Ended, Program

README = REPOSITORY / "README.md"
MENTIONED = ("accelerate launch",)
"""Inline code that names a program and is not a command."""

SMALL = (
    "--model.width 8 --model.depth 2 --data.image_size 32 --data.workers 1 --train.batch_size 4 --train.epochs 8 "
    "--optim.lr 0.01 --train.ema 0 --train.threads 1 --tracking.watch 1"
)
UNTRACKED = "--tracking.enabled false"
TO_BE_KILLED = f"{SMALL} {UNTRACKED} --train.epochs 40 --train.checkpoint_minutes 0"
"""Options of a training that is killed after its first checkpoint: it lasts longer than that takes to be noticed."""

SMALL_QUICKSTART = {
    "data": {"image_size": 32, "generated_images": 8, "workers": 1},
    "model": {"width": 8, "depth": 2},
    "train": {"epochs": 8, "ema": 0.0, "threads": 1},
    "optim": {"lr": 0.01},
    "tracking": {"watch": 1},
}


# ---------------------------------------------------------------- the text


def readme_blocks() -> list[list[str]]:
    """Lines of each indented block, without the indent."""
    blocks = re.findall(r"(?:^    .*\n)+", README.read_text(), re.MULTILINE)
    return [[line[4:] for line in block.splitlines()] for block in blocks]


def map_blocks() -> list[list[str]]:
    """Blocks of the map, whose lines begin with a folder and not with a program."""
    return [block for block in readme_blocks() if all(re.match(r"[\w/]+/ ", line) for line in block)]


def without_blocks(page: Path) -> str:
    """Text of a page without its indented blocks."""
    return re.sub(r"^    .*$", "", page.read_text(), flags=re.MULTILINE)


def readme_commands() -> list[str]:
    """Commands in the order of the README; the Python block is one of them."""
    found = []
    for block in readme_blocks():
        if block in map_blocks():
            continue
        if block[0].startswith(("from ", "import ")):
            found.append("\n".join(block))
        else:
            found += [re.sub(r"\s+# .*", "", line) for line in block]
    inline = [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", without_blocks(README))]
    return found + [code for code in inline if (" " in code or code.startswith("--")) and code not in MENTIONED]


# ---------------------------------------------------------------- the person


class Person:
    """A copy of the program with an active `.venv`, and the folders that the README names."""

    def __init__(self, folder: Path, tables: Path) -> None:
        self.program = Program(folder, tables=tables)
        self.folder = folder
        link_environment(folder)
        for name, seed in (("FOLDER", 1), ("NEW_PHOTOGRAPHS", 2)):
            drawn = f"python trainer/prepare.py synthetic {name} --count 8 --size 64 --seed {seed} --labelme"
            self.run(drawn)

    def shell(self, command: str) -> tuple[str, str, str]:
        return "bash", "-c", f"source .venv/bin/activate && {command}"

    def run(self, command: str, **variables: Any) -> Ended:
        """Run a command to its end; it must succeed."""
        done = self.program.run(*self.shell(command), PIP_NO_INDEX="1", **variables)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), f"{command}\n{done.stdout}{done.stderr}"
        assert "installing" not in done.stdout, "the copy's .venv is not recognised as up to date"
        return done

    def start(self, command: str, **variables: str) -> Command:
        """Start a command, which is killed with all that it started when its block ends."""
        return self.program.start(*self.shell(command), PIP_NO_INDEX="1", **variables)

    @cached_property
    def trained(self) -> Ended:
        """Result of the fourth step, which is run once."""
        return self.run(f"{command_of('accelerate launch trainer/train.py')} {SMALL}")

    def killed_run(self) -> Path:
        """Run folder of a training of the fourth step that was killed after its first checkpoint."""
        before = set(self.program.run_folders())
        training = f"{command_of('accelerate launch trainer/train.py')} {TO_BE_KILLED}"
        with self.start(training) as process:
            while not any(any(new.glob("checkpoints/step-*")) for new in set(self.program.run_folders()) - before):
                assert process.running, process.output()
                time.sleep(0.02)
        (folder,) = set(self.program.run_folders()) - before
        assert json.loads((folder / "status.json").read_text())["state"] == "running"
        return folder


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Person:
    return Person(tmp_path_factory.mktemp("readme") / "program", empty_store)


def command_of(beginning: str) -> str:
    """The one command of the README that begins so."""
    (command,) = {command for command in readme_commands() if command.startswith(beginning)}
    return command


# ---------------------------------------------------------------- the commands


def quickstart(person: Person, command: str) -> None:
    file = person.folder / "configs" / "quickstart.yaml"
    settings = yaml.safe_load(file.read_text())
    for section, values in SMALL_QUICKSTART.items():
        settings[section] = settings.get(section, {}) | values
    file.write_text(yaml.safe_dump(settings))
    printed = person.run(command).stdout
    (overlays,) = re.findall(r"^overlays: +(.*)$", printed, re.MULTILINE)
    (masks,) = re.findall(r"^masks: +(.*)$", printed, re.MULTILINE)
    assert (len(list(Path(overlays).glob("*.jpg"))), len(list(Path(masks).glob("*.png")))) == (8, 8)


def ui(person: Person, command: str) -> None:
    (address,) = re.findall(rf"{re.escape(command)} .*(http://127.0.0.1):5000", README.read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with person.start(command, PORT=str(port)) as process:
        page = process.wait_for(lambda: read_page(f"{address}:{port}"), "a page of MLflow", START_SECONDS)
        assert "MLflow" in page


def read_page(address: str) -> str:
    """Text of a page; empty where nothing answers yet."""
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def serve(person: Person, command: str) -> None:
    with person.start(f"{command} --port 0") as process:
        address = process.wait_for(
            lambda: re.search(r"at (http://127\.0\.0\.1:\d+)", process.output()), "an address", START_SECONDS
        )[1]
        assert "<title>Outlines</title>" in process.wait_for(lambda: read_page(address), "the page", START_SECONDS)


def activate(person: Person, command: str) -> None:
    done = person.program.run("bash", "-c", f"{command} && python -c 'import sys, trainer; print(sys.prefix)'")
    assert (done.returncode, Path(done.stdout.strip()).resolve()) == (0, Path(sys.prefix).resolve()), done.stderr


def install(person: Person, command: str) -> None:
    printed = person.run(f"{command} --dry-run --no-deps --no-build-isolation").stdout
    assert "Would install segtrainer" in printed


def check(person: Person, command: str) -> None:
    assert "0 errors" in person.run(command).stdout


def train(person: Person, _command: str) -> None:
    assert "models:/my-model@champion" in person.trained.stdout


def predict(person: Person, command: str) -> None:
    assert person.trained
    person.run(command)
    names = sorted(path.stem for path in (person.folder / "NEW_PHOTOGRAPHS").glob("*.jpg"))
    for part, suffix in (("masks", "png"), ("overlays", "jpg")):
        assert sorted(path.stem for path in (person.folder / "OUT" / part).glob(f"*.{suffix}")) == names
    report = json.loads((person.folder / "OUT" / "report.json").read_text())
    assert report["model"]["name"] == "my-model"
    assert len((person.folder / "OUT" / "report.csv").read_text().splitlines()) == 1 + len(names)


def compare(person: Person, command: str) -> None:
    assert person.trained
    assert "nothing to compare it with" in person.run(command).stdout
    assert "<polyline" in (person.folder / "compare.html").read_text()


def use_from_python(person: Person, block: str) -> None:
    assert person.trained
    photograph = next((person.folder / "NEW_PHOTOGRAPHS").glob("*.jpg"))
    (person.folder / "photo.jpg").write_bytes(photograph.read_bytes())
    *_, last = block.splitlines()
    ending = f"\nimport numpy\nmask, overlay = {last}\nnumpy.savez('results.npz', mask=mask, overlay=overlay)\n"
    (person.folder / "four_lines.py").write_text(block + ending)
    person.run("python four_lines.py")
    results, image = np.load(person.folder / "results.npz"), np.array(Image.open(photograph))
    assert (results["mask"].shape, results["mask"].dtype) == (image.shape[:2], np.uint8)
    assert (results["overlay"].shape, results["overlay"].dtype) == (image.shape, np.uint8)


def resume(person: Person, command: str) -> None:
    folder = person.killed_run()
    assert_resumes(person, folder, command.replace("mlruns/work/RUN", str(folder.relative_to(person.folder))))


def resume_latest(person: Person, option: str) -> None:
    folder = person.killed_run()
    first_command = command_of("accelerate launch trainer/train.py")
    assert_resumes(person, folder, f"{first_command} {TO_BE_KILLED} {option}")


def assert_resumes(person: Person, folder: Path, command: str) -> None:
    """Check that a command takes the killed run of this folder to its end, and makes no other run."""
    before = person.program.run_folders()
    person.run(command)
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], person.program.run_folders()) == ("finished", before)
    assert list(folder.glob("checkpoints/step-*")) == []
    assert (folder / "last_checkpoint.json").exists()


def several_processes(person: Person, command: str) -> None:
    on_cpu = "multi_cpu" in command
    count = 2 if on_cpu else min(torch.cuda.device_count() or 2, 2)  # eight would have too few pictures
    command = re.sub(r"(?<=--num_processes )8\b", str(count), command)
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if on_cpu else {}
    printed = person.run(f"{command} {SMALL} {UNTRACKED}", **hidden).stdout
    assert re.search(rf"^device .* processes {count} ", printed, re.MULTILINE)


RUN: dict[str, Callable[[Person, str], None]] = {
    "source .venv/bin/activate": activate,
    "pip install ": install,
    "python trainer/prepare.py check ": check,
    "accelerate launch trainer/train.py ": train,
    "python trainer/predict.py ": predict,
    "python trainer/compare.py ": compare,
    "from trainer import ": use_from_python,
    "bash launch/ui.sh": ui,
    "python trainer/serve.py ": serve,
    "python trainer/train.py --resume mlruns/work/RUN": resume,
    "--resume latest": resume_latest,
    "accelerate launch --config_file launch/multi_cpu.yaml ": several_processes,
    "accelerate launch --config_file launch/multi_gpu.yaml ": several_processes,
    "bash launch/quickstart.sh": quickstart,
}
"""Beginning of a command -> the function that runs it and looks at what it made."""

LONG = (
    *("--resume latest", "python trainer/train.py --resume mlruns/work/RUN"),
    *("accelerate launch --config_file launch/multi_gpu.yaml ", "bash launch/quickstart.sh"),
)
"""Commands of the long tier: they are like others, or take long."""


# ---------------------------------------------------------------- the tests


def test_every_command_is_run() -> None:
    commands = readme_commands()
    unknown = [command for command in commands if not any(command.startswith(beginning) for beginning in RUN)]
    assert not unknown, f"README.md has commands that no function here runs: {unknown}"
    gone = [beginning for beginning in RUN if not any(command.startswith(beginning) for command in commands)]
    assert not gone, f"README.md no longer has {gone}"


@pytest.mark.parametrize(
    "beginning", [pytest.param(command, marks=[pytest.mark.long] * (command in LONG)) for command in RUN]
)
def test_command(beginning: str, person: Person) -> None:
    RUN[beginning](person, command_of(beginning))


def test_the_map_is_true() -> None:
    """Each folder of the map exists, and each top-level folder and each part of trainer/ is in it."""
    (lines,) = map_blocks()
    named = {line.split()[0] for line in lines}
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    folders = {path.split("/")[0] + "/" for path in tracked.splitlines() if "/" in path}
    folders |= {"/".join(path.split("/")[:2]) + "/" for path in tracked.splitlines() if re.match("trainer/.*/", path)}
    assert named == {folder for folder in folders if not folder.startswith(".")}


@pytest.mark.parametrize(
    "page", sorted([README, *README.parent.glob(".github/*.md"), REPOSITORY / "trainer/README.md"])
)
def test_links_lead_somewhere(page: Path) -> None:
    """Links to files of the repository, and to headings in them."""
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]+`", "", without_blocks(page))):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page}: {target}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}
            assert heading in anchors, f"{page}: {target} is none of {sorted(anchors)}"


def test_the_file_map_is_true() -> None:
    """trainer/README.md has a line for each file of the package, in the section of its folder, and for no other."""
    text = (REPOSITORY / "trainer" / "README.md").read_text().partition("\n## Files\n")[2].partition("\n## ")[0]
    named = set()
    for section in text.split("\n### ")[1:]:
        title, _, body = section.partition("\n")
        folder = "" if title.startswith("Entry points") else f"{title}/"
        named |= {f"{folder}{name}" for name in re.findall(r"^    (\w+\.py) ", body, re.MULTILINE)}
    files = {path.relative_to(REPOSITORY / "trainer").as_posix(): path for path in REPOSITORY.glob("trainer/**/*.py")}
    assert named == {name for name, path in files.items() if path.stat().st_size}, "an empty __init__.py needs no line"
