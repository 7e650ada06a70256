"""Models of run folders, uploaded and made versions of a registered model, each part once."""

from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException

from trainer import InputError
from trainer.model.model_folder import WEIGHTS_FILE
from trainer.system.atomic import write_json
from trainer.system.run_folder import RunFolder
from trainer.tracking.journal import read_records
from trainer.tracking.names import NOTE, model_name, name_run_in_note
from trainer.tracking.registry import versions


def register(client: MlflowClient, folder: RunFolder, run_id: str, name: str, tags: Mapping[str, str]) -> None:
    """Upload the model of a run folder and make it a version of the registered model `name`.

    version.json records each finished part, so that a repeated call continues after it and registers nothing twice;
    `promoted` in it is None until it is decided about the champion.
    Raises InputError where the folder holds no model.
    """
    done = folder.read_version()
    if "version" in done:
        return
    if not (folder.model / WEIGHTS_FILE).exists():  # MLflow would register an empty model
        raise InputError(f"{folder.model}: the run's model is not there, so it cannot be registered")
    if "model_id" not in done:
        done["model_id"] = _find_or_create_model(client, folder.read_run()["experiment_id"], run_id, name)
        write_json(folder.version, done)
    if not done.get("uploaded"):
        client.log_model_artifacts(done["model_id"], str(folder.model))
        client.finalize_logged_model(done["model_id"], "READY")
        _link_model(client, run_id, done["model_id"])
        _link_scores(client, folder, run_id, done["model_id"])
        write_json(folder.version, done := done | {"uploaded": True})
    version = _find_or_create_version(client, done["model_id"], run_id, name, tags)
    write_json(folder.version, done | {"name": name, "version": version, "promoted": None})


def _link_model(client: MlflowClient, run_id: str, model_id: str) -> None:
    """Make the model an output of its run, whose page in MLflow names it then. Another call adds nothing."""
    outputs = client.get_run(run_id).outputs
    if model_id not in {one.model_id for one in (outputs.model_outputs if outputs else ())}:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])


def _link_scores(client: MlflowClient, folder: RunFolder, run_id: str, model_id: str) -> None:
    """Send the scores of the registered model again, as its own: its page in MLflow shows them then.

    The same point of the same time is one point, however often it is sent.
    """
    datasets = [record["dataset"] for _, record in read_records(folder.journal, 0) if "dataset" in record]
    named = {"dataset_name": datasets[-1]["name"], "dataset_digest": datasets[-1]["digest"]} if datasets else {}
    for _, record in read_records(folder.journal, 0):
        for key, value in record.get("metrics", {}).items():
            if key.startswith("best/"):
                client.log_metric(run_id, key, value, record["time"], record["step"], model_id=model_id, **named)


def register_again(client: MlflowClient, folder: RunFolder) -> None:
    """Make the run's model a version again where that was deleted in MLflow, before it was decided about."""
    made = folder.read_version()
    if made["version"] not in versions(client, made["name"]):
        tags: dict[str, str] = next(
            (one["model_tags"] for _, one in read_records(folder.journal, 0) if "model" in one), {}
        )
        write_json(folder.version, {"model_id": made["model_id"], "uploaded": True})
        register(client, folder, folder.read_run()["run_id"], made["name"], tags)


def _find_or_create_model(client: MlflowClient, experiment_id: str, run_id: str, name: str) -> str:
    """Id of the run's model in MLflow. An earlier request, whose answer was lost, may have created it."""
    found = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'", max_results=1)
    model = found[0] if found else client.create_logged_model(experiment_id, model_name(name), source_run_id=run_id)
    return str(model.model_id)


def _find_or_create_version(
    client: MlflowClient, model_id: str, run_id: str, name: str, tags: Mapping[str, str]
) -> str:
    """Number of the run's version of `name`. An earlier request, whose answer was lost, may have created it."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for version in client.search_model_versions(f"run_id = '{run_id}'"):
        if version.name == name:
            return str(version.version)
    all_tags = dict(tags) | {"run_id": run_id}
    note = name_run_in_note(all_tags.pop(NOTE, ""), run_id) or None
    made = client.create_model_version(
        name, f"models:/{model_id}", run_id, all_tags, description=note, model_id=model_id
    )
    return str(made.version)
