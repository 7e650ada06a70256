"""Addresses of models, in the forms that MLflow's pages show."""

from pathlib import Path
from typing import Any

import pytest

from trainer import InputError
from trainer.tracking.address import parse_address

MODEL, RUN = f"m-{'0a' * 16}", "1b" * 16
HOST = "http://127.0.0.1:5000"
FORMS: dict[str, dict[str, Any]] = {
    "models:/cat-unet@champion": {"name": "cat-unet", "alias": "champion"},
    " models:/my model@a@b/weights.safetensors ": {"name": "my model@a", "alias": "b"},
    "models:/cat-unet/3": {"name": "cat-unet", "version": "3"},
    "models:/cat-unet/3/": {"name": "cat-unet", "version": "3"},
    "models:/cat-unet/latest": {"name": "cat-unet", "version": "latest"},
    "models:cat-unet/3": {"name": "cat-unet", "version": "3"},
    "models:/cat-unet": {"name": "cat-unet"},
    f"models:/{MODEL}": {"model_id": MODEL},
    f"models:/{MODEL}/segmenter.json": {"model_id": MODEL},
    MODEL: {"model_id": MODEL},
    f"mlflow-artifacts:/3/models/{MODEL}/artifacts": {"model_id": MODEL},
    f"mlflow-artifacts:/3/models/{MODEL}/artifacts/weights.safetensors": {"model_id": MODEL},
    f"file:///nowhere/artifacts/models/{MODEL}/artifacts/segmenter.json": {"model_id": MODEL},
    f"s3://bucket/3/models/{MODEL}/artifacts": {"model_id": MODEL},
    f"{HOST}/#/experiments/3/models/{MODEL}": {"model_id": MODEL},
    f"runs:/{RUN}/model": {"run_id": RUN, "path": "model"},
    f"runs:/{RUN}": {"run_id": RUN},
    f"runs:/{RUN}/": {"run_id": RUN},
    RUN: {"run_id": RUN},
    f"mlflow-artifacts:/3/{RUN}/artifacts/model": {"run_id": RUN, "path": "model"},
    f"{HOST}/#/experiments/3/runs/{RUN}/artifacts": {"run_id": RUN},
    f"{HOST}/#/experiments/3/runs/{RUN}": {"run_id": RUN},
    f"{HOST}/#/models/cat%20unet/versions/3": {"name": "cat unet", "version": "3"},
    f"{HOST}/#/models/cat-unet": {"name": "cat-unet"},
}
"""Address -> what it is taken apart into."""


@pytest.mark.parametrize("text", FORMS)
def test_parts_of_an_address(text: str) -> None:
    empty = {"folder": None, "run_id": "", "path": "", "model_id": "", "name": "", "alias": "", "version": ""}
    assert vars(parse_address(text)) == {"text": text.strip()} | empty | FORMS[text]


def test_a_folder_and_a_file_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a model"
    folder.mkdir()
    file = folder / "segmenter.json"
    file.touch()
    for text in (str(folder), str(file), folder.as_uri(), file.as_uri()):
        assert parse_address(text).folder == folder
    monkeypatch.chdir(tmp_path)
    (tmp_path / MODEL).mkdir()
    assert parse_address(MODEL).folder == Path(MODEL)


REFUSED = {
    "models:/": "the name is missing; give models:/name@alias",
    "models:/@champion": "the name is missing",
    "models:/cat-unet@": "the alias is missing",
    "models:/cat-unet/Production": "'Production' is not a version; give models:/cat-unet/3",
    "models:/cat-unet/٣": "is not a version",
    "models:/cat-unet/-1": "is not a version",
    "runs:/": "give runs:/RUN_ID/model",
    "cat-unet@champion": "for a registered model, models:/cat-unet@champion;",
    "cat-unet/3": "for a registered model, models:/cat-unet/3;",
    "no such folder": "no such folder; give models:/name@alias",
    "": "no such folder",
    "a" * 5000: "no such folder",
    "a\0b": "no such folder",
    f"{HOST}/#/experiments/3": "no address of a model; give models:/name@alias",
    "mlflow-artifacts:/3/here": "no address of a model",
}
"""Address -> part of the message."""


@pytest.mark.parametrize("text", REFUSED)
def test_what_no_model_can_have_is_refused_with_the_address_to_use(text: str) -> None:
    with pytest.raises(InputError) as error:
        parse_address(text)
    assert REFUSED[text] in str(error.value)
