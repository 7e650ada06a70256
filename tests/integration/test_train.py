"""The training command in real processes: its run, its model, its exit code."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from tests.support import runs
from tests.support.discs import make_discs, mean_iou
from tests.support.program import TINY, Ended, Program, train_command
from trainer.model.score_table import read_table

EPOCHS, STEPS = 50, 100
FLOAT32 = ["--train.mixed_precision", "no", "--train.threads", "1", "--data.augment", "light"]
LEARNING = ["--train.epochs", f"{EPOCHS}", "--train.eval_every", "2", "--optim.lr", "0.01", *FLOAT32]
LEARNING += ["--model.encoder", "efficientnet-lite0"]
"""Settings with which val/miou reaches 0.98, however a processor rounds."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_discs(tmp_path_factory.mktemp("data") / "discs")
    (root / "class_names.txt").write_text("_background_\ndisc\n")
    return root


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Program:
    """The program whose first run is `trained`."""
    return Program(tmp_path_factory.mktemp("trained") / "program", tables=empty_store)


@pytest.fixture(scope="module")
def trained(program: Program, data: Path) -> Ended:
    """End of one ordinary run on one process, which registered champion 1."""
    return program.train("--data.root", str(data), *LEARNING, code=0)


def client(program: Program) -> MlflowClient:
    return MlflowClient(program.store)


def only_run(program: Program) -> Any:
    """The one MLflow run of a program's run folder."""
    (folder,) = program.run_folders()
    return runs.store_run(program.database, folder)


@pytest.fixture(scope="module")
def first_run(program: Program, trained: Ended) -> Any:
    """MLflow run of `trained`."""
    return runs.store_run(program.database, program.run_folders()[0])


def test_the_run_is_finished_and_complete(program: Program, first_run: Any) -> None:
    assert first_run.info.status == "FINISHED"
    history = runs.store_points(program.database, first_run)
    for key in ("train/loss", "train/lr", "train/grad_norm", "train/images_per_second"):
        assert [step for step, _, _ in history[key]] == list(range(1, STEPS + 1)), key
    for key in ("val/loss", "val/miou", "val/dice", "val/iou/disc", "time/evaluation_s"):
        assert [step for step, _, _ in history[key]] == list(range(0, STEPS + 1, 4)), key
    params = first_run.data.params
    assert params["optim.lr"] == "0.01"
    assert len(params) <= 8  # the UI prints all of them above each picture
    tags = first_run.data.tags
    assert tags["hardware.processes"] == "1"
    assert "versions.torch" in tags
    assert tags["data.digest"] == first_run.inputs.dataset_inputs[0].dataset.digest
    artifacts = {item.path for item in client(program).list_artifacts(first_run.info.run_id)}
    assert {"config.yaml", "split.json", "images"} <= artifacts


def test_the_scores_of_each_image_are_an_artifact(program: Program, first_run: Any, data: Path, tmp_path: Path) -> None:
    """Of the registered model on the validation images: their pooled counts are its score."""
    table = read_table(Path(client(program).download_artifacts(first_run.info.run_id, "evaluation/scores.json")))
    (folder,) = program.run_folders()[:1]
    assert [image.name for image in table.images] == json.loads((folder / "split.json").read_text())["val"]
    assert table.scores().miou == first_run.data.metrics["best/miou"]
    assert first_run.data.tags["evaluation.digest"] == table.digest
    assert table.model["run_id"] == first_run.info.run_id
    assert first_run.data.metrics["evaluation/miou"] == first_run.data.metrics["best/miou"]
    names = {Path(item.path).name for item in client(program).list_artifacts(first_run.info.run_id, "evaluation")}
    tables = {"summary.json", "images.json", "images.csv", "classes.json", "classes.csv", "scores.json"}
    drawn = {"precision_recall.png", "calibration.png", "sizes.png", "confusion.png", "worst.png", "best.png"}
    assert names == tables | drawn
    listed = json.loads(first_run.data.tags["mlflow.loggedArtifacts"])
    assert [one["path"] for one in listed] == ["evaluation/images.json", "evaluation/classes.json"]
    summary = json.loads((folder / "evaluation" / "summary.json").read_text())
    assert summary["trained_images"] == 0
    for image in table.images:
        mask = np.array(Image.open(data / "SegmentationClassPNG" / f"{image.name}.png"))
        assert [row[2] for row in image.counts] == [(mask == number).sum() for number in (0, 1)]


