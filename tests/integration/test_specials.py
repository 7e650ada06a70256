"""Pipes, devices, sockets and links in a circle among a folder's files: each is named, and nothing waits for them."""

import json
import os
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.discs import make_discs
from tests.support.program import Program
from trainer.model.model_folder import CONTRACT_FILE, WEIGHTS_FILE, save_segmenter
from trainer.model.segmenter import Contract, Segmenter

LIMITED = ["bash", "-c", 'ulimit -v 8000000; exec timeout 60 "$@"', "bash", sys.executable]
"""Start of a command with 8 GB of address space and a minute."""


def plant(folder: Path) -> list[str]:
    """Put what is not a file into a folder of pictures, under names of pictures."""
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "circle.png").symlink_to("circle.png")
    place = os.getcwd()
    os.chdir(folder)  # a socket's path may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("socket.png")
    finally:
        os.chdir(place)
    return ["circle.png", "pipe.png", "socket.png", "zero.png"]


def special_files(report: Path) -> list[str]:
    """Files that a report counts as pipes, devices and broken links."""
    entries = json.loads(report.read_text())["left_out"]
    return [file for entry in entries if "pipe" in entry["reason"] for file in entry["files"] if "JPEG" in file]


@pytest.mark.timeout(200)
def test_what_is_no_file_is_named_by_check_and_predict(tmp_path: Path) -> None:
    program, data = Program(tmp_path / "program"), make_discs(tmp_path / "data", count=6)
    model = tmp_path / "model"
    save_segmenter(Segmenter(Contract(("_background_", "disc"), ((0, 0, 0), (0, 128, 0)), 32, width=8)), model)
    images, masks = data / "JPEGImages", next(data.glob("SegmentationClass*"))
    planted = plant(images)
    for name in planted:
        shutil.copy(next(masks.glob("[!.]*.png")), tmp_path / "mask.png")
        shutil.copy(tmp_path / "mask.png", masks / name)
    report = tmp_path / "check.json"
    checked = program.run(*LIMITED, "trainer/prepare.py", "check", str(data), "--json", str(report), code=2)
    assert "a pipe, device or broken link" in checked.output
    assert set(planted) == {Path(file).name for file in special_files(report)}
    output = tmp_path / "output"
    arguments = ["--model", str(model), "--input", str(images), "--output", str(output)]
    predicted = program.run(*LIMITED, "trainer/predict.py", *arguments, code=0)
    assert "Traceback" not in checked.output + predicted.output
    assert len(list((output / "masks").iterdir())) == 6
    assert set(planted) == {Path(file).name for file in special_files(output / "report.json")}
    named = ["--model", str(model), "--input", *(str(images / name) for name in planted), "--output", str(output)]
    refused = program.run(*LIMITED, "trainer/predict.py", *named, code=2)
    assert planted[0] in refused.output


@pytest.mark.timeout(200)
@pytest.mark.long
def test_a_hostile_model_is_refused_by_predict_and_init(tmp_path: Path) -> None:
    program, data = Program(tmp_path / "program"), make_discs(tmp_path / "data", count=6)
    model = tmp_path / "model"
    save_segmenter(Segmenter(Contract(("_background_", "disc"), ((0, 0, 0), (0, 128, 0)), 32, width=8)), model)
    text = (model / CONTRACT_FILE).read_text()
    (model / CONTRACT_FILE).write_text(text.replace('"depth": 4', '"depth": 50'))
    said = f"{model / CONTRACT_FILE}: depth: 50 is not possible; it may be a whole number from 1 to 7"
    arguments = ["--model", str(model), "--input", str(data / "JPEGImages"), "--output", str(tmp_path / "output")]
    assert said in " ".join(program.run(*LIMITED, "trainer/predict.py", *arguments, code=2).output.split())
    training = ["--data.root", str(data), "--tracking.enabled", "false", "--model.init", str(model)]
    assert said in " ".join(program.run(*LIMITED, "trainer/train.py", *training, code=2).output.split())
    (model / CONTRACT_FILE).write_text(text)
    (model / WEIGHTS_FILE).unlink()
    os.mkfifo(model / WEIGHTS_FILE)
    refused = program.run(*LIMITED, "trainer/predict.py", *arguments, code=2)
    assert WEIGHTS_FILE in refused.output


@pytest.mark.long
@pytest.mark.timeout(600)
def test_sixteen_images_of_178_megapixels_take_2_gib(tmp_path: Path) -> None:
    program, data = Program(tmp_path / "program"), tmp_path / "data"
    for part in ("images", "masks"):
        (data / part).mkdir(parents=True)
    side = 13_350
    image = Image.new("1", (side, side))
    image.save(data / "images" / "p0.png")
    assert (data / "images" / "p0.png").stat().st_size < 30_000
    image.paste(1, (0, 0, side, side // 2))
    image.save(data / "masks" / "p0.png")
    for number in range(1, 16):
        for part in ("images", "masks"):
            shutil.copy(data / part / "p0.png", data / part / f"p{number}.png")
    model = tmp_path / "model"
    save_segmenter(Segmenter(Contract(("_background_", "disc"), ((0, 0, 0), (0, 128, 0)), 256)), model)
    measure = (
        "import resource, runpy, sys; sys.argv = sys.argv[1:]\ntry: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    measure += "finally: print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    for arguments in (
        ["trainer/prepare.py", "check", str(data)],
        [
            "trainer/predict.py",
            "--model",
            str(model),
            "--input",
            str(data / "images"),
            "--output",
            str(tmp_path / "out"),
        ],
    ):
        ended = program.run(sys.executable, "-c", measure, *arguments, code=0, timeout_s=500)
        assert int(ended.output.rpartition("PEAK")[2].split()[0]) < 2048
    with Image.open(tmp_path / "out" / "masks" / "p3.png") as mask:
        assert np.unique(np.asarray(mask.resize((100, 100)))).size <= 2
