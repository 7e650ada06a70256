"""Folders of Hugging Face models: found without a network, refused where they hold code or nothing, and their facts."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backbones import no_network, save_backbone
from trainer import InputError
from trainer.config import ModelConfig
from trainer.model import hub_folder
from trainer.model.hub_folder import (
    UNKNOWN,
    HubFolder,
    check_encoder,
    find_folder,
    licence_notice,
    read_licence,
    read_normalisation,
)


@pytest.fixture(autouse=True)
def _offline() -> Iterator[None]:
    with no_network():
        yield


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small ConvNeXt."""
    return save_backbone(tmp_path_factory.mktemp("models") / "small convnext")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """Copy of the folder, to damage."""
    return Path(shutil.copytree(saved, tmp_path / "small convnext"))


@pytest.fixture
def cache(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Hub cache, as `hf download` leaves it, with one model; its ID."""
    revision, repository = "0" * 40, tmp_path / "models--someone--small"
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    for file in saved.iterdir():
        blob = repository / "blobs" / file.name
        blob.parent.mkdir(exist_ok=True)
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(blob)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return "someone/small"


def test_a_folder_is_found(folder: Path) -> None:
    """Its name for people has no blanks, and is not a path."""
    assert find_folder(f"hf:{folder}") == HubFolder("small_convnext", folder)


def test_a_model_of_the_hub_is_found_in_the_cache(cache: str, tmp_path: Path) -> None:
    found = find_folder(f"hf:{cache}")
    assert found.name == cache
    assert found.path.is_relative_to(tmp_path)
    assert read_licence(found) == "apache-2.0"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("someone/other", "not in the hub cache.*hf download someone/other"),
        ("/no/such/folder", "no such folder; give one, or an ID"),
        ("../folder", "no such folder; give one, or an ID"),
        ("a--b/c..d", "hf download"),
    ],
)
def test_what_is_not_there_is_said_with_the_command(given: str, said: str, cache: str) -> None:
    with pytest.raises(InputError, match=f"model.encoder: hf:{given}: .*{said}"):
        check_encoder(ModelConfig(encoder=f"hf:{given}"))


def test_pickle_alone_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"model\.safetensors is missing, and pytorch_model\.bin could run code"):
        find_folder(f"hf:{folder}")
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors is missing, and there are no weights"):
        find_folder(f"hf:{folder}")
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"no Hugging Face model there \(config\.json is missing\)"):
        find_folder(f"hf:{folder}")


def test_without_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_folder.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"needs the package transformers; install it with\n.*\[hf\]"):
        find_folder(f"hf:{folder}")


@pytest.mark.parametrize(
    ("content", "mean", "std"),
    [
        (None, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ({}, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ({"image_mean": [0.5] * 3, "image_std": [0.25, 0.5, 1]}, (127.5,) * 3, (63.75, 127.5, 255.0)),
        ({"image_mean": [1, 2, 3], "image_std": [4, 5, 6], "do_rescale": False}, (1, 2, 3), (4, 5, 6)),
        ({"image_mean": [0.5] * 3, "image_std": [1] * 3, "rescale_factor": 0.01}, (50,) * 3, (100,) * 3),
        ({"do_normalize": False, "image_mean": [0.5] * 3}, (0,) * 3, (255,) * 3),
    ],
)
def test_normalisation(content: dict[str, object] | None, mean: object, std: object, folder: Path) -> None:
    file = folder / "preprocessor_config.json"
    file.unlink() if content is None else file.write_text(json.dumps(content))
    found = read_normalisation(HubFolder("small", folder))
    assert found[0] == pytest.approx(mean)
    assert found[1] == pytest.approx(std)


@pytest.mark.parametrize(
    "content",
    [
        {"image_mean": 5},
        {"image_mean": "red"},
        {"image_std": [1, 2]},
        {"rescale_factor": 0},
        {"rescale_factor": "1/255"},
        [],
    ],
)
def test_a_normalisation_that_is_none(content: object, folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"preprocessor_config\.json: "):
        read_normalisation(HubFolder("small", folder))


@pytest.mark.parametrize(
    ("card", "licence", "notice"),
    [
        ("---\nlicense: apache-2.0\n---\n", "apache-2.0", ""),
        ("---\r\ntags: [a]\r\nlicense: mit\r\n---\r\ntext", "mit", ""),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0", ""),
        ("---\nlicense: [mit, cc-by-nc-4.0]\n---\n", "mit, cc-by-nc-4.0", "cc-by-nc-4.0, which may not allow"),
        ("---\nlicense: cc-by-nc-4.0\n---\n", "cc-by-nc-4.0", "cc-by-nc-4.0, which may not allow every use"),
        ("---\nlicense: other\nlicense_name: dinov3-license\n---\n", "other, dinov3-license", "dinov3-license, which"),
        ("license: mit\n", UNKNOWN, "states no licence"),
        ("---\ntags: [a]\n---\nlicense: mit", UNKNOWN, "states no licence"),
        ("---\nlicense: [\n---\n", UNKNOWN, "states no licence"),
        ("---\nlicense:\n---\n", UNKNOWN, "states no licence"),
        (None, UNKNOWN, "states no licence"),
    ],
)
def test_licence(card: str | None, licence: str, notice: str, folder: Path) -> None:
    file = folder / "README.md"
    file.unlink() if card is None else file.write_bytes(card.encode())
    assert read_licence(HubFolder("small", folder)) == licence
    said = licence_notice("hf:small", licence)
    assert notice in said
    assert bool(said) == bool(notice)
