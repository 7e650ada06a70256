"""Calls of predict.py that are killed, go on, or share their work: nothing is lost, done twice, or of two models."""

import csv
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from PIL import Image

from tests.support.images import smooth_image
from tests.support.program import ONE_THREAD, Command, Program, launcher
from tests.support.registry import add_version
from trainer.inference.journal import index_entries, read_at
from trainer.model.model_folder import save_segmenter
from trainer.tracking.registry import CHAMPION

BAD = 5
NAME = "shapes"

# predict.py whose pictures take 20 ms or more each, so that something can happen meanwhile.
SLOW = """
import os, sys, time
from trainer.inference.outputs import ResultWriter
from trainer.predict import main
from trainer.system.entry import leave
write = ResultWriter.__call__
def slow(self, result):
    time.sleep(float(os.environ.get("PAUSE_S", "0.02")))
    return write(self, result)
ResultWriter.__call__ = slow
leave(main(sys.argv[1:]))
"""


@pytest.fixture
def program(tmp_path: Path, empty_store: Path) -> Program:
    return Program(tmp_path / "program", tables=empty_store, variables=ONE_THREAD)


@pytest.fixture
def client(program: Program, make_segmenter: Callable[..., Any]) -> MlflowClient:
    """Registry with two versions of a model, the first of which is champion."""
    client = MlflowClient(program.store)
    for seed in (1, 2):
        folder = program.folder / f"model {seed}"
        save_segmenter(make_segmenter(2, seed), folder)
        add_version(client, NAME, folder, 0.5)
    client.set_registered_model_alias(NAME, CHAMPION, "1")
    return client


