"""The model with its contract: saved and loaded bit for bit, refused where anything is wrong, sizes and resizing."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.support.images import smooth_image
from trainer import InputError
from trainer.data.resize import resize_images, shrink_image
from trainer.model.model_folder import CONTRACT_FILE, WEIGHTS_FILE, load_segmenter, save_segmenter
from trainer.model.segmenter import Contract, Segmenter

Maker = Callable[..., Segmenter]


def pictures(height: int, width: int, count: int = 2) -> torch.Tensor:
    return torch.stack([torch.from_numpy(smooth_image(height, width, seed)) for seed in range(count)])


@pytest.mark.parametrize("foreground", [1, 3])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_saved_model_gives_the_same_bits(foreground: int, norm: str, tmp_path: Path, make_segmenter: Maker) -> None:
    segmenter = make_segmenter(
        foreground,
        norm=norm,
        threshold=0.25,
        mean=(1.0, 2.0, 3.0),
        std=(50.0, 60.5, 70.0),
        dataset_digest="d",
        commit="c",
    )
    save_segmenter(segmenter, tmp_path / "model")
    loaded = load_segmenter(tmp_path / "model")
    assert loaded.contract == segmenter.contract
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(pictures(37, 53)), segmenter(pictures(37, 53)))
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [CONTRACT_FILE, WEIGHTS_FILE]


def test_contract_survives_as_it_is(tmp_path: Path) -> None:
    contract = Contract(
        class_names=("_background_", "Kätzchen", "a/b: c"),
        colours=((0, 0, 0), (0, 128, 0), (255, 0, 1)),
        image_size=48,
        width=16,
        depth=3,
        norm="group",
        mean=(1.5, 0.1, 1 / 3),
        std=(2.0, 3.0, 4.0),
        threshold=0.7,
        dataset_digest="0123",
        commit="4567",
    )
    defaults = dataclasses.asdict(Contract(contract.class_names, contract.colours, 48))
    changed = {key for key, value in dataclasses.asdict(contract).items() if value != defaults[key]}
    assert changed == set(defaults) - {"class_names", "colours", "image_size"}  # or this test has a hole
    save_segmenter(Segmenter(contract), tmp_path)
    assert load_segmenter(tmp_path).contract == contract


def test_channels() -> None:
    assert Contract(("_background_", "cat"), (), 32).channels == 1
    assert Contract(("_background_", "cat", "dog"), (), 32).channels == 3


@pytest.mark.parametrize("name", [CONTRACT_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize("harm", ["missing", "truncated", "empty", "link", "folder"])
def test_damaged_model_is_refused(name: str, harm: str, tmp_path: Path, make_segmenter: Maker) -> None:
    folder = tmp_path / "model"
    save_segmenter(make_segmenter(), folder)
    file = folder / name
    content = file.read_bytes()
    file.unlink()
    if harm == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif harm == "empty":
        file.touch()
    elif harm == "link":  # to the very file: links are not followed, wherever they lead
        (tmp_path / "elsewhere").write_bytes(content)
        file.symlink_to(tmp_path / "elsewhere")
    elif harm == "folder":
        file.mkdir()
    with pytest.raises(InputError) as error:
        load_segmenter(folder)
    assert str(folder) in str(error.value)
    if name == WEIGHTS_FILE or harm in ("missing", "link", "folder"):
        assert name in str(error.value)


def test_one_changed_bit_in_the_weights_is_refused(tmp_path: Path, make_segmenter: Maker) -> None:
    save_segmenter(make_segmenter(), tmp_path)
    content = bytearray((tmp_path / WEIGHTS_FILE).read_bytes())
    content[-5] ^= 1
    (tmp_path / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(InputError, match=rf"{WEIGHTS_FILE}.*SHA-256"):
        load_segmenter(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 16},
        {"depth": 3},
        {"norm": "group"},
        {"class_names": ["_background_", "a", "b"]},
        {"mean": ["a", "b", "c"]},
        {"evil": 1},
        {"weights_sha256": "0" * 64},
    ],
    ids=str,
)
def test_contract_that_does_not_fit_is_refused(
    change: dict[str, object], tmp_path: Path, make_segmenter: Maker
) -> None:
    save_segmenter(make_segmenter(), tmp_path)
    content = json.loads((tmp_path / CONTRACT_FILE).read_text())
    (tmp_path / CONTRACT_FILE).write_text(json.dumps(content | change))
    with pytest.raises(InputError, match=str(tmp_path)):
        load_segmenter(tmp_path)


@pytest.mark.parametrize("content", [b"[]", b"5", b"{}", b"\xff\xfe", b"null"])
def test_contract_that_is_no_contract_is_refused(content: bytes, tmp_path: Path, make_segmenter: Maker) -> None:
    save_segmenter(make_segmenter(), tmp_path)
    (tmp_path / CONTRACT_FILE).write_bytes(content)
    with pytest.raises(InputError, match=str(tmp_path)):
        load_segmenter(tmp_path)


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model"):
        load_segmenter(tmp_path / "nowhere")


@pytest.mark.parametrize("foreground", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (1, 77), (7, 3), (31, 33), (32, 32), (50, 201)], ids=str)
def test_probabilities_of_the_image_size(foreground: int, size: tuple[int, int], make_segmenter: Maker) -> None:
    segmenter = make_segmenter(foreground)
    with torch.no_grad():
        found = segmenter(pictures(*size))
    assert found.shape == (2, segmenter.contract.channels, *size)
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert found.max() <= 1
    if foreground > 1:
        torch.testing.assert_close(found.sum(dim=1), torch.ones(2, *size))
    classes = segmenter.classes(found)
    assert classes.shape == (2, *size)
    assert classes.dtype == torch.uint8


def test_decision(make_segmenter: Maker) -> None:
    single = make_segmenter(1, threshold=0.3)
    assert single.classes(torch.tensor([[[[0.1, 0.3, 0.31, 0.9]]]])).tolist() == [[[0, 0, 1, 1]]]
    several = make_segmenter(2)
    votes = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7]]).T[None, :, None]
    assert several.classes(votes).tolist() == [[[0, 1, 2]]]


@pytest.mark.parametrize("size", [(41, 57), (16, 90), (200, 133)], ids=str)
def test_picture_from_the_cache_gives_the_same_bits(size: tuple[int, int], make_segmenter: Maker) -> None:
    """Training and validation see pictures that were resized once and kept as uint8; prediction resizes itself."""
    segmenter = make_segmenter(1)
    image = smooth_image(*size)
    kept = torch.from_numpy(shrink_image(image, 32)).permute(2, 0, 1)[None]
    assert kept.dtype == torch.uint8
    with torch.no_grad():
        cached = segmenter.probabilities(segmenter.network(segmenter.normalise(kept)), size)
        assert torch.equal(cached, segmenter(torch.from_numpy(image)[None]))


@pytest.mark.parametrize("size", [(64, 96), (100, 37), (20, 20)], ids=str)
def test_resizing_equals_pillow(size: tuple[int, int]) -> None:
    """Pillow's bilinear filter smooths when it makes smaller, as a photograph needs."""
    random = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (*size, 3), generator=random, dtype=torch.uint8)
    found = resize_images(noise.permute(2, 0, 1)[None], 32)[0].permute(1, 2, 0)
    expected = Image.fromarray(noise.numpy()).resize((32, 32), Image.Resampling.BILINEAR)
    assert (found - torch.tensor(list(expected.get_flattened_data())).reshape(32, 32, 3)).abs().max() <= 1
    assert torch.equal(found, found.round())
    assert found.min() >= 0
    assert found.max() <= 255


def test_normalisation_is_that_of_the_contract(make_segmenter: Maker) -> None:
    segmenter = make_segmenter(mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0))
    level = torch.tensor([14, 28, 20], dtype=torch.uint8)[None, :, None, None]
    assert segmenter.normalise(level).flatten().tolist() == [2.0, 2.0, -2.0]


def test_weights_file_holds_the_statistics_too(tmp_path: Path, make_segmenter: Maker) -> None:
    segmenter = make_segmenter()
    save_segmenter(segmenter, tmp_path)
    stored = load_file(tmp_path / WEIGHTS_FILE)
    assert stored.keys() == segmenter.state_dict().keys()
    assert float(stored["network.first.1.running_mean"].abs().sum()) > 0
