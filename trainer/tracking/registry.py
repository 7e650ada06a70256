"""Registered models: create a version, name the champion, find and download a model by its address."""

import shutil
import tempfile
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from trainer import InputError
from trainer.model.model_folder import CONTRACT_FILE, WEIGHTS_FILE
from trainer.model.segmenter import Segmenter
from trainer.system.atomic import write_json
from trainer.system.run_folder import RunFolder
from trainer.tracking.names import model_name

CHAMPION = "champion"
"""Alias of the version that predict.py uses by default."""


def export(segmenter: Segmenter, folder: Path) -> None:
    """Add the form that any MLflow tool can load and serve to the model that `save_segmenter` wrote in `folder`.

    The exported model takes uint8 RGB [B, H, W, 3] of any B, H and W, and gives float32 probabilities [B, C, H, W]. It
    holds a graph and weights, no code of this package and no pickle.
    """
    import mlflow.pytorch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    # A batch of 1, or equal height and width, would become constants of the exported graph.
    example = np.random.default_rng(0).integers(0, 256, (2, 48, 80, 3), dtype=np.uint8)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, segmenter.contract.channels, -1, -1))]),
    )
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch, warnings.catch_warnings():
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


def _public_version(package: str) -> str:
    """Installed version without a local part such as +cpu, which package indexes do not serve."""
    return metadata.version(package).partition("+")[0]


def register(client: MlflowClient, folder: RunFolder, run_id: str, name: str, tags: Mapping[str, str]) -> None:
    """Upload the model of a run folder and make it a version of the registered model `name`.

    version.json records each finished part, so that a repeated call continues after it and registers nothing twice.
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
        write_json(folder.version, done := done | {"uploaded": True})
    version = _find_or_create_version(client, done["model_id"], run_id, name, tags)
    write_json(folder.version, done | {"name": name, "version": version})


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
    return str(client.create_model_version(name, f"models:/{model_id}", run_id, all_tags, model_id=model_id).version)


def champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """Return the version with the alias CHAMPION; None where the model or the alias does not exist."""
    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def set_champion(client: MlflowClient, name: str, version: str) -> None:
    """Move the alias CHAMPION to a version."""
    client.set_registered_model_alias(name, CHAMPION, version)


def set_version_tags(client: MlflowClient, name: str, version: str, tags: Mapping[str, Any]) -> None:
    """Set tags of a version; values become text."""
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, str(value))


def resolve(client: MlflowClient, uri: str) -> ModelVersion:
    """Find the version that models:/name@alias or models:/name/3 stands for now.

    Raises InputError, with a list of the registered models, where there is no such version.
    """
    address = uri.removeprefix("models:/")
    try:
        if "@" in address:
            name, _, alias = address.rpartition("@")
            return client.get_model_version_by_alias(name, alias)
        name, _, number = address.rpartition("/")
        if not name:
            name, number = address, ""
        if number.isdecimal():
            return client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    raise InputError(f"{uri}: no such model. There are:\n{_catalogue(client)}")


def _catalogue(client: MlflowClient) -> str:
    """One line for each registered model: its aliases and its last five versions."""
    lines = []
    for model in client.search_registered_models():
        aliases = [f"models:/{model.name}@{alias}" for alias in client.get_registered_model(model.name).aliases]
        versions = sorted(int(one.version) for one in client.search_model_versions(f"name = '{model.name}'"))
        shown = [f"models:/{model.name}/{version}" for version in versions[-5:]]
        lines.append("  " + "  ".join(aliases + shown))
    return "\n".join(lines) or "  none yet; training registers one"


def fetch(uri: str, target: Path) -> Path:
    """Download the two files that prediction reads from models:/name/3 or runs:/<run id>/<path>; return `target`.

    Raises InputError where one of them is missing or cannot be downloaded.
    """
    from mlflow.artifacts import download_artifacts

    target.mkdir(parents=True, exist_ok=True)
    for name in (CONTRACT_FILE, WEIGHTS_FILE):
        try:
            download_artifacts(f"{uri}/{name}", dst_path=str(target))
        except (MlflowException, OSError) as error:
            raise InputError(f"{uri}: holds no model of this program ({name}: {error})") from error
    return target
