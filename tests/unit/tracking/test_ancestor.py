"""Images that a model has from the one it started from: of a folder, a checkpoint, a registered version."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.registry import add_version
from trainer.model.model_folder import save_segmenter
from trainer.model.segmenter import Segmenter
from trainer.model.training_images import of_hashes, write_training_images
from trainer.tracking.ancestor import with_ancestor

OWN, ITS = of_hashes([1]), of_hashes([2])


@pytest.fixture
def folder(tmp_path: Path, make_segmenter: Callable[..., Segmenter]) -> Path:
    """Checkpoint folder of a model that was trained on data of the digest `theirs`."""
    made = tmp_path / "run" / "checkpoints" / "step-3"
    save_segmenter(make_segmenter(dataset_digest="theirs"), made)
    return made


def test_without_a_model_to_start_from_nothing_is_added() -> None:
    assert with_ancestor(OWN, None, "ours") is OWN


def test_a_model_folder_and_a_checkpoint(folder: Path) -> None:
    assert not with_ancestor(OWN, str(folder), "ours").complete
    assert with_ancestor(OWN, str(folder), "theirs") is OWN  # the same data: the same images
    write_training_images(folder.parent.parent, ITS)
    assert with_ancestor(OWN, str(folder), "ours") == OWN.after(ITS)
    write_training_images(folder, of_hashes([3]))
    assert with_ancestor(OWN, str(folder), "ours") == OWN.after(of_hashes([3]))


def test_a_registered_version(folder: Path, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = f"sqlite:///{shutil.copyfile(empty_store, tmp_path / 'mlflow.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    client = MlflowClient(store)
    add_version(client, "cats", folder, 0.5)
    assert not with_ancestor(OWN, "models:/cats/1", "ours").complete
    write_training_images(folder, ITS)
    assert with_ancestor(OWN, "models:/cats/1", "ours") == OWN.after(ITS)
