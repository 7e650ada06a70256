"""Fixtures for tests of a real registry: a fresh store for each module, and names that no other test uses."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

NAMES = (f"model-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[str]:
    """Address of a fresh store, in use during this module."""
    with pytest.MonkeyPatch.context() as patch:
        uri = f"sqlite:///{shutil.copyfile(empty_store, tmp_path_factory.mktemp('store') / 'mlflow.db')}"
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri


@pytest.fixture
def client(store: str) -> MlflowClient:
    return MlflowClient(store)


@pytest.fixture
def name() -> str:
    """Name of a registered model that no other test uses."""
    return next(NAMES)
