"""Registered models: making a version, choosing the champion, finding a model by its address."""

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

CHAMPION = "champion"


def export(segmenter: Segmenter, folder: Path) -> None:
    """Add the form that any MLflow tool can load and serve to the model that `save_segmenter` wrote in `folder`.

    Takes uint8 RGB [B, H, W, 3] of any B, H and W; gives float32 probabilities [B, C, H, W]. Holds a graph and
    weights, no code of this package and no pickle.
    """
    import mlflow.pytorch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    # The batch must not be 1 nor height equal width, or the exported graph is good for that only.
    example = np.random.default_rng(0).integers(0, 256, (2, 48, 80, 3), dtype=np.uint8)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, segmenter.contract.channels, -1, -1))]),
    )
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about type hints and integer columns, which a user cannot act on
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
    """The version without a local part such as +cpu, which no index serves."""
    return metadata.version(package).partition("+")[0]


def register(client: MlflowClient, folder: RunFolder, run_id: str, name: str, tags: Mapping[str, str]) -> None:
    """Upload `folder`/model and make it a version of `name`. Done once: what was made is kept in version.json."""
    done = folder.read_version()
    if "version" in done:
        return
    if not (folder.model / WEIGHTS_FILE).exists():  # MLflow would register an empty one
        raise InputError(f"{folder.model}: the run's model is not there, so it cannot be registered")
    if "model_id" not in done:
        done["model_id"] = _logged_model(client, folder, run_id, name)
        write_json(folder.version, done)
    if not done.get("uploaded"):
        client.log_model_artifacts(done["model_id"], str(folder.model))
        client.finalize_logged_model(done["model_id"], "READY")
        write_json(folder.version, done := done | {"uploaded": True})
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # A version of an earlier request, whose answer was lost, or a new one.
    versions = [one for one in client.search_model_versions(f"run_id = '{run_id}'") if one.name == name]
    version = versions[0] if versions else client.create_model_version(
        name, f"models:/{done['model_id']}", run_id, dict(tags) | {"run_id": run_id}, model_id=done["model_id"]
    )  # fmt: skip
    write_json(folder.version, done | {"name": name, "version": str(version.version)})


def _logged_model(client: MlflowClient, folder: RunFolder, run_id: str, name: str) -> str:
    """The id of the run's model in MLflow, made unless an earlier request, whose answer was lost, made it."""
    experiment_id = folder.read_run()["experiment_id"]
    found = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'", max_results=1)
    model = found[0] if found else client.create_logged_model(experiment_id, name, source_run_id=run_id)
    return str(model.model_id)


def champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """The version that predict uses by default, if there is one."""
    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def promote(client: MlflowClient, name: str, version: str) -> None:
    client.set_registered_model_alias(name, CHAMPION, version)


def note(client: MlflowClient, name: str, version: str, tags: Mapping[str, Any]) -> None:
    """Keep evidence on a version."""
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, str(value))


def resolve(client: MlflowClient, uri: str) -> ModelVersion:
    """The one version that models:/name@alias or models:/name/3 means now. Raises InputError listing what there is."""
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
    lines = []
    for model in client.search_registered_models():
        aliases = [f"models:/{model.name}@{alias}" for alias in client.get_registered_model(model.name).aliases]
        versions = sorted(int(one.version) for one in client.search_model_versions(f"name = '{model.name}'"))
        shown = [f"models:/{model.name}/{version}" for version in versions[-5:]]
        lines.append("  " + "  ".join(aliases + shown))
    return "\n".join(lines) or "  none yet; training registers one"


def fetch(uri: str, target: Path) -> Path:
    """Download the two files that predict reads, of models:/name/3 or runs:/<run id>/<path>, into `target`."""
    from mlflow.artifacts import download_artifacts

    target.mkdir(parents=True, exist_ok=True)
    for name in (CONTRACT_FILE, WEIGHTS_FILE):
        try:
            download_artifacts(f"{uri}/{name}", dst_path=str(target))
        except (MlflowException, OSError) as error:
            raise InputError(f"{uri}: holds no model of this program ({name}: {error})") from error
    return target
