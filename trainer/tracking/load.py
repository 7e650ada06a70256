"""A model by its address, wherever it lies."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from trainer import InputError
from trainer.model.model_folder import load_segmenter
from trainer.model.segmenter import Segmenter


@dataclass(frozen=True)
class OpenModel:
    """A model ready to predict, and where it came from."""

    segmenter: Segmenter
    origin: dict[str, str]
    """For the report: uri, and for a registered model its name, version, alias and run id."""


def open_model(uri: str) -> OpenModel:
    """Load models:/name@alias, models:/name/3, runs:/..., or a local folder. Raises InputError where it cannot.

    MLflow is loaded for the first three only.
    """
    if not uri.startswith(("models:", "runs:")):
        folder = Path(uri)
        if not folder.is_dir():
            raise InputError(f"{uri}: no such folder; give a model folder, models:/name@alias or models:/name/3")
        return OpenModel(load_segmenter(folder), {"uri": str(folder)})
    from trainer.tracking import server

    client = server.connect()
    from trainer.tracking import registry

    if uri.startswith("runs:"):
        with tempfile.TemporaryDirectory() as scratch:
            return OpenModel(load_segmenter(registry.fetch(uri, Path(scratch))), {"uri": uri})
    version = registry.resolve(client, uri)
    origin = {"uri": uri, "name": version.name, "version": str(version.version), "run_id": version.run_id or ""}
    if "@" in uri:
        origin["alias"] = uri.rpartition("@")[2]
    return OpenModel(open_version(version), origin)


def open_version(version: "registry.ModelVersion") -> Segmenter:  # type: ignore[name-defined]  # noqa: F821
    """The segmenter of one registered version. Raises InputError where it cannot be read."""
    from trainer.tracking import registry

    with tempfile.TemporaryDirectory() as scratch:
        return load_segmenter(registry.fetch(f"models:/{version.name}/{version.version}", Path(scratch)))
