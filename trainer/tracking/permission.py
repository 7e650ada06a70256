"""Rights on a server with logins, found out before a training rather than after it."""

from typing import Any

from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from trainer import InputError
from trainer.tracking.errors import refusal, store_errors
from trainer.tracking.store import tracking_uri

MODELS = "registered-models/"
"""Beginning of the paths of MLflow's requests about registered models."""


def require_right_to_register(name: str | None) -> None:
    """Raise InputError where this user may not change the registered model that a run is to become a version of.

    Anyone may make a new model. Nothing is changed: a tag without a name is refused whoever asks, but for a missing
    right first.
    """
    if not name or not _has_logins():
        return
    with store_errors():
        exists = _ask(MODELS + "get", "GET", params={"name": name}).status_code == 200
        if exists and _ask(MODELS + "set-tag", "POST", json={"name": name}).status_code == 403:
            what = f"register a version of the model {name!r}"
            raise InputError(f"{refusal(403, what)}. Another name is --registry.name NAME, and null registers nothing")


def require_right_to_add_runs(experiment: str) -> None:
    """Raise InputError where this user may not add a run to an experiment, of this name.

    Anyone may make a new experiment. Nothing is changed: a run that begins at no time is refused whoever asks, but for
    a missing right first.
    """
    if not _has_logins():
        return
    with store_errors():
        found = _ask("experiments/get-by-name", "GET", params={"experiment_name": experiment})
        if found.status_code == 403:
            raise InputError(refusal(403, f"see the experiment {experiment!r}"))
        if found.status_code != 200:
            return
        given = {"experiment_id": found.json()["experiment"]["experiment_id"], "start_time": "never"}
        if _ask("runs/create", "POST", json=given).status_code == 403:
            raise InputError(refusal(403, f"add a run to the experiment {experiment!r}"))


def _has_logins() -> bool:
    """Return whether the store is a server, which may tell its users apart."""
    return tracking_uri().startswith(("http://", "https://"))


def _ask(path: str, method: str, **content: Any) -> Any:
    """Answer of the server to a request."""
    credentials = get_default_host_creds(tracking_uri())
    return http_request(credentials, f"/api/2.0/mlflow/{path}", method, raise_on_status=False, **content)
