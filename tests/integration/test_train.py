"""The training command in real processes: what it leaves behind, and how it ends."""

import json
import signal
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from tests.support.program import Program, make_voc, mean_iou

EPOCHS, STEPS = 50, 100
FLOAT32 = ["--train.mixed_precision", "no", "--train.threads", "1", "--data.augment", "light"]
LEARNING = ["--train.epochs", f"{EPOCHS}", "--train.eval_every", "2", "--optim.lr", "0.01", *FLOAT32]
"""Settings with which val/miou reaches 0.98, however a processor rounds."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_voc(tmp_path_factory.mktemp("data") / "discs")
    (root / "class_names.txt").write_text("_background_\ndisc\n")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Program:
    """One ordinary run on one process, and a second, worse one of the same model name."""
    program = Program(tmp_path_factory.mktemp("trained") / "program")
    result = program.train("--data.root", str(data), *LEARNING)
    assert result.returncode == 0, result.stdout + result.stderr
    program.output = result.stdout  # type: ignore[attr-defined]
    return program


def client(program: Program) -> MlflowClient:
    return MlflowClient(program.store)


def only_run(program: Program):
    runs = client(program).search_runs([one.experiment_id for one in client(program).search_experiments()])
    assert len(runs) == 1
    return runs[0]


def test_the_run_is_finished_and_complete(trained: Program) -> None:
    run = only_run(trained)
    assert run.info.status == "FINISHED"
    history = {key: client(trained).get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    for key in ("train/loss", "train/lr", "train/grad_norm", "train/images_per_second"):
        assert [point.step for point in history[key]] == list(range(1, STEPS + 1)), key
    for key in ("val/loss", "val/miou", "val/dice", "val/iou/disc", "time/evaluation_s"):
        assert [point.step for point in history[key]] == list(range(0, STEPS + 1, 4)), key
    assert run.data.params["optim.lr"] == "0.01"
    assert run.data.params["hardware.processes"] == "1"
    assert "versions.torch" in run.data.params
    assert run.data.params["data.digest"] == run.inputs.dataset_inputs[0].dataset.digest
    artifacts = {item.path for item in client(trained).list_artifacts(run.info.run_id)}
    assert {"config.yaml", "split.json", "images"} <= artifacts


def test_watch_pictures_have_a_step_and_a_thumbnail(trained: Program) -> None:
    run = only_run(trained)
    assert run.data.tags["mlflow.loggedImages"] == "True"
    names = [Path(item.path).name for item in client(trained).list_artifacts(run.info.run_id, "images")]
    watched = {name.split("+step+")[0] for name in names}
    assert {"augmented"} == {name for name in watched if not name.startswith("watch~disc_")}
    watched.remove("augmented")
    assert len(watched) == 2
    for key in watched:
        steps = {int(name.split("+")[2]) for name in names if name.startswith(key + "+")}
        assert {0, STEPS} <= steps
    assert len([name for name in names if name.endswith(".png")]) == len([n for n in names if n.endswith(".webp")])


def test_the_version_says_where_it_comes_from(trained: Program) -> None:
    version = client(trained).get_model_version_by_alias("cat-unet", "champion")
    run = only_run(trained)
    assert version.version in (1, "1")
    assert version.run_id == run.info.run_id == version.tags["run_id"]
    assert version.tags["dataset_digest"] == run.data.params["data.digest"]
    best = max(point.value for point in client(trained).get_metric_history(run.info.run_id, "val/miou"))
    assert float(version.tags["val/miou"]) == pytest.approx(best, abs=1e-12)
    assert best > 0.5, "nothing was learnt, so nothing below is tested"
    assert version.tags["promotion.promoted"] == "True"


def test_ends_by_saying_where_to_look(trained: Program) -> None:
    assert trained.output.strip().splitlines()[-1].endswith("bash launch/ui.sh")  # type: ignore[attr-defined]
    assert trained.status()["state"] == "finished"
    assert trained.status()["exit_code"] == 0


def test_predictions_score_what_training_logged(trained: Program, data: Path, tmp_path: Path) -> None:
    """The number in the registry is the number anyone gets who predicts and counts pixels."""
    version = client(trained).get_model_version_by_alias("cat-unet", "champion")
    held_out = json.loads((trained.run_folders()[0] / "split.json").read_text())["val"]
    pictures = [str(data / "JPEGImages" / f"{name}.jpg") for name in held_out]
    result = trained.python(
        "predict", "--model", "models:/cat-unet@champion", "--input", *pictures, "--output", str(tmp_path)
    )
    assert result.returncode == 0, result.stderr
    masks = [np.array(Image.open(data / "SegmentationClassPNG" / f"{name}.png")) for name in held_out]
    predicted = [np.array(Image.open(tmp_path / "masks" / f"{name}.png")) for name in held_out]
    assert mean_iou(masks, predicted) == pytest.approx(float(version.tags["val/miou"]), abs=1e-9)


ELSEWHERE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "trainer":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import mlflow, numpy
images = numpy.load(sys.argv[1])
numpy.save(sys.argv[2], mlflow.pyfunc.load_model("models:/cat-unet@champion").predict(images))
"""