def test_watched_images_have_a_step_and_a_thumbnail(program: Program, first_run: Any) -> None:
    assert first_run.data.tags["mlflow.loggedImages"] == "True"
    names = [Path(item.path).name for item in client(program).list_artifacts(first_run.info.run_id, "images")]
    watched = {name.split("+step+")[0] for name in names}
    assert "augmented" in watched
    drawn = {series: {name for name in watched if name.startswith(f"{series}~disc_")} for series in ("watch", "best")}
    assert [len(names) for names in drawn.values()] == [2, 2]
    assert len(watched) == 5
    for key in drawn["best"]:  # under one step, which the UI shows without its slider
        assert {name.split("+")[2] for name in names if name.startswith(key + "+")} == {"0"}
    for key in drawn["watch"]:
        steps = {int(name.split("+")[2]) for name in names if name.startswith(key + "+")}
        assert {0, STEPS} <= steps
    assert len([name for name in names if name.endswith(".png")]) == len([n for n in names if n.endswith(".webp")])


def test_a_model_page_shows_its_scores_its_data_and_a_description(program: Program, first_run: Any) -> None:
    api = client(program)
    version = api.get_model_version_by_alias("discs", "champion")
    model = api.get_logged_model(version.source.removeprefix("models:/"))
    scores = {metric.key: metric for metric in model.metrics}
    assert scores["best/miou"].value == float(version.tags["val/miou"]) == first_run.data.metrics["best/miou"]
    assert "best/iou/disc" in scores
    assert scores["best/miou"].dataset_digest == first_run.data.tags["data.digest"][:36]
    assert version.description.startswith("mIoU ")
    assert first_run.data.tags["mlflow.note.content"] == version.description
    assert len(runs.store_points(program.database, first_run)["best/miou"]) == 1


def test_the_version_names_its_run_and_data(program: Program, first_run: Any) -> None:
    version = client(program).get_model_version_by_alias("discs", "champion")
    assert version.version in (1, "1")
    assert version.run_id == first_run.info.run_id == version.tags["run_id"]
    assert version.tags["dataset_digest"] == first_run.data.tags["data.digest"]
    best = max(value for _, _, value in runs.store_points(program.database, first_run)["val/miou"])
    assert float(version.tags["val/miou"]) == pytest.approx(best, abs=1e-12)
    assert best > 0.5, "nothing was learnt, so nothing below is tested"
    assert version.tags["promotion.promoted"] == "True"


def test_the_last_line_shows_how_to_look_at_the_run(program: Program, trained: Ended) -> None:
    assert trained.stdout.strip().splitlines()[-1].endswith("bash launch/ui.sh")
    status = runs.status(program.run_folders()[0])
    assert (status["state"], status["exit_code"]) == ("finished", 0)


@pytest.fixture(scope="module")
def odd_images() -> np.ndarray:
    """Three images of discs of another size than in training, uint8 [3, 41, 67, 3]."""
    random = np.random.default_rng(3)
    rows, columns = np.mgrid[:41, :67]
    discs = [(rows - y) ** 2 + (columns - x) ** 2 < r**2 for y, x, r in random.integers(8, 35, (3, 3))]
    images = [random.integers(0, 90, (41, 67, 3)) + 140 * disc[..., None] for disc in discs]
    return np.stack(images).astype(np.uint8)


@pytest.fixture(scope="module")
def predicted(
    tmp_path_factory: pytest.TempPathFactory, program: Program, first_run: Any, data: Path, odd_images: np.ndarray
) -> Path:
    """Folder of the masks that predict.py writes with the champion, of all images of `data` and of `odd_images`."""
    top = tmp_path_factory.mktemp("predicted")
    for number, image in enumerate(odd_images):
        Image.fromarray(image).save(top / f"{number}.png")
    inputs = [str(data / "JPEGImages"), *(str(top / f"{number}.png") for number in range(len(odd_images)))]
    arguments = ["--model", "models:/discs@champion", "--input", *inputs, "--output", str(top / "out")]
    program.python("predict", *arguments, code=0)
    return top / "out" / "masks"


