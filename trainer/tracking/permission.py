"""Rights on a server with logins, found out before a training rather than after it."""

from typing import Any

from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from trainer import InputError
from trainer.tracking.errors import refusal, store_errors
from trainer.tracking.store import tracking_uri

MODELS = "/api/2.0/mlflow/registered-models/"
"""Beginning of the paths of MLflow's requests about registered models."""


def require_right_to_register(name: str | None) -> None:
    """Raise InputError where this user may not change the registered model that a run is to become a version of.

    Anyone may make a new model. Nothing is changed: a tag without a name is refused whoever asks, but for a missing
    right first.
    """
    uri = tracking_uri()
    if not name or not uri.startswith(("http://", "https://")):
        return
    with store_errors():
        exists = _status(uri, "get", "GET", params={"name": name}) == 200
        if exists and _status(uri, "set-tag", "POST", json={"name": name}) == 403:
            what = f"register a version of the model {name!r}"
            raise InputError(f"{refusal(403, what)}. Another name is --registry.name NAME, and null registers nothing")


def _status(uri: str, path: str, method: str, **content: Any) -> int:
    answer = http_request(get_default_host_creds(uri), MODELS + path, method, raise_on_status=False, **content)
    return int(answer.status_code)