def test_any_mlflow_tool_can_use_the_model(trained: Program, tmp_path: Path) -> None:
    """pyfunc, in a process that has no `trainer` package, on a batch of odd size: what predict.py says."""
    random = np.random.default_rng(3)
    rows, columns = np.mgrid[:41, :67]
    discs = [(rows - y) ** 2 + (columns - x) ** 2 < r**2 for y, x, r in random.integers(8, 35, (3, 3))]
    images = np.stack([random.integers(0, 90, (41, 67, 3)) + 140 * disc[..., None] for disc in discs]).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    paths = [str(tmp_path / name) for name in ("images.npy", "probabilities.npy")]
    result = trained.run(sys.executable, "-c", ELSEWHERE, *paths, MLFLOW_TRACKING_URI=trained.store)
    assert result.returncode == 0, result.stderr
    probabilities = np.load(tmp_path / "probabilities.npy")
    assert (probabilities.shape, probabilities.dtype) == ((3, 1, 41, 67), np.float32)
    inputs = [str(tmp_path / f"{number}.png") for number in range(3)]
    command = ("predict", "--model", "models:/cat-unet@champion", "--output", str(tmp_path / "out"), "--input", *inputs)
    assert trained.python(*command).returncode == 0
    masks = np.stack([np.array(Image.open(tmp_path / "out" / "masks" / f"{number}.png")) for number in range(3)])
    assert ((probabilities[:, 0] > 0.5) == masks).mean() >= 0.999
    assert 0 < masks.mean() < 1


@pytest.mark.long
def test_two_processes_make_one_run_and_the_same_numbers(trained: Program, data: Path, tmp_path: Path) -> None:
    program = Program(tmp_path / "program")
    result = program.launch("multi_cpu", "--data.root", str(data), "--model.norm", "group", *LEARNING)
    assert result.returncode == 0, result.stdout + result.stderr
    assert only_run(program).info.status == "FINISHED"
    assert only_run(program).data.params["hardware.processes"] == "2"
    assert len(client(program).search_model_versions("name = 'cat-unet'")) == 1
    alone = Program(tmp_path / "alone")
    assert alone.train("--data.root", str(data), "--model.norm", "group", *LEARNING).returncode == 0
    tolerances = {"train/loss": 1e-5, "train/grad_norm": 1e-4, "train/lr": 0, "val/loss": 1e-3}  # val: of the average
    for key, tolerance in tolerances.items():
        both = [
            [point.value for point in client(one).get_metric_history(only_run(one).info.run_id, key)]
            for one in (program, alone)
        ]
        # The first steps: later ones carry the rounding of the earlier.
        # The first steps: later ones carry the rounding of the earlier.
        assert both[0][:2] == pytest.approx(both[1][:2], rel=tolerance), key


def test_a_worse_model_is_registered_but_not_promoted(trained: Program, data: Path) -> None:
    result = trained.train(
        "--data.root", str(data), "--train.epochs", "1", "--optim.lr", "1e-7", *FLOAT32, "--tracking.run_name", "worse"
    )
    assert result.returncode == 0, result.stderr
    assert str(client(trained).get_model_version_by_alias("cat-unet", "champion").version) == "1"
    newest = client(trained).get_model_version("cat-unet", "2")
    assert newest.tags["promotion.promoted"] == "False"
    assert float(newest.tags["promotion.candidate_miou"]) <= float(newest.tags["promotion.champion_miou"])
    assert "models:/cat-unet/2" in result.stdout