def test_predictions_score_what_training_logged(program: Program, first_run: Any, predicted: Path, data: Path) -> None:
    """The score in the registry is that of the mask files that predict.py writes, counted in numpy."""
    version = client(program).get_model_version_by_alias("discs", "champion")
    held_out = json.loads((program.run_folders()[0] / "split.json").read_text())["val"]
    masks = [np.array(Image.open(data / "SegmentationClassPNG" / f"{name}.png")) for name in held_out]
    found = [np.array(Image.open(predicted / f"{name}.png")) for name in held_out]
    assert mean_iou(masks, found) == pytest.approx(float(version.tags["val/miou"]), abs=1e-9)


ELSEWHERE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "trainer":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import mlflow, numpy
images = numpy.load(sys.argv[1])
numpy.save(sys.argv[2], mlflow.pyfunc.load_model("models:/discs@champion").predict(images))
"""


def test_any_mlflow_tool_can_use_the_model(
    program: Program, predicted: Path, odd_images: np.ndarray, tmp_path: Path
) -> None:
    """pyfunc, in a process without the `trainer` package, on a batch of odd size, agrees with predict.py."""
    np.save(tmp_path / "images.npy", odd_images)
    paths = [str(tmp_path / name) for name in ("images.npy", "probabilities.npy")]
    program.run(sys.executable, "-c", ELSEWHERE, *paths, MLFLOW_TRACKING_URI=program.store, code=0)
    probabilities = np.load(tmp_path / "probabilities.npy")
    assert (probabilities.shape, probabilities.dtype) == ((3, 1, 41, 67), np.float32)
    masks = np.stack([np.array(Image.open(predicted / f"{number}.png")) for number in range(3)])
    assert ((probabilities[:, 0] > 0.5) == masks).mean() >= 0.999
    assert 0 < masks.mean() < 1


@pytest.mark.long
def test_two_processes_make_one_run_and_the_same_numbers(data: Path, tmp_path: Path) -> None:
    both = Program(tmp_path / "both")
    arguments = [*TINY, "--data.root", str(data), "--model.norm", "group", *LEARNING]
    both.run(*train_command(2, *arguments), code=0)
    assert only_run(both).info.status == "FINISHED"
    assert only_run(both).data.tags["hardware.processes"] == "2"
    assert len(client(both).search_model_versions("name = 'discs'")) == 1
    alone = Program(tmp_path / "alone")
    alone.run(*train_command(1, *arguments), code=0)
    tolerances = {"train/loss": 1e-5, "train/grad_norm": 1e-4, "train/lr": 0, "val/loss": 1e-3}  # val: of the EMA
    found, expected = (runs.curves(one.run_folders()[0]) for one in (both, alone))
    for key, tolerance in tolerances.items():
        # The first steps: later ones carry the rounding of the earlier.
        values = [value for _, value in expected[key][:2]]
        assert [value for _, value in found[key][:2]] == pytest.approx(values, rel=tolerance), key


@pytest.mark.long
def test_a_worse_model_is_registered_but_not_promoted(program: Program, first_run: Any, data: Path) -> None:
    worse = ["--train.epochs", "8", "--optim.lr", "0.01", "--tracking.run_name", "worse"]
    ended = program.train("--data.root", str(data), *worse, *FLOAT32, code=0)
    assert str(client(program).get_model_version_by_alias("discs", "champion").version) == "1"
    newest = client(program).get_model_version("discs", "2")
    assert newest.tags["promotion.promoted"] == "False"
    assert float(newest.tags["promotion.candidate_miou"]) <= float(newest.tags["promotion.champion_miou"])
    assert "models:/discs/2" in ended.stdout


def test_sigterm_stops_at_a_step_boundary(program: Program, first_run: Any, data: Path) -> None:
    before = program.run_folders()
    words = train_command(1, *TINY, "--data.root", str(data), "--train.epochs", "100000")
    with program.start(*words) as training:
        condition = lambda: program.newest_run(lambda run: run not in before and (run / "pictures").exists())  # noqa: E731
        folder = training.wait_for(condition, "an image")
        training.process.send_signal(signal.SIGTERM)
        ended = training.end(60)
    assert ended.returncode == 143, ended.output
    assert runs.store_run(program.database, folder).info.status == "KILLED"
    assert program.status()["state"] == "preempted"
    assert runs.checkpoints(folder)


@pytest.mark.long
def test_starting_from_a_registered_model_and_stopping_early(program: Program, first_run: Any, data: Path) -> None:
    """The first evaluation is the other model's last; a learning rate that changes nothing never gets better."""
    version = client(program).get_model_version_by_alias("discs", "champion")
    start = ["--data.root", str(data), "--model.init", "models:/discs@champion", "--tracking.enabled", "false"]
    stop = ["--optim.lr", "1e-9", "--train.patience", "2", "--model.norm", "batch"]
    ended = program.train(*start, *stop, *FLOAT32, code=0)
    table = ended.stdout[ended.stdout.index("val mIoU") :].splitlines()[1:]
    rows = [line.split() for line in table if line.split()[:1] and line.split()[0].isdecimal()]
    assert float(rows[0][4]) == pytest.approx(float(version.tags["val/miou"]), abs=1e-4)
    assert int(rows[-1][0]) < 100 * 2  # of 3000 steps
    refused = program.train(*start, "--model.width", "16", code=2)
    assert "model.init" in refused.stderr


