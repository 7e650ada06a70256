"""Trainings watched from outside, and whether a tracking server has all that they recorded."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType

from tests.support.program import Program, Server, histories, journal_points, kill_group

STEPS = 240
RUN = ["--train.epochs", str(STEPS // 2), "--train.eval_every", "40", "--train.threads", "1"]
RUN += ["--train.mixed_precision", "no", "--tracking.watch", "2"]
TIMED = ("time/", "train/images_per_second")
ENDS_WITHIN_S = 180  # generous: a busy machine is slow, a training that waits for a server is far slower


def untimed(points: dict[str, list[tuple[int, int, float]]]) -> dict[str, list[tuple[int, float]]]:
    """Step and value of what does not depend on the clock."""
    return {
        key: [(step, value) for step, _, value in found] for key, found in points.items() if not key.startswith(TIMED)
    }


class Training:
    """A training in a process of its own, watched from outside."""

    def __init__(self, program: Program, data: Path, *arguments: str, **environment: str) -> None:
        command = [sys.executable, "trainer/train.py", "--model.width", "8", "--data.image_size", "32"]
        command += ["--train.batch_size", "4", "--data.workers", "1", "--data.root", str(data), *RUN, *arguments]
        self.program, self.process = program, program.start(*command, **environment)

    def wait_until(self, happened: Callable[[Path], bool]) -> Path:
        """The run folder, once something has happened in it; fails where the training ends before."""
        deadline = time.monotonic() + ENDS_WITHIN_S
        while True:
            folders = self.program.run_folders()
            if folders and happened(folders[0]):
                return folders[0]
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "the training does not get there"
            time.sleep(0.01)

    def pause(self) -> None:
        """Stand still, so that what the test does now falls between two steps however slow the machine is."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def end(self) -> str:
        """What it printed. It must end by itself, with code 0 and without an error message."""
        try:
            out, err = self.process.communicate(timeout=ENDS_WITHIN_S)
        finally:
            kill_group(self.process)
        assert self.process.returncode == 0, out + err
        assert "Traceback" not in out + err
        return out + err


def step(folder: Path) -> int:
    """The newest step in the journal."""
    journal = folder / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
    return max((json.loads(line).get("step", 0) for line in lines if line.endswith("\n")), default=0)


def first_batch_sent(folder: Path) -> bool:
    return step(folder) >= 10 and (folder / "sent.json").exists()


def the_run(store: Path, folder: Path) -> Any:
    """The one MLflow run of a run folder."""
    client = MlflowClient(f"sqlite:///{store}")
    everywhere = [one.experiment_id for one in client.search_experiments()]
    uid = json.loads((folder / "run.json").read_text())["uid"]
    (run,) = client.search_runs(everywhere, f"tags.`trainer.uid` = '{uid}'", run_view_type=ViewType.ALL)
    return run


def check_complete(store: Path, folder: Path) -> None:
    """The server has the run folder, all of it, once: points with their times, params, pictures, datasets, model."""
    client, run = MlflowClient(f"sqlite:///{store}"), the_run(store, folder)
    points = points_of(store, run)
    assert points == journal_points(folder)
    assert [at for at, _, _ in points["train/loss"]] == list(range(1, STEPS + 1))
    assert run.info.status == "FINISHED"
    assert run.data.params["optim.lr"] == "0.002"
    assert sorted(one.tags[0].value for one in run.inputs.dataset_inputs) == ["training", "validation"]
    models = client.search_logged_models([run.info.experiment_id])
    (model,) = [one for one in models if one.source_run_id == run.info.run_id]
    (version,) = client.search_model_versions(f"run_id = '{run.info.run_id}'")
    assert version.source.endswith(model.model_id)
    assert model.status == "READY"
    images = store.parent / "artifacts" / run.info.artifact_uri.removeprefix("mlflow-artifacts:/") / "images"
    assert {path.name for path in images.iterdir()} == {path.name for path in folder.glob("pictures/*")}
    for path in folder.glob("pictures/*"):
        assert (images / path.name).read_bytes() == path.read_bytes()


def points_of(store: Path, run: Any) -> dict[str, list[tuple[int, int, float]]]:
    return {key: found for (owner, key), found in histories(store).items() if owner == run.info.run_id}


def send_from_elsewhere(program: Program, folder: Path, server: Server, tmp_path: Path) -> Path:
    """Send a run folder from another machine: another copy of the program, and no trace of the first."""
    moved = Path(shutil.move(folder, tmp_path / "carried over"))
    shutil.rmtree(program.folder)
    elsewhere = Program(tmp_path / "elsewhere")
    shutil.rmtree(elsewhere.folder / "mlruns")
    sent = elsewhere.python("sync", str(moved), MLFLOW_TRACKING_URI=server.uri)
    assert sent.returncode == 0, sent.stderr
    assert "its model is models:/cat-unet/" in sent.stdout
    return moved
