"""Models by their address: what it stands for now, and the files that are downloaded from there."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from trainer import InputError
from trainer.model.contract import MOST_CONTRACT_BYTES, MOST_WEIGHT_BYTES
from trainer.model.model_folder import CONTRACT_FILE, WEIGHTS_FILE
from trainer.model.tensor_file import MOST_HEADER_BYTES
from trainer.model.training_images import MOST_BYTES, TRAINING_IMAGES_FILE
from trainer.tracking.address import MOST_DIGITS, Address
from trainer.tracking.errors import excerpt, refusal, status_of
from trainer.tracking.listing import is_listed, require_listed
from trainer.tracking.registry import NOT_THERE, versions

DEFAULT_PATH = "model"
"""Path in runs:/RUN_ID/model that stands for the run's model, whatever it was logged under."""

LARGEST = {CONTRACT_FILE: MOST_CONTRACT_BYTES, WEIGHTS_FILE: MOST_WEIGHT_BYTES + MOST_HEADER_BYTES}
"""Files that prediction reads, and the largest size of each that is downloaded, in bytes."""

OPTIONAL = {TRAINING_IMAGES_FILE: MOST_BYTES}
"""The same of files that are downloaded when asked for, from models that have them."""


def resolve(client: MlflowClient, address: Address) -> tuple[str, dict[str, str]]:
    """Find what an address stands for now: the URI to fetch, and the model's name, version, alias and run id.

    For a logged model, the URI is the place of its files: MLflow cannot fetch single files of models:/m-ID.
    Raises InputError, with a list of the registered models, where there is no such model.
    """
    if address.run_id:
        return _resolve_run(client, address)
    try:
        if address.model_id:
            model = client.get_logged_model(address.model_id)
            return model.artifact_location, {"run_id": model.source_run_id or ""}
        if version := _find_version(client, address):
            origin = {"name": version.name, "version": str(version.version), "run_id": version.run_id or ""}
            alias = {"alias": address.alias} if address.alias else {}
            return f"models:/{version.name}/{version.version}", origin | alias
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
    raise InputError(f"{address.text}: no such model. There are:\n{_catalogue(client)}")


def _find_version(client: MlflowClient, address: Address) -> ModelVersion | None:
    if address.alias:
        return client.get_model_version_by_alias(address.name, address.alias)
    if address.version == "latest":
        return next(reversed(versions(client, address.name).values()), None)
    number = address.version.lstrip("0")
    if 0 < len(number) <= MOST_DIGITS:
        return client.get_model_version(address.name, number)
    return None


def _resolve_run(client: MlflowClient, address: Address) -> tuple[str, dict[str, str]]:
    """Find the model of a run, whatever it was logged under: MLflow's pages name it in several ways."""
    try:
        run = client.get_run(address.run_id)
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        raise InputError(f"{address.text}: no such run; give runs:/RUN_ID/model") from error
    where = f"source_run_id = '{address.run_id}'"
    models = list(client.search_logged_models([run.info.experiment_id], where))
    name = address.path.partition("/")[0]
    model = next((one for one in models if one.name == name), None)
    if model is None and name in ("", DEFAULT_PATH):
        model = next(iter(models), None)
    origin = {"run_id": address.run_id}
    if model is not None:
        return model.artifact_location, origin
    return f"runs:/{address.run_id}/{address.path or DEFAULT_PATH}", origin


def find_model_id(client: MlflowClient, origin: Mapping[str, str]) -> tuple[str, str]:
    """Find the logged model of an `origin` that `resolve` gave, and the experiment of its run; empty where unknown.

    Model or run may have been deleted since.
    """
    model_id = experiment = ""
    if "version" in origin:
        source = client.get_model_version(origin["name"], origin["version"]).source or ""
        model_id = source.removeprefix("models:/") if source.startswith("models:/m-") else ""
    with suppress(MlflowException):
        run = client.get_run(origin.get("run_id", ""))
        experiment = str(client.get_experiment(run.info.experiment_id).name)
        if not model_id:
            where = f"source_run_id = '{run.info.run_id}'"
            found = client.search_logged_models([run.info.experiment_id], where, max_results=1)
            model_id = str(found[0].model_id) if found else ""
    return model_id, experiment


def _catalogue(client: MlflowClient) -> str:
    """One line for each registered model: its aliases and its last five versions."""
    lines = []
    for model in client.search_registered_models():
        aliases = [f"models:/{model.name}@{alias}" for alias in client.get_registered_model(model.name).aliases]
        shown = [f"models:/{model.name}/{version}" for version in list(versions(client, model.name))[-5:]]
        lines.append("  " + "  ".join(aliases + shown))
    return "\n".join(lines) or "  none yet; training registers one"


def fetch(uri: str, target: Path, names: Iterable[str] = tuple(LARGEST), also: Iterable[str] = ()) -> Path:
    """Download files from a URI that `resolve` gave, by default the two that prediction reads; return `target`.

    `names`: files of LARGEST; `also`: files of OPTIONAL, which are left out where the model has none. Raises InputError
    where one of `names` is missing, or any is too large, a link, or cannot be downloaded.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        _download(uri, name, LARGEST[name], target)
    for name in also:
        _download(uri, name, OPTIONAL[name], target, optional=True)
    return target


def _download(uri: str, name: str, most_bytes: int, target: Path, optional: bool = False) -> None:
    from mlflow.artifacts import download_artifacts

    try:
        if optional and not is_listed(uri, name):
            return
        require_listed(uri, name, most_bytes)
        download_artifacts(f"{uri}/{name}", dst_path=str(target))
    except InputError:
        raise
    except Exception as error:  # of MLflow, the network, or the store that keeps the files
        status = status_of(error)
        if status in (401, 403):
            raise InputError(refusal(status)) from error
        raise InputError(f"{uri}: holds no model of this program ({name}: {excerpt(f'{error}')})") from error
