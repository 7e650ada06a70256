"""Runs to compare, made without a training: their folders, and their entries in an MLflow store."""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mlflow import MlflowClient

from tests.support.images import smooth_image
from tests.support.tables import make_table
from trainer.drawing.figures import watch_panels
from trainer.model.score_table import ScoreTable
from trainer.system.run_folder import RunFolder, new_run_folder
from trainer.tracking.run import Run

SETTINGS = """
data: {root: /data/cats, image_size: 64}
optim: {lr: 0.002}
resume: never
"""


@functools.cache
def panels(seed: int) -> np.ndarray:
    """Panels of a made-up image, uint8 RGB [320, 1280, 3]."""
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 10:40] = 1
    return watch_panels(smooth_image(40, 60, seed), mask, np.roll(mask, seed, axis=1), None, 0.5)


def run_folder(
    work: Path,
    name: str,
    table: ScoreTable | None = None,
    settings: str = SETTINGS,
    tags: Mapping[str, str] | None = None,
    images: int = 0,
    store: str | None = None,
) -> RunFolder:
    """Folder of a finished run, tracked where `store` is given."""
    folder = new_run_folder(work, "cats", name, store is not None, store=store)
    folder.config.write_text(settings)
    run = Run(folder, None, tracked=False)
    for step in range(0, 30, 10):
        run.metrics({"train/loss": 1 - step / 100, "val/miou": step / 100, "val/iou/class 1": step / 100}, step)
    run.metrics({"best/miou": 0.2, "best/step": 20.0}, 20)
    run.tags({"best.step": "20", "data": "cats"} | dict(tags or {}))
    for number in range(images):
        run.image(f"watch/image {number}", panels(number), 0)
        run.image(f"best/image {number}", panels(number + 1), 0)
    run.status("finished")
    run.end("FINISHED")
    run.close()
    if table is not None:
        (folder.path / "evaluation").mkdir()
        table.write(folder.path / "evaluation" / "scores.json")
    return folder


def stored_run(
    client: MlflowClient, folder: RunFolder, experiment: str = "cats", tags: Mapping[str, str] | None = None
) -> str:
    """Run in a store that has what a run folder has, of a machine that is not this one; return its id."""
    found = client.get_experiment_by_name(experiment)
    place = (folder.path.parent.parent / "artifacts").as_uri()
    known = found.experiment_id if found else client.create_experiment(experiment, artifact_location=place)
    run = client.create_run(known, tags=dict(tags or {}), run_name=folder.read_run()["run_name"])
    run_id = str(run.info.run_id)
    for step in range(0, 30, 10):
        client.log_metric(run_id, "val/miou", step / 100, step=step)
    client.log_metric(run_id, "best/miou", 0.2)
    client.log_artifact(run_id, str(folder.config))
    if (folder.path / "evaluation").is_dir():
        client.log_artifact(run_id, str(folder.path / "evaluation" / "scores.json"), "evaluation")
    for image in folder.images.glob("*.png") if folder.images.is_dir() else ():
        client.log_artifact(run_id, str(image), "images")
    client.set_terminated(run_id)
    return run_id


def two_tables(images: int = 20) -> tuple[ScoreTable, ScoreTable]:
    """Tables of two models, of which the second is better."""
    return make_table(images, skill=1.0), make_table(images, skill=2.5)