def test_sigterm_stops_at_a_step_and_says_so(data: Path, tmp_path: Path) -> None:
    program = Program(tmp_path / "program")
    command = [sys.executable, "trainer/train.py", "--data.root", str(data), "--train.epochs", "100000"]
    process = program.start(*command, "--model.width", "8", "--data.image_size", "32")
    deadline = time.monotonic() + 120
    while not any(folder.joinpath("pictures").exists() for folder in program.run_folders()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, out + err
    assert only_run(program).info.status == "KILLED"
    assert program.status()["state"] == "preempted"
    assert list((program.run_folders()[0] / "checkpoints").glob("step-*"))


def test_a_failure_in_the_middle_is_told_truthfully(data: Path, tmp_path: Path) -> None:
    """A loss of NaN at step 3: stopped before the update, run FAILED, exit 1."""
    program = Program(tmp_path / "program")
    (program.folder / "wrapped.py").write_text(
        textwrap.dedent(
            """
            import sys
            import trainer.engine.step as step
            from trainer.train import main
            calls = []
            real = step.objective
            def broken(*arguments):
                calls.append(1)
                return tuple(part * (float("nan") if len(calls) == 3 else 1.0) for part in real(*arguments))
            step.objective = broken
            sys.exit(main(sys.argv[1:]))
            """
        )
    )
    result = program.run(
        sys.executable, "wrapped.py", "--data.root", str(data), "--model.width", "8", "--data.image_size", "32"
    )
    assert result.returncode == 1, result.stdout + result.stderr
    assert only_run(program).info.status == "FAILED"
    status = program.status()
    assert status["state"] == "failed"
    assert "step 3" in status["reason"]
    assert "NonFiniteLoss" in status["exception"]


@pytest.mark.long
def test_starting_from_a_registered_model_and_stopping_early(trained: Program, data: Path) -> None:
    """The first evaluation is the other model's last; a learning rate that changes nothing never gets better."""
    version = client(trained).get_model_version_by_alias("cat-unet", "champion")
    start = ["--model.init", "models:/cat-unet@champion", "--tracking.enabled", "false"]
    result = trained.train(
        "--data.root",
        str(data),
        *start,
        "--optim.lr",
        "1e-9",
        "--train.patience",
        "2",
        "--model.norm",
        "batch",
        *FLOAT32,
    )
    assert result.returncode == 0, result.stderr
    table = result.stdout[result.stdout.index("val mIoU") :].splitlines()[1:]
    rows = [line.split() for line in table if line.split()[:1] and line.split()[0].isdecimal()]
    assert float(rows[0][4]) == pytest.approx(float(version.tags["val/miou"]), abs=1e-4)
    assert int(rows[-1][0]) < 100 * 2  # of 100 epochs
    refused = trained.train("--data.root", str(data), *start, "--model.width", "16")
    assert refused.returncode == 2
    assert "model.init" in refused.stderr


BAD = {
    "missing": ("no such folder", lambda root: None),
    "empty": ("no images", lambda root: [path.unlink() for path in (root / "JPEGImages").iterdir()]),
    "no_mask": ("disc_03.jpg", lambda root: (root / "SegmentationClassPNG/disc_03.png").unlink()),
    "other_size": (
        "20x20",
        lambda root: Image.new("L", (20, 20), 1).save(root / "SegmentationClassPNG/disc_03.png"),
    ),
    "value_7": (
        "disc_03.png",
        lambda root: Image.new("L", (56, 48), 7).save(root / "SegmentationClassPNG/disc_03.png"),
    ),
    "text": ("disc_03.jpg", lambda root: (root / "JPEGImages/disc_03.jpg").write_text("a letter")),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_ends_with_code_2_and_the_file(case: str, tmp_path: Path) -> None:
    named, spoil = BAD[case]
    root = tmp_path / "bad"
    if case != "missing":
        make_voc(root)
        spoil(root)
    program = Program(tmp_path / "program")
    result = program.train("--data.root", str(root))
    assert result.returncode == 2, result.stdout + result.stderr
    assert named in result.stderr
    assert "Traceback" not in result.stderr
    assert program.run_folders() == []


@pytest.mark.long
def test_masks_of_0_and_255_end_with_the_line_that_trains(tmp_path: Path) -> None:
    root = make_voc(tmp_path / "scaled", values=(0, 255))
    program = Program(tmp_path / "program")
    result = program.train("--data.root", str(root), "--tracking.enabled", "false")
    assert result.returncode == 2
    line = next(line.strip() for line in result.stderr.splitlines() if "--data.value_map" in line)
    option, value = line.split(" ", 1)
    again = program.train(
        "--data.root", str(root), "--train.epochs", "1", "--tracking.enabled", "false", option, value.strip('"')
    )
    assert again.returncode == 0, again.stderr


def test_an_unreachable_server_is_refused_in_time(data: Path, tmp_path: Path) -> None:
    program = Program(tmp_path / "program")
    address = "http://someone:secret@127.0.0.1:9"
    result = program.train("--data.root", str(data), MLFLOW_TRACKING_URI=address, timeout_s=60)
    assert result.returncode == 2
    assert "127.0.0.1:9" in result.stderr
    assert "secret" not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
