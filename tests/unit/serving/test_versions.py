"""The version that answers, in a real store: the alias that moves, what cannot be loaded, another on demand."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.registry import add_version
from trainer import InputError
from trainer.model.model_folder import CONTRACT_FILE, save_segmenter
from trainer.model.segmenter import Segmenter
from trainer.serving.limits import Refused
from trainer.serving.versions import RETRY_SECONDS, Versions

Maker = Callable[..., Segmenter]
NAME = "cats ü"


@pytest.fixture
def client(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, make_segmenter: Maker) -> MlflowClient:
    """Client of a store in use, with three versions of NAME, the first with the alias champion; the third is broken."""
    uri = f"sqlite:///{shutil.copyfile(empty_store, tmp_path / 'mlflow.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(uri)
    for number in range(3):
        folder = tmp_path / f"model{number}"
        save_segmenter(make_segmenter(seed=number, commit=f"{number}"), folder)
        assert add_version(client, NAME, folder, number / 10) == f"{number + 1}"
    (tmp_path / "model2" / CONTRACT_FILE).write_text("{}")
    client.set_registered_model_alias(NAME, "champion", "1")
    return client


def commit(versions: Versions) -> str:
    return versions.current.model.segmenter.contract.commit


def test_the_alias_is_followed(client: MlflowClient) -> None:
    events: list[tuple[str, dict[str, object]]] = []
    versions = Versions(f"models:/{NAME}@champion", notify=lambda event, **facts: events.append((event, facts)))
    first = versions.current
    assert (first.name, first.version, first.alias, versions.moves) == (NAME, "1", "champion", True)
    versions.follow()
    assert versions.current is first
    client.set_registered_model_alias(NAME, "champion", "2")
    versions.follow()
    assert (commit(versions), versions.current.version, versions.fault) == ("1", "2", "")
    assert [(event, facts["before"], facts["version"]) for event, facts in events] == [("swap", "1", "2")]


def test_a_version_that_cannot_be_loaded(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The present one goes on; the fault is said once, and is over when the alias moves on."""
    events: list[str] = []
    versions = Versions(f"models:/{NAME}@champion", notify=lambda event, **_facts: events.append(event))
    client.set_registered_model_alias(NAME, "champion", "3")
    for _ in range(3):
        versions.follow()
    assert commit(versions) == "0"
    assert "segmenter.json" in versions.fault
    client.delete_registered_model_alias(NAME, "champion")
    for _ in range(2):
        versions.follow()
    assert "no such model" in versions.fault
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    versions.follow()
    assert "no answer" in versions.fault
    assert commit(versions) == "0"
    monkeypatch.undo()
    assert events == ["alias_error"] * 3


def test_a_broken_version_is_tried_again_later(client: MlflowClient, tmp_path: Path) -> None:
    versions = Versions(f"models:/{NAME}@champion")
    client.set_registered_model_alias(NAME, "champion", "3")
    versions.follow()
    shutil.copytree(tmp_path / "model1", tmp_path / "model2", dirs_exist_ok=True)  # whole now
    versions.follow()
    assert (commit(versions), versions.fault != "") == ("0", True)
    versions.failed = ("3", versions.failed[1] - 2 * RETRY_SECONDS)
    versions.follow()
    assert (commit(versions), versions.current.version, versions.fault) == ("1", "3", "")


def test_the_fault_ends(client: MlflowClient) -> None:
    versions = Versions(f"models:/{NAME}@champion")
    client.set_registered_model_alias(NAME, "champion", "3")
    versions.follow()
    client.set_registered_model_alias(NAME, "champion", "1")
    versions.follow()
    assert versions.fault == ""


def test_another_version_on_demand(client: MlflowClient) -> None:
    versions = Versions(f"models:/{NAME}@champion")
    assert versions.get("") is versions.get("1") is versions.current
    second = versions.get("2")
    assert second.model.segmenter.contract.commit == "1"
    assert versions.get("2") is second
    client.set_registered_model_alias(NAME, "champion", "2")
    versions.follow()
    assert versions.current.version == "2"
    assert versions.get("1").model.segmenter.contract.commit == "0"
    for wrong, text in {
        "3": "segmenter.json",
        "4": f"^version 4: models:/{NAME}/4: no such model; GET /versions lists them$",
        "0": "GET /versions",
        "x": "GET /versions",
    }.items():
        with pytest.raises(Refused, match=text) as refused:
            versions.get(wrong)
        assert refused.value.status == 404
    with versions.loading, pytest.raises(Refused) as refused:
        versions.get("1")
    assert (refused.value.status, refused.value.retry_s > 0) == (503, True)


def test_the_list_of_versions(client: MlflowClient) -> None:
    client.set_registered_model_alias(NAME, "previous", "2")
    client.set_registered_model_alias(NAME, "older", "2")
    listed = Versions(f"models:/{NAME}/latest".replace("latest", "2")).listing()
    assert [(one["version"], one["aliases"], one["val/miou"], one["current"]) for one in listed] == [
        ("1", ["champion"], "0.0", False),
        ("2", ["older", "previous"], "0.1", True),
        ("3", [], "0.2", False),
    ]


def test_a_folder_has_one_version(tmp_path: Path, make_segmenter: Maker) -> None:
    save_segmenter(make_segmenter(), tmp_path / "my cats" / "model")
    versions = Versions(str(tmp_path / "my cats" / "model"))
    assert (versions.current.name, len(versions.current.version), versions.moves) == ("my cats", 12, False)
    assert versions.get(versions.current.version) is versions.current
    assert versions.listing() == [{"version": versions.current.version, "aliases": [], "current": True}]
    with pytest.raises(Refused):
        versions.get("2")
    with pytest.raises(InputError):
        Versions(str(tmp_path / "nothing"))


def test_thresholds(tmp_path: Path, make_segmenter: Maker) -> None:
    save_segmenter(make_segmenter(), tmp_path / "one")
    save_segmenter(make_segmenter(2), tmp_path / "two")
    one, two = (Versions(str(tmp_path / name)).current for name in ("one", "two"))
    assert one.at(0.5) is one.at(None) is one.plain
    other = one.at(0.25)
    assert (other.facts["threshold"], one.plain.facts["threshold"]) == (0.25, 0.5)
    assert other.segmenter.network is one.plain.segmenter.network
    assert "threshold" not in two.plain.facts
    with pytest.raises(Refused, match="2 classes"):
        two.at(0.5)
