"""The command that evaluates: its numbers, its run, what it refuses, and that processes change nothing."""

import csv
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

from tests.support import runs
from tests.support.discs import make_discs, mean_iou
from tests.support.mlflow_server import Server
from tests.support.program import Ended, Program, launcher
from trainer.data.checks.scan import hash_pixels
from trainer.data.image_io import read_image, read_mask
from trainer.engine.evaluation_command import FILES
from trainer.model.model_folder import load_segmenter, save_segmenter
from trainer.model.score_table import read_table
from trainer.model.segmenter import Contract, Segmenter
from trainer.model.training_images import of_hashes, write_training_images

IMAGES = 12
ONE = ["--tracking.enabled", "false"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with an odd name; its masks call the disc so."""
    root = make_discs(tmp_path_factory.mktemp("data") / "my 'discs' ä", count=IMAGES)
    (root / "class_names.txt").write_text("_background_\ndisc\n")
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folder: what is bright is a disc, more or less."""
    torch.manual_seed(3)
    contract = Contract(
        ("_background_", "disc"), ((0, 0, 0), (0, 128, 0)), 32, width=8, depth=2, dataset_digest="theirs"
    )
    segmenter = Segmenter(contract)
    segmenter.train()
    with torch.no_grad():
        for _ in range(20):
            segmenter(torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8))
        segmenter.network.last.weight *= 20
    folder = tmp_path_factory.mktemp("model") / "step-3"
    save_segmenter(segmenter.eval(), folder)
    return folder


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, empty_store: Path, model: Path) -> Program:
    """The program with one registered model, discs, which a run of the experiment `my cats` has trained."""
    made = Program(tmp_path_factory.mktemp("evaluated") / "program", tables=empty_store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", made.store)  # MLflow resolves the source of a version with it
        register(MlflowClient(made.store), made, model)
    return made


def register(client: MlflowClient, made: Program, model: Path) -> None:
    """Register the model as training does."""
    experiment = client.create_experiment("my cats", (made.folder / "mlruns" / "artifacts").as_uri())
    run = client.create_run(experiment, run_name="the training")
    logged = client.create_logged_model(experiment, "discs", source_run_id=run.info.run_id)
    client.log_model_artifacts(logged.model_id, str(model))
    client.finalize_logged_model(logged.model_id, "READY")
    client.create_registered_model("discs")
    client.create_model_version("discs", f"models:/{logged.model_id}", run.info.run_id, model_id=logged.model_id)
    client.set_registered_model_alias("discs", "champion", "1")
    client.set_terminated(run.info.run_id)


@pytest.fixture(scope="module")
def ends(program: Program, data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """Ends of one call after the other."""
    top = tmp_path_factory.mktemp("inputs")
    (top / "empty").mkdir()
    (top / "file").write_text("")
    (top / "tables").mkdir()
    (top / "tables" / "images.csv").write_text("image,mask\n")
    (top / "tables" / "summary.json").write_text('{"miou": 1}')
    (top / "link").symlink_to(data)
    damaged, others, two = (Path(shutil.copytree(data, top / name)) for name in ("damaged", "others", "two"))
    (damaged / "JPEGImages" / "disc_05.jpg").write_bytes((data / "JPEGImages" / "disc_05.jpg").read_bytes()[:300])
    (others / "class_names.txt").write_text("_background_\nball\n")
    (two / "class_names.txt").write_text("_background_\nball\nDisc\n")
    for file in (two / "SegmentationClassPNG").iterdir():
        mask = 2 * np.array(Image.open(file))
        mask[:4] = 1
        Image.fromarray(mask.astype(np.uint8)).save(file)
    deleted = MlflowClient(program.store).create_experiment("deleted")
    MlflowClient(program.store).delete_experiment(deleted)
    learnt = Path(shutil.copytree(model, top / "learnt"))
    write_training_images(learnt, of_hashes([hash_pixels(read_image(data / "JPEGImages" / "disc_07.jpg"))]))
    champion, root = ["--model", "models:/discs@champion"], ["--data.root", str(data)]
    calls = {
        "champion": [*champion, *root, "--output", str(program.folder / "out ä"), "--per_image"],
        "folder": ["--model", str(model), *root, *ONE, "--output", str(top / "twice")],
        "learnt": ["--model", str(learnt), *root, *ONE],
        "part": ["--model", str(model), *root, "--data.val_fraction", "0.25", *ONE, "--output", str(top / "twice")],
        "two classes": ["--model", str(model), "--data.root", str(two), *ONE],
        "no model": ["--model", "models:/nothing@champion", *root],
        "no folder": ["--model", str(top / "nowhere"), *root],
        "no data": [*champion, "--data.root", str(top / "nowhere")],
        "no picture": [*champion, "--data.root", str(top / "empty")],
        "damaged picture": [*champion, "--data.root", str(damaged)],
        "other classes": [*champion, "--data.root", str(others)],
        "no place": [*champion, *root, "--output", str(top / "file" / "out")],
        "in the data": [*champion, *root, "--output", str(data)],
        "in a part of the data": [*champion, *root, "--output", str(top / "link" / "new")],
        "over other files": [*champion, *root, "--output", str(top / "tables")],
        "deleted experiment": [*champion, *root, "--tracking.experiment", "deleted"],
    }
    return program.in_one_process("evaluate", calls)


def evaluation_runs(program: Program) -> list[Any]:
    return runs.store_runs(MlflowClient(program.store), "tags.kind = 'evaluation'")


def test_the_score_is_that_of_the_masks(program: Program, data: Path, model: Path, ends: dict[str, Ended]) -> None:
    ended = ends["champion"]
    assert ended.returncode == 0, ended.output
    segmenter = load_segmenter(model)
    masks = [read_mask(file) for file in sorted((data / "SegmentationClassPNG").iterdir())]
    predicted = [segmenter.predict(read_image(file))[0] for file in sorted((data / "JPEGImages").iterdir())]
    expected = mean_iou(masks, predicted)
    summary = json.loads((program.folder / "out ä" / "summary.json").read_text())
    assert summary["miou"]["value"] == pytest.approx(expected, abs=1e-12)
    assert 0 < summary["miou"]["low"] < expected < summary["miou"]["high"] < 1
    assert f"mIoU {expected:.3f} [" in ended.stdout
    with (program.folder / "out ä" / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row, mask, found in zip(rows, masks, predicted, strict=True):
        assert float(row["iou"]) == pytest.approx(mean_iou([mask], [found]), abs=1e-6)
    assert [row["image"] for row in rows] == [f"disc_{number:02}" for number in range(IMAGES)]
    lines = [line.split() for line in ended.stdout.splitlines() if line.startswith("disc_")]
    assert [float(line[1]) for line in lines] == sorted(round(float(row["iou"]), 4) for row in rows)
    for name in ("precision_recall", "calibration", "confusion", "sizes", "worst", "best"):
        assert min(Image.open(program.folder / "out ä" / f"{name}.png").size) > 300, name
    assert {file.name for file in (program.folder / "out ä").iterdir()} == set(FILES)


def test_one_run_is_left_and_it_is_linked(program: Program, ends: dict[str, Ended]) -> None:
    """To the version, its model, the run that trained it and the data; of all calls one has recorded something."""
    assert ends["champion"].returncode == 0
    client = MlflowClient(program.store)
    (found,) = evaluation_runs(program)
    assert len(runs.store_runs(client)) == 2  # and the training
    run = client.get_run(found.info.run_id)
    version = client.get_model_version("discs", "1")
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "my cats"
    tags = run.data.tags
    assert (tags["evaluation.model"], tags["evaluation.version"]) == ("models:/discs/1", "1")
    assert tags["evaluation.run_id"] == version.run_id
    assert tags["data"] == "my 'discs' ä"
    assert tags["mlflow.source.name"] == "trainer/evaluate.py"
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.digest, dataset.tags[0].value) == (tags["data.digest"], "evaluation")
    model_id = version.source.removeprefix("models:/")
    assert [one.model_id for one in run.inputs.model_inputs] == [model_id]
    scores = {metric.key: metric for metric in client.get_logged_model(model_id).metrics}
    assert scores["evaluation/miou"].value == run.data.metrics["evaluation/miou"]
    assert scores["evaluation/miou"].dataset_digest == tags["data.digest"]
    assert len(run.data.params) <= 8
    table = read_table(Path(client.download_artifacts(run.info.run_id, "evaluation/scores.json")))
    assert table.digest == tags["evaluation.digest"]
    assert table.scores().miou == run.data.metrics["evaluation/miou"]
    assert table.model["dataset_digest"] == "theirs"
    assert tags["mlflow.note.content"].startswith("**mIoU ")


def test_the_ui_has_a_table_of_the_images(
    program: Program, ends: dict[str, Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `MlflowClient.log_table` would have written it: `load_table` finds it by the tag that the UI reads."""
    assert ends["champion"].returncode == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", program.store)
    (run,) = evaluation_runs(program)
    client = MlflowClient(program.store)
    table = client.load_table(run.info.experiment_id, "evaluation/images.json", [run.info.run_id])
    assert list(table["image"]) == [f"disc_{number:02}" for number in range(IMAGES)]
    assert table["iou"].dtype == float
    classes = client.load_table(run.info.experiment_id, "evaluation/classes.json", [run.info.run_id])
    assert list(classes["class"]) == ["disc"]
    assert classes["iou"][0] == pytest.approx(run.data.metrics["evaluation/miou"], abs=1e-6)


def test_a_part_is_evaluated_only_where_it_is_asked_for(program: Program, ends: dict[str, Ended]) -> None:
    assert "on 12 images" in ends["folder"].stdout
    assert ends["part"].returncode == 0, ends["part"].output
    assert "on 3 images" in ends["part"].stdout
    folders = sorted((program.folder / "mlruns" / "evaluations").iterdir())
    assert len(folders) == 5
    assert all(runs.status(folder)["state"] == "finished" for folder in folders)


def test_images_that_have_trained_the_model_are_said(program: Program, ends: dict[str, Ended]) -> None:
    assert "whether these pictures have trained the model is not known" in ends["champion"].stdout
    assert "1 of 12 pictures have trained the model" in ends["learnt"].stdout
    folders = sorted((program.folder / "mlruns" / "evaluations").iterdir())
    summaries = [json.loads((folder / "evaluation" / "summary.json").read_text()) for folder in folders]
    assert [summary["trained_images"] for summary in summaries].count(1) == 1
    for folder, summary in zip(folders, summaries, strict=True):
        if summary["trained_images"]:
            with (folder / "evaluation" / "images.csv").open() as file:
                assert [row["image"] for row in csv.DictReader(file) if row["trained"] == "True"] == ["disc_07"]


def test_classes_are_matched_by_name(ends: dict[str, Ended]) -> None:
    """The disc is class 2 in these masks, and the model does not know the ball."""
    ended = ends["two classes"]
    assert ended.returncode == 0, ended.output
    assert "ball: not known to the model, and background in this evaluation" in ended.stdout
    (folder,) = [line.removeprefix("files: ") for line in ended.stdout.splitlines() if line.startswith("files: ")]
    table = read_table(Path(folder) / "scores.json")
    assert table.class_names == ("_background_", "disc")
    assert all(image.counts[1][2] > 0 for image in table.images)
    assert len({image.mask for image in table.images}) == IMAGES


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("no model", "models:/nothing@champion: no such model"),
        ("no folder", "nowhere"),
        ("no data", "nowhere"),
        ("no picture", "empty"),
        ("damaged picture", "disc_05.jpg"),
        (
            "other classes",
            "the model knows disc, and the masks show ball: none is in both; if they mean",
        ),
        ("no place", "out: cannot be written (Not a directory); give another --output"),
        ("in the data", "in the data folder"),
        ("in a part of the data", "where the results could be taken for data; give a folder outside of it"),
        ("over other files", "tables: holds summary.json, which no evaluation has written and which would be replaced"),
        ("deleted experiment", "'deleted' was deleted in MLflow"),
    ],
)
def test_what_cannot_work_is_said_before_any_work(call: str, text: str, ends: dict[str, Ended]) -> None:
    ended = ends[call]
    assert ended.returncode == 2, ended.output
    assert ended.stderr.startswith("evaluate.py: ")
    assert text in ended.stderr
    assert "Traceback" not in ended.output


def test_only_files_of_an_evaluation_are_replaced(data: Path, ends: dict[str, Ended]) -> None:
    """Neither those of the data nor tables of another program."""
    assert not set(FILES) & {file.name for file in data.iterdir()}
    assert not (data / "new").exists()
    (files,) = [line for line in ends["folder"].stdout.splitlines() if line.startswith("files: ")]
    assert files in ends["part"].stdout
    twice = Path(files.removeprefix("files: "))
    assert json.loads((twice / "summary.json").read_text())["images"] == 3
    tables = twice.with_name("tables")
    assert [file.read_text() for file in sorted(tables.iterdir())] == ["image,mask\n", '{"miou": 1}']


def scores(folder: Path) -> dict[str, bytes]:
    """Files of an evaluation that hold numbers, without the time and the run."""
    return {name: (folder / name).read_bytes() for name in ("scores.json", "images.csv", "classes.csv", "images.json")}


@pytest.mark.long
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_change_nothing(processes: int, program: Program, data: Path, model: Path, tmp_path: Path) -> None:
    """Real ones, by Accelerate's launcher, with a tracked run: one run, and the same bytes."""
    before = len(evaluation_runs(program))
    words = ["trainer/evaluate.py", "--model", str(model), "--data.root", str(data), "--output"]
    program.run(sys.executable, *words, str(tmp_path / "one"), *ONE, code=0)
    launched = launcher("multi_cpu", "--num_processes", f"{processes}")
    program.run(*launched, *words, str(tmp_path / "several"), code=0, timeout_s=900)
    assert scores(tmp_path / "several") == scores(tmp_path / "one")
    one, several = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("one", "several"))
    assert one == several
    assert len(evaluation_runs(program)) == before + 1


SLOW = """
import time
from trainer import evaluate
from trainer.engine import outputs, score_images

count = outputs.count_image

def slowly(*arguments):
    open("counting", "w").close()
    time.sleep(3)
    return count(*arguments)

score_images.count_image = slowly
evaluate.leave(evaluate.main())
"""


@pytest.mark.long
@pytest.mark.parametrize(("processes", "number"), [(1, signal.SIGTERM), (2, signal.SIGTERM), (1, signal.SIGKILL)])
def test_one_that_is_stopped_leaves_nothing(
    processes: int, number: signal.Signals, program: Program, data: Path
) -> None:
    """Neither a run nor a folder, and it can be called again."""
    folders = sorted((program.folder / "mlruns" / "evaluations").glob("*"))
    before = len(evaluation_runs(program))
    (program.folder / "counting").unlink(missing_ok=True)
    start = [sys.executable] if processes == 1 else launcher("multi_cpu", "--num_processes", "2")
    words = [*start, program.script(SLOW), "--model", "models:/discs@champion", "--data.root", str(data)]
    with program.start(*words) as command:
        command.wait_for((program.folder / "counting").exists, "the first image", 600)
        command.signal(number)
        ended = command.end(600)
    assert ended.returncode != 0
    if number == signal.SIGTERM:
        assert ended.stderr.count("evaluate.py: stopped") == 1
    if processes == 1 and number == signal.SIGTERM:
        assert ended.returncode == 143
        assert "Traceback" not in ended.output
    assert sorted((program.folder / "mlruns" / "evaluations").glob("*")) == folders
    assert len(evaluation_runs(program)) == before


@pytest.mark.long
def test_a_server_that_is_away(program: Program, data: Path, model: Path, tmp_path: Path, empty_store: Path) -> None:
    """At the start it is asked for, unless it may be away; then sync.py sends the run, once."""
    server = Server(tmp_path / "server", tables=empty_store)
    words = ["--model", str(model), "--data.root", str(data)]
    refused = program.python("evaluate", *words, code=2, MLFLOW_TRACKING_URI=server.uri)
    assert "--tracking.required false" in refused.stderr
    program.python("evaluate", *words, "--tracking.required", "false", code=0, MLFLOW_TRACKING_URI=server.uri)
    server.start()
    try:
        for _ in range(2):
            program.python("sync", code=0, MLFLOW_TRACKING_URI=server.uri)
        (run,) = runs.store_runs(MlflowClient(server.uri))
        assert run.data.tags["kind"] == "evaluation"
        assert run.info.status == "FINISHED"
        names = {item.path for item in MlflowClient(server.uri).list_artifacts(run.info.run_id, "evaluation")}
        assert {"evaluation/images.json", "evaluation/worst.png"} <= names
    finally:
        server.kill()