MASK_3 = "SegmentationClassPNG/disc_03.png"
BAD: dict[str, tuple[str, Callable[[Path], object]]] = {
    "missing": ("no such folder", lambda root: None),
    "empty": ("no images", lambda root: [path.unlink() for path in (root / "JPEGImages").iterdir()]),
    "no_mask": ("disc_03.jpg", lambda root: (root / MASK_3).unlink()),
    "other_size": ("20x20", lambda root: Image.new("L", (20, 20), 1).save(root / MASK_3)),
    "value_7": ("disc_03.png", lambda root: Image.new("L", (56, 48), 7).save(root / MASK_3)),
    "text": ("disc_03.jpg", lambda root: (root / "JPEGImages/disc_03.jpg").write_text("a letter")),
}
"""Part of the message, and what makes the data bad."""


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A program in which nothing is ever trained."""
    return Program(tmp_path_factory.mktemp("untouched") / "program")


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory, untouched: Program) -> dict[str, Ended]:
    """Ends of train.py on bad data, by case."""
    top, commands = tmp_path_factory.mktemp("bad"), {}
    for case, (_, damage) in BAD.items():
        if case != "missing":
            make_discs(top / case)
            damage(top / case)
        commands[case] = [*TINY, "--data.root", str(top / case)]
    return untouched.in_one_process("train", commands)


@pytest.mark.parametrize("case", BAD)
def test_bad_data_ends_with_code_2_and_the_file(case: str, refusals: dict[str, Ended], untouched: Program) -> None:
    ended = refusals[case]
    assert ended.returncode == 2
    assert ended.stderr.startswith("train.py: ")
    assert BAD[case][0] in ended.stderr
    assert untouched.run_folders() == []


@pytest.mark.long
def test_masks_of_0_and_255_end_with_the_line_that_trains(tmp_path: Path) -> None:
    root = make_discs(tmp_path / "scaled", values=(0, 255))
    program = Program(tmp_path / "program")
    arguments = ["--data.root", str(root), "--tracking.enabled", "false"]
    ended = program.train(*arguments, code=2)
    line = next(line.strip() for line in ended.stderr.splitlines() if "--data.value_map" in line)
    option, value = line.split(" ", 1)
    program.train(*arguments, "--train.epochs", "1", option, value.strip('"'), code=0)


def test_an_unreachable_server_is_refused_in_time(data: Path, untouched: Program) -> None:
    address = "http://someone:secret@127.0.0.1:9"
    ended = untouched.train("--data.root", str(data), MLFLOW_TRACKING_URI=address, timeout_s=60, code=2)
    assert "127.0.0.1:9" in ended.stderr
    assert "secret" not in ended.output
    assert "Traceback" not in ended.stderr
