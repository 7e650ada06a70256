"""Loading of models by their address: a registry URI, a run, or a local folder."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import InputError
from trainer.inference.model import Model
from trainer.model.model_folder import load_segmenter
from trainer.model.segmenter import Segmenter

if TYPE_CHECKING:  # loads MLflow, which a local folder does not need
    from mlflow.entities.model_registry import ModelVersion


def load_model(uri: str) -> Model:
    """Load models:/name@alias, models:/name/3, runs:/<run id>/<path>, or a local folder, which loads without MLflow.

    Raises InputError where the model does not exist or cannot be read, or the store does not answer.
    """
    if not uri.startswith(("models:", "runs:")):
        folder = Path(uri)
        if not folder.is_dir():
            raise InputError(f"{uri}: no such folder; give a model folder, models:/name@alias or models:/name/3")
        return Model(load_segmenter(folder), {"uri": str(folder)})
    from trainer.tracking import server

    client = server.connect()
    from trainer.tracking import registry

    if uri.startswith("runs:"):
        with tempfile.TemporaryDirectory() as scratch:
            return Model(load_segmenter(registry.fetch(uri, Path(scratch))), {"uri": uri})
    version = registry.resolve(client, uri)
    origin = {"uri": uri, "name": version.name, "version": str(version.version), "run_id": version.run_id or ""}
    if "@" in uri:
        origin["alias"] = uri.rpartition("@")[2]
    return Model(load_version(version), origin)


def load_version(version: "ModelVersion") -> Segmenter:
    """Load one registered version. Raises InputError where it cannot be read."""
    from trainer.tracking import registry

    with tempfile.TemporaryDirectory() as scratch:
        return load_segmenter(registry.fetch(f"models:/{version.name}/{version.version}", Path(scratch)))
