"""Loading of models by their address: a registry URI, a run, or a local folder."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainer import InputError
from trainer.inference.model import Model
from trainer.model.model_folder import load_segmenter
from trainer.model.segmenter import Segmenter
from trainer.system.installation import require
from trainer.tracking.address import Address, parse_address
from trainer.tracking.errors import store_errors


def load_model(uri: str) -> Model:
    """Load the model of an address of MLflow, or of a local folder, which loads without MLflow.

    Raises InputError where the model does not exist or cannot be read, or the store does not answer.
    """
    address = parse_address(uri)
    if address.folder is not None:
        return Model(load_segmenter(address.folder), {"uri": str(address.folder)})
    found, origin = locate(address)
    return Model(load_uri(found, address.text), {"uri": address.text} | origin)


def locate(address: Address) -> tuple[str, dict[str, str]]:
    """Find what an address of MLflow stands for now: the URI to load, and name, version, alias and run id.

    Raises InputError where the model does not exist, or the store does not answer.
    """
    require("registry", f"{address.text}: a model of MLflow")
    from trainer.tracking import server

    client = server.connect()
    from trainer.tracking.fetch import resolve

    with store_errors():
        return resolve(client, address)


def list_versions(name: str) -> list[dict[str, Any]]:
    """Versions of a registered model, the oldest first: `version`, `aliases`, `created` and `val/miou` as text.

    Raises InputError where the store does not answer.
    """
    require("registry", f"models:/{name}")
    from trainer.tracking import server

    client = server.connect()
    from trainer.tracking import registry

    with store_errors():
        found = registry.versions(client, name)
        aliases = client.get_registered_model(name).aliases if found else {}
    return [
        {
            "version": number,
            "aliases": sorted(alias for alias, of in aliases.items() if str(of) == number),
            "created": datetime.fromtimestamp(one.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
            "val/miou": one.tags.get("val/miou", ""),
        }
        for number, one in found.items()
    ]


def load_uri(uri: str, address: str) -> Segmenter:
    """Load the model at a URI that `resolve` gave. Raises InputError, with its `address`, where that fails."""
    from trainer.tracking.fetch import fetch

    with tempfile.TemporaryDirectory() as scratch:
        try:
            return load_segmenter(fetch(uri, Path(scratch)))
        except InputError as error:
            raise InputError(str(error).replace(scratch, address).replace(uri, address)) from error