def make_images(folder: Path, count: int) -> Path:
    """Folder of `count` small images, of which the first of each BAD-th part cannot be read."""
    folder.mkdir()
    for number in range(count):
        file = folder / f"{number:04}.png"
        if number % (count // BAD) == 0:
            file.write_bytes(b"no image")
        else:
            Image.fromarray(smooth_image(24, 36, number)).save(file)
    return folder


def words(images: Path, out: Path, *more: str, script: str = "trainer/predict.py") -> list[str]:
    model = f"models:/{NAME}@{CHAMPION}"
    return [script, "--model", model, "--input", str(images), "--output", str(out), "--batch_size", "2", *more]


def entries(out: Path) -> int:
    """Number of images that the journals of a call name."""
    return sum(len(path.read_bytes().splitlines()) for path in out.glob("journal*.jsonl"))


def progress(command: Command, out: Path, count: int) -> None:
    command.wait_for(lambda: entries(out) >= count, f"{count} pictures")


def report_of(out: Path) -> dict[str, Any]:
    """report.json, which is whole and agrees with report.csv and with the masks it names."""
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    with (out / "report.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["file"] for row in table] == [row["file"] for row in report["files"]]
    for row, line in zip(report["files"], table, strict=True):
        assert line["mask"] == row.get("mask", "")
        assert line["version"] == report["model"]["version"]
        if "mask" in row:
            assert Image.open(out / row["mask"]).size == (row["width"], row["height"])
    return report


def versions(out: Path, report: dict[str, Any]) -> set[str]:
    """Versions of the model that the masks of a report say they are of."""
    return {Image.open(out / row["mask"]).text["version"] for row in report["files"] if "mask" in row}


def same(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without the time that they took."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [60, 2000])
def test_a_killed_call_goes_on_and_never_mixes_versions(
    count: int, program: Program, client: MlflowClient, tmp_path: Path
) -> None:
    images, out, slow = make_images(tmp_path / "images", count), tmp_path / "out", program.script(SLOW)
    with program.start(sys.executable, *words(images, out, script=slow)) as command:
        progress(command, out, count // 3)
        command.kill()
    assert len(report_of(out)["files"]) < count
    done = [name for name, place in index_entries(out).items() if "error" not in read_at(place).row]
    assert len(done) >= count // 3 - BAD
    written_ns = {name: (out / "masks" / f"{name}.png").stat().st_mtime_ns for name in done}
    (out / "masks" / f"{min(done)}.png").unlink()

    # The second call does the rest, all with the version that the alias meant when it began.
    with program.start(sys.executable, *words(images, out, "--skip_existing", script=slow)) as command:
        progress(command, out, 2 * count // 3)
        client.set_registered_model_alias(NAME, CHAMPION, "2")
        ended = command.end()
    assert ended.returncode == 3, ended.output
    text = " ".join(ended.stdout.split())
    assert f"{len(done) - 1} pictures done before, and skipped" in text
    assert "1 lack a file of their results" in text
    report = report_of(out)
    assert [Path(row["file"]).stem for row in report["files"]] == [f"{number:04}" for number in range(count)]
    assert (report["complete"], report["totals"]["done"], report["totals"]["failed"]) == (True, count - BAD, BAD)
    assert versions(out, report) == {"1"}
    again = [name for name, ns in written_ns.items() if (out / "masks" / f"{name}.png").stat().st_mtime_ns != ns]
    assert again == [min(done)]

    # As if it had never been killed.
    whole = tmp_path / "whole"
    program.run(sys.executable, *words(images, whole, "--model", f"models:/{NAME}/1"), code=3)
    assert same(report["files"]) == same(report_of(whole)["files"])
    for mask in (whole / "masks").iterdir():
        assert Image.open(mask).tobytes() == Image.open(out / "masks" / mask.name).tobytes()

    # The alias means another version now: all is done anew, and said.
    ended = program.run(sys.executable, *words(images, out, "--skip_existing"), code=3)
    assert f"done anew by {NAME} version 2: {count - BAD} were done by {NAME} version 1" in " ".join(
        ended.stdout.split()
    )
    assert versions(out, report_of(out)) == {"2"}

    # Nothing is left; a changed picture is.
    Image.fromarray(smooth_image(24, 36, 99999)).save(images / "0001.png")
    ended = program.run(sys.executable, *words(images, out, "--skip_existing"), code=3)
    assert f"{count - BAD - 1} pictures done before, and skipped" in " ".join(ended.stdout.split())
    assert "1 have changed" in ended.stdout
    ended = program.run(sys.executable, *words(images, out, "--skip_existing", "--min_area", "3"), code=3)
    assert f"{count - BAD} were done with other options" in " ".join(ended.stdout.split())
    assert report_of(out)["totals"]["done"] == count - BAD


@pytest.mark.long
def test_two_processes_do_what_one_does(program: Program, client: MlflowClient, tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", 20)
    program.run(sys.executable, *words(images, tmp_path / "one", "--coco", "--objects"), code=3)
    two = [*launcher("multi_cpu", "--num_processes", "2"), *words(images, tmp_path / "two", "--coco", "--objects")]
    ended = program.run(*two)
    assert f"15 pictures done, {BAD} failed" in ended.stdout, ended.output
    one, other = (report_of(tmp_path / name) for name in ("one", "two"))
    assert same(one["files"]) == same(other["files"])
    assert one["totals"] == other["totals"]
    assert versions(tmp_path / "two", other) == {"1"}
    for name in ("coco.json", "objects.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert [path.name for path in (tmp_path / "two").glob("*.jsonl")] == ["journal.jsonl"]
    assert not (tmp_path / "two" / "call.json").exists()


@pytest.mark.long
def test_a_process_that_dies_is_said(program: Program, client: MlflowClient, tmp_path: Path) -> None:
    images, out, slow = make_images(tmp_path / "images", 60), tmp_path / "out", program.script(SLOW)
    command = [sys.executable, *words(images, out, script=slow)]
    main = program.start(*command, RANK="0", WORLD_SIZE="2")
    with main, program.start(*command, RANK="1", WORLD_SIZE="2") as other:
        part = out / "journal-1.jsonl"
        other.wait_for(lambda: part.exists() and len(part.read_bytes().splitlines()) > 3, "some pictures")
        other.kill()
        ended = main.end()
    assert ended.returncode == 1, ended.output
    assert "process 1 died before it had done its pictures" in ended.stderr
    assert "not done; the same command with --skip_existing does the rest" in ended.stderr
    report = report_of(out)
    assert not report["complete"]
    assert 30 < len(report["files"]) < 60
    ended = program.run(sys.executable, *words(images, out, "--skip_existing"), code=3)
    assert len(report_of(out)["files"]) == 60


@pytest.mark.long
def test_reports_are_whole_at_any_moment(program: Program, client: MlflowClient, tmp_path: Path) -> None:
    """Read while the call works, and after a signal."""
    images, out, slow = make_images(tmp_path / "images", 400), tmp_path / "out", program.script(SLOW)
    seen = set()
    with program.start(sys.executable, *words(images, out, script=slow)) as command:
        progress(command, out, 1)
        deadline = time.monotonic() + 8
        while command.running and time.monotonic() < deadline:
            report = json.loads((out / "report.json").read_text())
            seen.add(len(report["files"]))
            assert not report["complete"] or len(report["files"]) == 400
            assert report["model"]["name"] == NAME
            with (out / "report.csv").open() as file:
                for row in csv.DictReader(file):
                    assert row["version"] == "1"
        if command.running:
            command.process.send_signal(signal.SIGTERM)
        ended = command.end()
    assert ended.returncode in (3, 143)
    assert len(seen) > 1
    report = report_of(out)
    assert len(report["files"]) == len(index_entries(out))


@pytest.mark.long
def test_two_calls_in_one_folder(program: Program, client: MlflowClient, tmp_path: Path) -> None:
    images, out, slow = make_images(tmp_path / "images", 60), tmp_path / "out", program.script(SLOW)
    with program.start(sys.executable, *words(images, out, script=slow), PAUSE_S="2") as command:
        progress(command, out, 1)
        ended = program.run(sys.executable, *words(images, out), code=2)
        assert "another predict.py is writing there" in ended.stderr
        command.process.send_signal(signal.SIGTERM)
        assert command.end().returncode == 143
    assert 0 < len(report_of(out)["files"]) < 60
