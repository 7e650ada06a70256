"""Registered models: their versions, and the aliases of these."""

from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

CHAMPION, PREVIOUS = "champion", "previous"
"""Aliases of the version that predict.py uses by default, and of the one before it."""

NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's error codes where there is no such model, version, alias or run."""


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
