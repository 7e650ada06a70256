"""Sending of run folders to MLflow: a tracking server, or the local database in its place."""

import logging
import os
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag, LoggedModelInput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from mlflow.utils.rest_utils import http_request

from trainer import InputError
from trainer.system.atomic import write_json
from trainer.system.run_folder import FAMILY_TAGS, RunFolder
from trainer.tracking import location
from trainer.tracking.errors import deleted_experiment, excerpt, permitted, refusal, store_errors, store_name
from trainer.tracking.journal import read_records
from trainer.tracking.names import NOTE, name_run_in_note
from trainer.tracking.refusals import Named, Refusals, is_refused_for_good
from trainer.tracking.store import (
    OtherStoreError,
    elsewhere,
    is_default,
    probe,
    sqlite_file,
    store_id,
    tracking_uri,
)

UID_TAG = "trainer.uid"
"""Tag by which the run of a run folder is found in MLflow."""

BATCH_RECORDS = 500
"""Number of journal records that are read at once."""

MAX_METRICS, MAX_PARAMS = 1000, 100
"""MLflow's limits for one request: points of curves; params, and as many tags."""

MAX_PARAM_LENGTH, MAX_TAG_LENGTH = 6000, 8000
"""MLflow's limits for values, in characters."""

# Errors are not logged either: they are raised to the caller, which handles them.
for _name in ("alembic", "mlflow", "sqlalchemy"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


def connect() -> MlflowClient:
    """Connect to the store in use; a lock lets one process at a time create a new database.

    Raises InputError where the store does not answer, refuses, or is none.
    """
    probe()
    uri = tracking_uri()
    os.environ["MLFLOW_TRACKING_URI"] = uri  # MLflow resolves models:/ addresses with it
    file = sqlite_file()
    with store_errors(), location.lock(file) if file else nullcontext():
        client = _client(uri, file is not None)
        if uri.startswith(("http://", "https://")):
            _require_mlflow(uri)
        else:
            client.search_experiments(max_results=1)
        if is_default():
            location.follow_repository()
    return client


def _client(uri: str, is_file: bool) -> MlflowClient:
    """Make the client, and with it the tables of a new database."""
    if not is_file:
        return MlflowClient(uri)
    # Place of the experiment 0 that MLflow makes: else it is the working directory, which it quotes wrongly.
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = location.ARTIFACTS
    try:
        return MlflowClient(uri)
    finally:
        del os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"]


def _require_mlflow(uri: str) -> None:
    """Raise InputError where the server refuses this user, or is another one than MLflow's.

    Looks at the answer itself: MLflow's client loses the status of a refusal in JSON, and takes any JSON for an answer.
    """
    search = "/api/2.0/mlflow/experiments/search"
    answer = http_request(get_default_host_creds(uri), search, "POST", json={"max_results": 1}, raise_on_status=False)
    if answer.status_code == 403 and "invalid host header" in answer.text.lower():
        name = urlsplit(uri).netloc.rpartition("@")[2]
        raise InputError(f"{store_name()}: does not answer to this name; start it with --allowed-hosts {name}")
    if answer.status_code in (401, 403):
        raise InputError(refusal(answer.status_code))
    try:
        content = answer.json()
    except ValueError:
        content = None
    if answer.status_code == 200 and isinstance(content, dict) and set(content) <= {"experiments", "next_page_token"}:
        return
    shown = f"status {answer.status_code}: {excerpt(answer.text)[:100]!r}"
    if answer.status_code == 429 or answer.status_code >= 500:
        raise InputError(f"{store_name()}: cannot answer now ({shown}); look at its log, or try again later")
    raise InputError(
        f"{store_name()}: what answers there is no MLflow server ({shown}); set MLFLOW_TRACKING_URI to the address "
        "that shows MLflow's pages"
    )


def require_run(folder: RunFolder) -> MlflowClient:
    """Do as `connect_run`, and raise InputError whatever fails."""
    with store_errors():
        return connect_run(folder)


def connect_run(folder: RunFolder, anywhere: bool = False) -> MlflowClient:
    """Connect to the store, and find the MLflow run of a run folder in it, or create that run.

    run.json holds the run's id, and the store that it is in. That store without the run is a new one, and is sent
    everything from the beginning; so is another store if `anywhere` is set. Raises OtherStoreError where it is not,
    InputError where the store does not answer or the run was deleted, and MLflow's own errors.
    """
    client = connect()
    with folder.sending():
        info = folder.read_run()
        if info.get("run_id") and _has_run(client, info["run_id"]):
            return client
        if not anywhere and (began := elsewhere(folder)):
            raise OtherStoreError(folder, began)
        experiment_id = _find_or_create_experiment(client, info["experiment"])
        run_id = _find_run(client, experiment_id, info["uid"])
        if run_id is None:
            sent_before = info.get("run_id") or folder.sent_values_bytes
            if not anywhere and sent_before and "store" not in info:
                raise OtherStoreError(folder, "a store that its files do not name")
            with permitted(f"add a run to the experiment {info['experiment']!r}"):
                run_id = _create_run(client, experiment_id, info)
        _link_family(client, experiment_id, run_id, info)
        for file in (folder.sent, folder.version, folder.refused):  # they are about another store
            file.unlink(missing_ok=True)
        write_json(folder.run, info | {"run_id": run_id, "experiment_id": experiment_id, "store": store_id()})
    return client


def _has_run(client: MlflowClient, run_id: str) -> bool:
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    if run.info.lifecycle_stage == "deleted":
        raise InputError(f"run {run_id} was deleted in MLflow; restore it there to continue sending")
    return True


def _find_run(client: MlflowClient, experiment_id: str, uid: str) -> str | None:
    """Id of the run of a run folder; None where there is none. An earlier request whose answer was lost may have made
    it."""
    return next(iter(_run_ids(client, experiment_id, uid)), None)


def _run_ids(client: MlflowClient, experiment_id: str, uid: str) -> list[str]:
    return [run.info.run_id for run in client.search_runs([experiment_id], f"tags.`{UID_TAG}` = '{uid}'")]


def _create_run(client: MlflowClient, experiment_id: str, info: Mapping[str, Any]) -> str:
    uid = info["uid"]
    try:
        run = client.create_run(experiment_id, info["time"], {UID_TAG: uid} | info["tags"], info["run_name"])
    except MlflowException as error:
        if not is_refused_for_good(error):
            raise
        run = client.create_run(experiment_id, info["time"], {UID_TAG: uid}, uid)  # its name or a tag was refused
        for key, value in info["tags"].items():
            with suppress(MlflowException):
                client.set_tag(run.info.run_id, key, value)
    for duplicate in set(_run_ids(client, experiment_id, uid)) - {run.info.run_id}:  # the lost request, carried out
        client.delete_run(duplicate)
    return str(run.info.run_id)


def _link_family(client: MlflowClient, experiment_id: str, run_id: str, info: Mapping[str, Any]) -> None:
    """Name its parent to a new run, and the new run to its children, whichever of them the store has got first."""

    def runs(tag: str, uid: str) -> list[str]:
        return [one.info.run_id for one in client.search_runs([experiment_id], f"tags.`{tag}` = '{uid}'")]

    if parent := info.get("parent"):
        for found in runs(UID_TAG, parent)[:1]:
            client.set_tag(run_id, MLFLOW_PARENT_RUN_ID, found)
    if info.get("kind"):
        for child in runs(FAMILY_TAGS["parent"], info["uid"]):
            client.set_tag(child, MLFLOW_PARENT_RUN_ID, run_id)


def _find_or_create_experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        # An experiment's location cannot be changed later, and MLflow's default follows the working directory.
        place = location.ARTIFACTS if sqlite_file() else None
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process has just created it
    if found is None:
        raise InputError(f"tracking.experiment: {name!r} can be neither found nor made; give another name")
    if found.lifecycle_stage == "deleted":
        raise deleted_experiment("tracking.experiment", name, found.experiment_id)
    return str(found.experiment_id)


def send_records(client: MlflowClient, folder: RunFolder) -> None:
    """Send the unsent records of a run folder, with their files, to its MLflow run. Sending twice adds nothing.

    Metrics, params, tags and states go first: they are small, and do not wait for files that cannot be sent. What the
    server refuses for good is set aside (`Refusals`). The run must exist (`connect_run`). Raises the errors of MLflow
    and the network; what was sent before stays sent.
    """
    with folder.sending():
        run_id = folder.read_run()["run_id"]
        refusals = Refusals(client, run_id, folder)
        sent, values = folder.sent_bytes, folder.sent_values_bytes
        records = read_records(folder.journal, values)
        while batch := list(islice(records, BATCH_RECORDS)):
            _send_values(client, run_id, [record for _, record in batch], refusals)
            values = batch[-1][0]
            write_json(folder.sent, {"bytes": sent, "values": values})
        for offset, record in read_records(folder.journal, sent):
            if offset > values:  # appended meanwhile
                break
            if _send_files(client, run_id, folder, record, refusals):
                write_json(folder.sent, {"bytes": offset, "values": values})
        write_json(folder.sent, {"bytes": values, "values": values})


def _send_values(client: MlflowClient, run_id: str, records: list[dict[str, Any]], refusals: Refusals) -> None:
    """Send metrics, params, tags and status."""
    metrics = [
        Metric(key, value, record["time"], record["step"], **record.get("of_model", {}))
        for record in records
        for key, value in record.get("metrics", {}).items()
        if not refusals.has("metrics", key)
    ]
    params = [Param(key, value[:MAX_PARAM_LENGTH]) for key, value in _merged(records, "params").items()]
    values = _merged(records, "tags")
    values |= {NOTE: name_run_in_note(values[NOTE], run_id)} if NOTE in values else {}
    tags = [RunTag(key, value[:MAX_TAG_LENGTH]) for key, value in values.items()]
    for start in range(0, len(metrics), MAX_METRICS):
        part = metrics[start : start + MAX_METRICS]
        refusals.send("metrics", part, lambda part: client.log_batch(run_id, metrics=part))
    for start in range(0, len(params), MAX_PARAMS):
        part = params[start : start + MAX_PARAMS]
        refusals.send("params", part, lambda part: client.log_batch(run_id, params=part))
    for start in range(0, len(tags), MAX_PARAMS):
        part = tags[start : start + MAX_PARAMS]
        refusals.send("tags", part, lambda part: client.log_batch(run_id, tags=part))
    last = next((record for record in reversed(records) if "status" in record), None)
    if last and last["status"] == "RUNNING":
        client.update_run(run_id, status="RUNNING")
    elif last:
        client.set_terminated(run_id, last["status"], last["time"])


def _merged(records: list[dict[str, Any]], kind: str) -> dict[str, str]:
    return {key: str(value) for record in records for key, value in record.get(kind, {}).items()}


def _send_files(
    client: MlflowClient, run_id: str, folder: RunFolder, record: dict[str, Any], refusals: Refusals
) -> bool:
    """Send the artifact, dataset or model of one record. Returns whether the record has one."""
    if "artifact" in record:
        path = folder.path / record["artifact"]
        if path.exists():  # a user may have deleted it to free space
            name = Named(record["artifact"])
            refusals.send("files", [name], lambda _: client.log_artifact(run_id, str(path), record["to"] or None))
    elif "dataset" in record:
        entity = DatasetEntity(**record["dataset"])
        inputs = [DatasetInput(entity, [InputTag("mlflow.data.context", record["context"])])]
        models = [LoggedModelInput(record["uses_model"])] if "uses_model" in record else None
        refusals.send("datasets", [Named(entity.name)], lambda _: client.log_inputs(run_id, inputs, models=models))
    elif "model" in record:
        from trainer.tracking.register import register

        with permitted(f"register a version of the model {record['model']!r}"):
            register(client, folder, run_id, record["model"], record["model_tags"])
    else:
        return False
    return True
