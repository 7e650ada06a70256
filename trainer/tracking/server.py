"""The MLflow server, or the local store that stands in for it, and how it is made equal to a run folder."""

import logging
import os
from collections.abc import Mapping
from itertools import islice
from typing import Any

from filelock import FileLock

from trainer import InputError
from trainer.config import MLRUNS
from trainer.system.atomic import write_json
from trainer.system.run_folder import RunFolder
from trainer.tracking.journal import read_records
from trainer.tracking.store import probe, sqlite_file, tracking_uri

# Read by MLflow at each call: without these a dead server holds a call for minutes. A user's own values win.
# No retries: the sender repeats by itself, and looks first whether the lost request had been heard.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}.items():
    os.environ.setdefault(_name, _value)
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # with the password that is in it

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Dataset as DatasetEntity  # noqa: E402
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

UID_TAG = "trainer.uid"
BATCH = 500  # records read at once

# Also of errors: they reach the caller, who knows what to do about them.
for _name in ("alembic", "mlflow", "sqlalchemy"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


def connect() -> MlflowClient:
    """A client of the store in use. The first open of a new sqlite store is left to one process at a time."""
    probe()
    uri = tracking_uri()
    os.environ["MLFLOW_TRACKING_URI"] = uri  # for what MLflow resolves by itself, models:/ addresses among them
    file = sqlite_file()
    if file is None:
        return MlflowClient(uri)
    with FileLock(f"{file}.lock"):
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def open_run(folder: RunFolder) -> MlflowClient:
    """Connect and make the MLflow run of a new run folder. Raises InputError where the store refuses."""
    try:
        return attach(folder)
    except InputError:
        raise
    except Exception as error:  # of MLflow, the database driver, the network
        raise InputError(f"tracking store {tracking_uri()}: {error}") from error


def attach(folder: RunFolder) -> MlflowClient:
    """Connect to the store and find the MLflow run of a run folder there, or make it.

    run.json keeps the run's id. A store that does not know that run is another one than before, or a new one in its
    place: it gets everything from the beginning.
    """
    client = connect()
    with folder.sending():
        info = folder.read_run()
        if info.get("run_id") and _knows(client, info["run_id"]):
            return client
        experiment_id = _experiment(client, info["experiment"])
        run_id = _find_or_create(client, experiment_id, info)
        for note in (folder.sent, folder.version):
            note.unlink(missing_ok=True)
        write_json(folder.run, info | {"run_id": run_id, "experiment_id": experiment_id})
    return client


def _knows(client: MlflowClient, run_id: str) -> bool:
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    if run.info.lifecycle_stage == "deleted":
        raise InputError(f"run {run_id} was deleted in MLflow; restore it there to go on sending")
    return True


def _find_or_create(client: MlflowClient, experiment_id: str, info: Mapping[str, Any]) -> str:
    uid = info["uid"]

    def same() -> list[str]:
        return [run.info.run_id for run in client.search_runs([experiment_id], f"tags.`{UID_TAG}` = '{uid}'")]

    if found := same():  # an earlier request made the run and its answer was lost
        return str(found[0])
    run = client.create_run(experiment_id, info["time"], {UID_TAG: uid} | info["tags"], info["run_name"])
    for ghost in set(same()) - {run.info.run_id}:  # made meanwhile by such a request
        client.delete_run(ghost)
    return str(run.info.run_id)


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        # Fixed for good when an experiment is made; MLflow's own choice follows the working directory.
        location = (MLRUNS / "artifacts").as_uri() if sqlite_file() else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # somebody else was faster
    if found is None:
        raise InputError(f"tracking.experiment: {name!r} can be neither found nor made; give another name")
    if found.lifecycle_stage == "deleted":
        raise InputError(f"tracking.experiment: {name!r} was deleted in MLflow; restore it or give another name")
    return str(found.experiment_id)


def sync(client: MlflowClient, folder: RunFolder) -> None:
    """Send what the run folder holds and the store, which `attach` found, has not. Calling it again adds nothing.

    Raises what MLflow or the network raises; all that was sent until then stays sent.
    """
    with folder.sending():
        run_id = folder.read_run()["run_id"]
        records = read_records(folder.journal, folder.sent_bytes)
        while batch := list(islice(records, BATCH)):
            _send_numbers(client, run_id, [record for _, record in batch])
            for offset, record in batch:
                if _send_files(client, run_id, folder, record):
                    _advance(folder, offset)
            _advance(folder, batch[-1][0])


def _advance(folder: RunFolder, offset: int) -> None:
    write_json(folder.sent, {"bytes": offset})


def _send_numbers(client: MlflowClient, run_id: str, records: list[dict[str, Any]]) -> None:
    """Points, params, tags, and how the run stands: small, and never held up by a file."""
    metrics = [
        Metric(key, value, record["time"], record["step"])
        for record in records
        for key, value in record.get("metrics", {}).items()
    ]
    params = [Param(key, value[:6000]) for key, value in _merged(records, "params").items()]
    tags = [RunTag(key, value[:8000]) for key, value in _merged(records, "tags").items()]
    for start in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics[start : start + 1000])
    for start in range(0, max(len(params), len(tags)), 100):
        client.log_batch(run_id, params=params[start : start + 100], tags=tags[start : start + 100])
    ends = [record for record in records if "status" in record]
    if ends and ends[-1]["status"] == "RUNNING":
        client.update_run(run_id, status="RUNNING")
    elif ends:
        client.set_terminated(run_id, ends[-1]["status"], ends[-1]["time"])


def _merged(records: list[dict[str, Any]], kind: str) -> dict[str, str]:
    return {key: value for record in records for key, value in record.get(kind, {}).items()}


def _send_files(client: MlflowClient, run_id: str, folder: RunFolder, record: dict[str, Any]) -> bool:
    """What one record asks for beside numbers. True where there was such a thing."""
    if "artifact" in record:
        path = folder.path / record["artifact"]
        if path.exists():  # somebody may have made room; the rest is sent all the same
            client.log_artifact(run_id, str(path), record["to"] or None)
    elif "dataset" in record:
        entity = DatasetEntity(**record["dataset"])
        client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", record["context"])])])
    elif "model" in record:
        from trainer.tracking.registry import register

        register(client, folder, run_id, record["model"], record["model_tags"])
    else:
        return False
    return True
