"""Registered models: create a version, name the champion, find and download a model by its address."""

import io
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from trainer import InputError
from trainer.model.contract import MOST_CONTRACT_BYTES, MOST_WEIGHT_BYTES
from trainer.model.model_folder import CONTRACT_FILE, WEIGHTS_FILE
from trainer.model.segmenter import Segmenter
from trainer.model.tensor_file import MOST_HEADER_BYTES
from trainer.model.training_images import MOST_BYTES, TRAINING_IMAGES_FILE
from trainer.system.atomic import write_json
from trainer.system.run_folder import RunFolder
from trainer.tracking.address import MOST_DIGITS, Address
from trainer.tracking.errors import excerpt, refusal, status_of
from trainer.tracking.journal import read_records
from trainer.tracking.listing import is_listed, require_listed
from trainer.tracking.names import NOTE, model_name

CHAMPION, PREVIOUS = "champion", "previous"
"""Aliases of the version that predict.py uses by default, and of the one before it."""

DEFAULT_PATH = "model"
"""Path in runs:/RUN_ID/model that stands for the run's model, whatever it was logged under."""

NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's error codes where there is no such model, version, alias or run."""

LARGEST = {CONTRACT_FILE: MOST_CONTRACT_BYTES, WEIGHTS_FILE: MOST_WEIGHT_BYTES + MOST_HEADER_BYTES}
"""Files that prediction reads, and the largest size of each that is downloaded, in bytes."""

OPTIONAL = {TRAINING_IMAGES_FILE: MOST_BYTES}
"""The same of files that are downloaded when asked for, from models that have them."""


def export(segmenter: Segmenter, folder: Path) -> None:
    """Add the form that any MLflow tool can load and serve to the model that `save_segmenter` wrote in `folder`.

    The exported model takes uint8 [B, H, W, bands] of any B, H and W, RGB where there are three bands, and gives
    float32 probabilities [B, C, H, W]. It holds a graph and weights, no code of this package and no pickle.
    """
    import mlflow.pytorch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    # A batch of 1, or equal height and width, would become constants of the exported graph.
    # Nor must a tile be so small that the network's bottom is one pixel.
    height, width = (48, 80) if segmenter.contract.view == "whole" else (208, 336)
    bands = segmenter.contract.input_channels
    example = np.random.default_rng(0).integers(0, 256, (2, height, width, bands), dtype=np.uint8)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, bands))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, segmenter.contract.channels, -1, -1))]),
    )
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch, _saved_from_memory(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on type hints and integer columns, which a user cannot act on
        mlflow.pytorch.save_model(
            segmenter.eval(),
            Path(scratch) / "model",
            signature=signature,
            input_example=example,
            serialization_format="pt2",
            pip_requirements=[f"{name}=={_public_version(name)}" for name in ("mlflow", "torch", "numpy")],
        )
        shutil.copytree(Path(scratch) / "model", folder, dirs_exist_ok=True)


@contextmanager
def _saved_from_memory() -> Iterator[None]:
    """Have torch write an exported program to memory, and from there to its file.

    Where the disk is full, torch's own writer ends the process: its destructor raises in C++.
    """
    import torch.export

    save = torch.export.save

    def save_from_memory(program: torch.export.ExportedProgram, path: str | Path) -> None:
        content = io.BytesIO()
        save(program, content)
        Path(path).write_bytes(content.getbuffer())

    torch.export.save = save_from_memory  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.export.save = save


def _public_version(package: str) -> str:
    """Installed version without a local part such as +cpu, which package indexes do not serve."""
    return metadata.version(package).partition("+")[0]


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
        _link_scores(client, folder, run_id, done["model_id"])
        write_json(folder.version, done := done | {"uploaded": True})
    version = _find_or_create_version(client, done["model_id"], run_id, name, tags)
    write_json(folder.version, done | {"name": name, "version": version, "promoted": None})


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
    note = all_tags.pop(NOTE, None)
    made = client.create_model_version(
        name, f"models:/{model_id}", run_id, all_tags, description=note, model_id=model_id
    )
    return str(made.version)


def versions(client: MlflowClient, name: str) -> dict[str, ModelVersion]:
    """All versions of the registered model `name` with their tags, by number, the oldest first."""
    # MLflow's filter cannot quote both kinds of quotes.
    where = f"name = '{name}'" if "'" not in name else f'name = "{name}"' if '"' not in name else None
    found = [one for one in client.search_model_versions(where) if one.name == name]
    return {str(one.version): one for one in sorted(found, key=lambda one: int(one.version))}


def with_alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """Return the version with an alias; None where the model or the alias does not exist."""
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in NOT_THERE:
            return None
        raise


def champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """Return the version with the alias CHAMPION; None where the model or the alias does not exist."""
    return with_alias(client, name, CHAMPION)


def set_champion(client: MlflowClient, name: str, version: str, previous: str | None) -> None:
    """Move the alias CHAMPION to a version, and PREVIOUS to the one that has been it, where there is one."""
    if previous is not None and previous != version:
        client.set_registered_model_alias(name, PREVIOUS, previous)
    client.set_registered_model_alias(name, CHAMPION, version)


def set_version_tags(client: MlflowClient, name: str, version: str, tags: Mapping[str, Any]) -> None:
    """Set tags of a version; values become text."""
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, str(value))


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
