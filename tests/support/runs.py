"""Readers of what a run leaves: its folder, and its entries in an MLflow store."""

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType

from trainer.engine.checkpoint.format import load_checkpoint

Points = dict[str, list[tuple[int, int, float]]]
"""Metric key -> sorted (step, timestamp in ms, value)."""

Curves = dict[str, list[tuple[int, float]]]
"""Metric key -> sorted (step, value)."""

TIMED = ("time/", "train/images_per_second", "system/")
"""Beginnings of the metric keys whose values depend on the clock."""


# ------------------------------------------------------------------------------------------------ run folder


def status(folder: Path) -> dict[str, Any]:
    """Contents of status.json."""
    content: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return content


def records(folder: Path) -> list[dict[str, Any]]:
    """Records of the journal; without a last line that is being written."""
    journal = folder / "journal.jsonl"
    lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
    return [json.loads(line) for line in lines]


def last_step(folder: Path) -> int:
    """Last step of which the journal has a metric; 0 where there is none."""
    return max((record["step"] for record in records(folder) if "metrics" in record), default=0)


def states(folder: Path) -> list[str]:
    """MLflow states of the run, in the order in which they were recorded."""
    return [record["status"] for record in records(folder) if "status" in record]


def tags(folder: Path) -> dict[str, str]:
    """Tags that the journal holds, the last value of each."""
    return {key: value for record in records(folder) for key, value in record.get("tags", {}).items()}


def params(folder: Path) -> dict[str, str]:
    """Params of the run."""
    return {key: value for record in records(folder) for key, value in record.get("params", {}).items()}


def journal_points(folder: Path) -> Points:
    """Every metric in the journal."""
    found: Points = {}
    for record in records(folder):
        for key, value in record.get("metrics", {}).items():
            found.setdefault(key, []).append((record["step"], record["time"], value))
    return {key: sorted(points) for key, points in found.items()}


def untimed(points: Points) -> Curves:
    """Steps and values of the metrics that do not depend on the clock. Fails where a step has two values."""
    for key, found in points.items():
        assert len({step for step, _, _ in found}) == len(found), f"{key}: {found}"
    return {
        key: [(step, value) for step, _, value in found] for key, found in points.items() if not key.startswith(TIMED)
    }


def curves(folder: Path) -> Curves:
    """Metrics in the journal that do not depend on the clock."""
    return untimed(journal_points(folder))


def checkpoints(folder: Path) -> list[Path]:
    """Folders of the checkpoints, the oldest first."""
    return sorted((folder / "checkpoints").glob("step-*"), key=_step_of)


def checkpoint_steps(folder: Path) -> list[int]:
    """Steps of the checkpoints, ascending."""
    return [_step_of(path) for path in checkpoints(folder)]


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def check_checkpoints(folder: Path) -> None:
    """Fail where one of the checkpoints is not complete."""
    for path in checkpoints(folder):
        load_checkpoint(path)


def result(folder: Path) -> tuple[dict[str, str], Curves]:
    """Digests of the last checkpoint of a finished run, the counts of its best model on each image, and its curves.

    They are equal where two trainings were the same.
    """
    assert status(folder)["state"] == "finished"
    if kept := checkpoints(folder):  # by an earlier version; this one keeps the digests alone
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept[-1].iterdir()}
        last = {"sha256": files} | json.loads((kept[-1] / "position.json").read_text())
    else:
        last = json.loads((folder / "last_checkpoint.json").read_text())
    names = ("weights", "unaveraged", "best", "optimizer")
    digests = {name: last["sha256"][f"{name}.safetensors"] for name in names}
    timeless = {key: value for key, value in last["position"].items() if key not in ("seconds", "waited_s")}
    table = folder / "evaluation" / "scores.json"
    counts = json.dumps(json.loads(table.read_text())["images"]) if table.exists() else ""
    return digests | {"position": json.dumps(timeless), "counts": counts}, curves(folder)


# ------------------------------------------------------------------------------------------------ MLflow store


def histories(database: Path) -> dict[tuple[str, str], list[tuple[int, int, float]]]:
    """(run id, metric key) -> sorted (step, timestamp, value), read straight from MLflow's sqlite file."""
    found: dict[tuple[str, str], list[tuple[int, int, float]]] = {}
    with closing(sqlite3.connect(database)) as store:
        for run, key, step, stamp, value in store.execute("select run_uuid, key, step, timestamp, value from metrics"):
            found.setdefault((run, key), []).append((step, stamp, value))
    return {key: sorted(points) for key, points in found.items()}


def store_points(database: Path, run: Any) -> Points:
    """Every metric of one run in a store."""
    return {key: points for (owner, key), points in histories(database).items() if owner == run.info.run_id}


def no_tables(database: Path) -> bool:
    """Whether a store was opened at most, and nothing was made in it."""
    with closing(sqlite3.connect(database)) as store:
        return list(store.execute("select name from sqlite_master")) == []


def store_states(database: Path) -> list[str]:
    """State of every run in a store."""
    with closing(sqlite3.connect(database)) as store:
        return [row[0] for row in store.execute("select status from runs")]


def create_store(empty_store: Path, file: Path, experiment: str) -> Path:
    """Create an sqlite store of nothing but an experiment, whose artifacts lie beside it; return `file`."""
    shutil.copyfile(empty_store, file)
    # The program itself would put the artifacts of a new experiment into its own mlruns/.
    MlflowClient(f"sqlite:///{file}").create_experiment(experiment, file.with_name(f"{file.stem} artifacts").as_uri())
    return file


def store_runs(client: MlflowClient, where: str = "") -> list[Any]:
    """Every run in a store, of all experiments."""
    experiments = [one.experiment_id for one in client.search_experiments()]
    return list(client.search_runs(experiments, where, run_view_type=ViewType.ALL))


def store_run(database: Path, folder: Path) -> Any:
    """The one run in a store that belongs to a run folder."""
    uid = json.loads((folder / "run.json").read_text())["uid"]
    (run,) = store_runs(MlflowClient(f"sqlite:///{database}"), f"tags.`trainer.uid` = '{uid}'")
    return run


def check_complete(database: Path, folder: Path, steps: int) -> None:
    """Fail where a store lacks something of a finished run of `steps` steps, or has something twice.

    Compares metrics with their times, params, images, datasets, model and registered version.
    """
    client, run = MlflowClient(f"sqlite:///{database}"), store_run(database, folder)
    points = store_points(database, run)
    assert points == journal_points(folder)
    assert [step for step, _, _ in points["train/loss"]] == list(range(1, steps + 1))
    assert run.info.status == "FINISHED"
    assert run.data.params["optim.lr"] == params(folder)["optim.lr"]
    assert sorted(one.tags[0].value for one in run.inputs.dataset_inputs) == ["training", "validation"]
    models = client.search_logged_models([run.info.experiment_id])
    (model,) = [one for one in models if one.source_run_id == run.info.run_id]
    (version,) = client.search_model_versions(f"run_id = '{run.info.run_id}'")
    assert version.source.endswith(model.model_id)
    assert model.status == "READY"
    images = database.parent / "artifacts" / run.info.artifact_uri.removeprefix("mlflow-artifacts:/") / "images"
    assert {path.name for path in images.iterdir()} == {path.name for path in folder.glob("pictures/*")}
    for path in folder.glob("pictures/*"):
        assert (images / path.name).read_bytes() == path.read_bytes()
