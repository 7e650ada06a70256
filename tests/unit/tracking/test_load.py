"""Loading of one model by every address that a real store has for it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.registry import add_version
from trainer import InputError
from trainer.model.model_folder import save_segmenter
from trainer.model.segmenter import Segmenter
from trainer.tracking.load import load_model

Maker = Callable[..., Segmenter]


@pytest.fixture
def client(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Client of a store that is in use."""
    uri = f"sqlite:///{shutil.copyfile(empty_store, tmp_path / 'mlflow.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(uri)
    client.create_experiment("cats", (tmp_path / "artifacts").as_uri())
    return client


def test_one_model_by_all_its_addresses(client: MlflowClient, tmp_path: Path, make_segmenter: Maker) -> None:
    save_segmenter(make_segmenter(commit="the one"), tmp_path / "model")
    save_segmenter(make_segmenter(commit="another"), tmp_path / "another")
    experiment = client.get_experiment_by_name("cats")
    assert experiment is not None
    run_id = client.create_run(experiment.experiment_id).info.run_id
    logged = client.create_logged_model(experiment.experiment_id, "its", source_run_id=run_id)
    client.log_model_artifacts(logged.model_id, str(tmp_path / "model"))
    client.log_artifacts(run_id, str(tmp_path / "another"), "other/place")
    for name in ("it's", "cats"):
        add_version(client, name, tmp_path / "another", 0.1)
        client.create_model_version(name, f"models:/{logged.model_id}", run_id, model_id=logged.model_id)
        client.set_registered_model_alias(name, "champion", "2")
    place = logged.artifact_location.rstrip("/")
    addresses = ["models:/cats@champion", "models:/cats/2", "models:/cats/002", "models:/cats/latest"]
    addresses += ["models:/it's/latest", "models:/cats@latest", f"models:/{logged.model_id}", logged.model_id]
    addresses += [f"runs:/{run_id}/model", f"runs:/{run_id}/its", f"runs:/{run_id}", run_id]
    addresses += [place, f"{place}/segmenter.json", f"mlflow-artifacts:/1/models/{logged.model_id}/artifacts"]
    for address in addresses:
        assert load_model(address).segmenter.contract.commit == "the one", address
    for address in ("models:/cats/1", f"runs:/{run_id}/other/place"):
        assert load_model(address).segmenter.contract.commit == "another", address
    origin = load_model("models:/cats@champion").origin
    assert origin == {
        "uri": "models:/cats@champion",
        "name": "cats",
        "version": "2",
        "run_id": run_id,
        "alias": "champion",
    }


MISSING = [
    *("models:/nobody@champion", "models:/nobody/latest", "models:/nobody", "models:/nobody/1", f"m-{'0' * 32}"),
    *(f"models:/nobody/{'9' * number}" for number in (9, 10, 19, 30, 5000)),
    *(f"runs:/{'0' * 32}/model", "models:/nobody@", "models:/nobody@v3", "models:/a'b\"c/1", "models:/%2e%2e/1"),
]


def test_what_is_not_there_is_named(client: MlflowClient) -> None:
    for address in MISSING:
        with pytest.raises(InputError, match=r"no such (model|run)|alias is missing") as error:
            load_model(address)
        assert str(error.value).startswith(address)


def test_an_error_names_the_address_and_no_temporary_folder(
    client: MlflowClient, tmp_path: Path, make_segmenter: Maker
) -> None:
    for fault in ("changed", "missing", "empty"):
        model = tmp_path / fault
        save_segmenter(make_segmenter(), model)
        file = model / "weights.safetensors"
        if fault == "changed":
            file.write_bytes(b"other weights")
        elif fault == "missing":
            file.unlink()
        else:
            shutil.rmtree(model)
        version = add_version(client, "faulty", model, 0.1)
        with pytest.raises(InputError) as error:
            load_model(f"models:/faulty/{version}")
        assert str(error.value).startswith(f"models:/faulty/{version}")
        assert "tmp" not in str(error.value).replace(str(tmp_path), "")
        assert "\n" not in str(error.value)
