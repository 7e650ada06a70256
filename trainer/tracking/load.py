"""Loading of models by their address: a registry URI, a run, or a local folder."""

import tempfile
from pathlib import Path

from trainer import InputError
from trainer.inference.model import Model
from trainer.model.model_folder import load_segmenter
from trainer.model.segmenter import Segmenter
from trainer.system.installation import require
from trainer.tracking.address import parse_address
from trainer.tracking.errors import store_errors


def load_model(uri: str) -> Model:
    """Load the model of an address of MLflow, or of a local folder, which loads without MLflow.

    Raises InputError where the model does not exist or cannot be read, or the store does not answer.
    """
    address = parse_address(uri)
    if address.folder is not None:
        return Model(load_segmenter(address.folder), {"uri": str(address.folder)})
    require("registry", f"{address.text}: a model of MLflow")
    from trainer.tracking import server

    client = server.connect()
    from trainer.tracking import registry

    with store_errors():
        found, origin = registry.resolve(client, address)
    return Model(load_uri(found, address.text), {"uri": address.text} | origin)


def load_uri(uri: str, address: str) -> Segmenter:
    """Load the model at a URI that `resolve` gave. Raises InputError, with its `address`, where that fails."""
    from trainer.tracking import registry

    with tempfile.TemporaryDirectory() as scratch:
        try:
            return load_segmenter(registry.fetch(uri, Path(scratch)))
        except InputError as error:
            raise InputError(str(error).replace(scratch, address).replace(uri, address)) from error
