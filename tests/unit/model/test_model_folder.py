"""Models on disk: loaded bit for bit as they were saved, and refused where a file is damaged."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.backbones import save_backbone
from tests.support.images import smooth_image
from trainer import InputError
from trainer.model.hub_geometry import encoder_settings
from trainer.model.hub_settings import with_bands
from trainer.model.model_folder import CONTRACT_FILE, WEIGHTS_FILE, load_segmenter, save_segmenter
from trainer.model.segmenter import Contract, Segmenter

Maker = Callable[..., Segmenter]


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
    images = torch.from_numpy(smooth_image(37, 53))[None]
    with torch.no_grad():
        assert torch.equal(loaded(images), segmenter(images))
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [CONTRACT_FILE, WEIGHTS_FILE]


def test_contract_is_read_as_it_was_written(tmp_path: Path) -> None:
    config = save_backbone(tmp_path / "small") / "config.json"
    contract = Contract(
        class_names=("_background_", "Kätzchen", "a/b: c"),
        colours=((0, 0, 0), (0, 128, 0), (255, 0, 1)),
        image_size=64,
        width=16,
        depth=3,
        norm="group",
        encoder="hf:small",
        encoder_config=encoder_settings(config, json.loads(config.read_text())),
        encoder_library="transformers 5",
        encoder_licence="mit",
        mean=(1.5, 0.1, 1 / 3),
        std=(2.0, 3.0, 4.0),
        threshold=0.7,
        threshold_curve=(0.25,) * 39,
        temperature=1.5,
        calibration_error=(0.1, 0.05),
        certainty=(0.9, 0.05),
        unsure_below=0.8,
        empty_share=0.125,
        training_sides=((10, 20, 30), (11, 21, 31)),
        training_look=((100.0, 5.0),) * 7,
        object_areas=(40, 0),
        view="tiles",
        scale=0.5,
        levels=(-12.5, 4095.0),
        dataset_digest="0123",
        commit="4567",
    )
    defaults = dataclasses.asdict(Contract(contract.class_names, contract.colours, 64))
    bands = dataclasses.replace(
        contract,
        input_channels=2,
        mean=(1.5, 0.1),
        std=(2.0, 3.0),
        levels=None,
        band_levels=((-12.5, 4095.0), (0.0, 1 / 3)),
        encoder_config=with_bands(contract.encoder_config, 2),
        view="whole",
        scale=1.0,
        keep_aspect=True,
    )
    both = [*dataclasses.asdict(contract).items(), *dataclasses.asdict(bands).items()]
    changed = {key for key, value in both if value != defaults[key]}
    assert changed == set(defaults) - {"class_names", "colours", "image_size"}, "a new field needs a value above"
    for one in (contract, bands):
        save_segmenter(Segmenter(one), tmp_path / "model")
        assert load_segmenter(tmp_path / "model").contract == one


@pytest.mark.parametrize("name", [CONTRACT_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "link", "folder"])
def test_damaged_model_is_refused(name: str, damage: str, tmp_path: Path, make_segmenter: Maker) -> None:
    folder = tmp_path / "model"
    save_segmenter(make_segmenter(), folder)
    file = folder / name
    content = file.read_bytes()
    file.unlink()
    if damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        file.touch()
    elif damage == "link":  # to an undamaged copy: links are not followed
        (tmp_path / "elsewhere").write_bytes(content)
        file.symlink_to(tmp_path / "elsewhere")
    elif damage == "folder":
        file.mkdir()
    with pytest.raises(InputError) as error:
        load_segmenter(folder)
    assert str(folder) in str(error.value)
    if name == WEIGHTS_FILE or damage in ("missing", "link", "folder"):
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
def test_unreadable_contract_is_refused(content: bytes, tmp_path: Path, make_segmenter: Maker) -> None:
    save_segmenter(make_segmenter(), tmp_path)
    (tmp_path / CONTRACT_FILE).write_bytes(content)
    with pytest.raises(InputError, match=str(tmp_path)):
        load_segmenter(tmp_path)


def test_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model"):
        load_segmenter(tmp_path / "nowhere")


def test_weights_file_holds_the_norm_statistics(tmp_path: Path, make_segmenter: Maker) -> None:
    segmenter = make_segmenter()
    save_segmenter(segmenter, tmp_path)
    stored = load_file(tmp_path / WEIGHTS_FILE)
    assert stored.keys() == segmenter.state_dict().keys()
    assert float(stored["network.first.1.running_mean"].abs().sum()) > 0
