"""The MLflow server, or the local store that stands in for it, and how it is made equal to a run folder."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from filelock import FileLock

from trainer import InputError
from trainer.config import MLRUNS
from trainer.tracking.address import probe, public, tracking_uri
from trainer.tracking.journal import read_records, write_json

# Read by MLflow at each call: without these a dead server holds a call for minutes. A user's own values win.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}.items():
    os.environ.setdefault(_name, _value)

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Dataset as DatasetEntity  # noqa: E402
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

UID_TAG = "trainer.uid"
BATCH = 500  # records in one request

for _name in ("alembic", "mlflow", "sqlalchemy"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def connect() -> MlflowClient:
    """A client of the store in use. The first open of a new sqlite store is left to one process at a time."""
    probe()
    uri = tracking_uri()
    os.environ["MLFLOW_TRACKING_URI"] = uri  # for what MLflow resolves by itself, models:/ addresses among them
    if not uri.startswith("sqlite:///"):
        return MlflowClient(uri)
    file = Path(uri.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def open_run(folder: Path) -> MlflowClient:
    """Connect and make the MLflow run of a new run folder. Raises InputError where the store refuses."""
    try:
        client = connect()
        ensure_run(client, folder)
    except MlflowException as error:
        raise InputError(f"tracking store {public(tracking_uri())}: {error}") from error
    return client


def ensure_run(client: MlflowClient, folder: Path) -> str:
    """The MLflow run of a run folder, made where there is none yet. Its id is kept in run.json."""
    file = folder / "run.json"
    info = json.loads(file.read_text())
    if info.get("run_id"):
        return str(info["run_id"])
    experiment_id = _experiment(client, info["experiment"])
    # An earlier request may have made the run and lost the answer.
    found = client.search_runs([experiment_id], f"tags.`{UID_TAG}` = '{info['uid']}'", max_results=1)
    tags = {UID_TAG: info["uid"]} | info["tags"]
    run = found[0] if found else client.create_run(experiment_id, info["time"], tags, info["run_name"])
    write_json(file, info | {"run_id": run.info.run_id, "experiment_id": experiment_id})
    return str(run.info.run_id)


def _experiment(client: MlflowClient, name: str) -> str:
    local = tracking_uri().startswith("sqlite:///")
    with FileLock(MLRUNS / "mlflow.db.lock"):
        found = client.get_experiment_by_name(name)
        if found is None:
            # Fixed for good when an experiment is made; MLflow's own choice follows the working directory.
            location = (MLRUNS / "artifacts").as_uri() if local else None
            try:
                return str(client.create_experiment(name, artifact_location=location))
            except MlflowException:
                found = client.get_experiment_by_name(name)  # another machine was faster
    if found is None:
        raise InputError(f"tracking.experiment: {name!r} can be neither found nor made; give another name")
    if found.lifecycle_stage == "deleted":
        raise InputError(f"tracking.experiment: {name!r} was deleted in MLflow; restore it or give another name")
    return str(found.experiment_id)


def sync(client: MlflowClient, folder: Path) -> None:
    """Send what the run folder holds and the server has not. Calling it again adds nothing.

    Raises what MLflow or the network raises; all that was sent until then stays sent.
    """
    run_id = ensure_run(client, folder)
    cursor = folder / "sent.json"
    offset = json.loads(cursor.read_text())["bytes"] if cursor.exists() else 0
    batch: list[tuple[int, dict[str, Any]]] = []
    for entry in read_records(folder / "journal.jsonl", offset):
        batch.append(entry)
        if len(batch) == BATCH:
            _send(client, run_id, folder, batch)
            batch = []
    if batch:
        _send(client, run_id, folder, batch)


def _send(client: MlflowClient, run_id: str, folder: Path, batch: list[tuple[int, dict[str, Any]]]) -> None:
    """Points, params and tags go together; whatever else a record asks for follows in the journal's order."""
    records = [record for _, record in batch]
    metrics = [
        Metric(key, value, record["time"], record["step"])
        for record in records
        for key, value in record.get("metrics", {}).items()
    ]
    params = [Param(key, str(value)[:6000]) for record in records for key, value in record.get("params", {}).items()]
    tags = [RunTag(key, str(value)[:8000]) for record in records for key, value in record.get("tags", {}).items()]
    for start in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics[start : start + 1000])
    for start in range(0, max(len(params), len(tags)), 100):
        client.log_batch(run_id, params=params[start : start + 100], tags=tags[start : start + 100])
    for offset, record in batch:
        if "artifact" in record:
            client.log_artifact(run_id, str(folder / record["artifact"]), record["to"] or None)
        if "dataset" in record:
            entity = DatasetEntity(**record["dataset"])
            client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", record["context"])])])
        if "model" in record:
            from trainer.tracking.registry import register

            register(client, folder, run_id, record["model"], record["model_tags"])
        if "status" in record:
            if record["status"] == "RUNNING":
                client.update_run(run_id, status="RUNNING")
            else:
                client.set_terminated(run_id, record["status"], record["time"])
        write_json(folder / "sent.json", {"bytes": offset})
