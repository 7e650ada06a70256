"""Models of other bands than RGB: layers adapted so that equal bands are grey, contracts, exports, masks of files."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.backbones import SMALL, no_network, save_backbone
from trainer import InputError
from trainer.config import ModelConfig
from trainer.data.bands import BandLevels
from trainer.data.levels import Levels
from trainer.data.view import View
from trainer.model.build import make_contract, make_segmenter
from trainer.model.contract import check_contract
from trainer.model.encoders import EfficientNetLite, adapt_channels
from trainer.model.flop import training_flop
from trainer.model.hub_geometry import RGB_ALONE, encoder_settings
from trainer.model.hub_settings import with_bands
from trainer.model.huggingface import HubEncoder
from trainer.model.model_folder import load_segmenter, save_segmenter
from trainer.model.pretrained import find_weights
from trainer.model.segmenter import Segmenter
from trainer.model.unet import UNet

NAMES = ("_background_", "cat")


@pytest.fixture(autouse=True)
def _offline() -> Iterator[None]:
    with no_network():
        yield


def levels_of(channels: int) -> BandLevels | Levels:
    return Levels(0, 255) if channels == 3 else BandLevels(tuple(Levels(0, 4095 + band) for band in range(channels)))


def contract_of(channels: int, **settings: Any) -> Any:
    chosen: dict[str, Any] = {"encoder": "none", "width": 8, "depth": 2} | settings
    init = chosen.pop("init", None)
    measured = ((100.0,) * channels, (50.0,) * channels) if channels != 3 else None
    view = View(64, channels=channels)
    return make_contract(ModelConfig(**chosen), view, NAMES, "digest", "commit", levels_of(channels), init, measured)


def grey(channels: int) -> torch.Tensor:
    """Images whose bands are all alike, normalised, float32 [2, channels, 64, 64]."""
    torch.manual_seed(3)
    return torch.randn(2, 1, 64, 64).expand(-1, channels, -1, -1).contiguous()


@pytest.mark.parametrize("new", [1, 2, 4, 5, 16])
def test_equal_bands_give_what_grey_gives(new: int) -> None:
    torch.manual_seed(0)
    weights = torch.randn(7, 3 + 4, 3, 3)
    adapted = adapt_channels(weights, 3, new)
    assert adapted.shape == (7, new + 4, 3, 3)
    features = torch.randn(2, 4, 64, 64)
    convolve = torch.nn.functional.conv2d
    expected = convolve(torch.cat([grey(3), features], dim=1), weights)
    assert torch.allclose(convolve(torch.cat([grey(new), features], dim=1), adapted), expected, atol=1e-4)
    assert torch.equal(adapted[:, 0], adapted[:, new - 1])


@pytest.mark.parametrize("new", [1, 5])
def test_pretrained_encoder(new: int) -> None:
    name = "efficientnet-lite0"
    ours, theirs = EfficientNetLite(name, new), EfficientNetLite(name)
    for encoder in (ours, theirs):
        encoder.load_pretrained(find_weights(name))
        encoder.eval()
    with torch.no_grad():
        for found, expected in zip(ours(grey(new)), theirs(grey(3)), strict=True):
            assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("family", sorted(SMALL.keys() - set(RGB_ALONE)))
def test_every_family_of_the_hub(family: str, tmp_path: Path) -> None:
    """Features of equal bands are those of grey; the model is read back, and every weight that trains has a part."""
    folder = save_backbone(tmp_path / family, family)
    content = json.loads((folder / "config.json").read_text())
    encoders = [HubEncoder(encoder_settings(folder / "config.json", content, bands)) for bands in (3, 5)]
    for encoder in encoders:
        encoder.load_pretrained(folder)
        encoder.eval()
    with torch.no_grad():
        pairs = list(zip(encoders[0](grey(3)), encoders[1](grey(5)), strict=True))
    for expected, found in pairs:
        same = found if found.shape == expected.shape else found[:, :3]  # the image itself
        assert torch.allclose(same, expected, atol=1e-4)
    settings = f"hf:{folder}"
    segmenter = make_segmenter(contract_of(5, encoder=settings, depth=4), [0.5, 0.5], 0, encoder=settings)
    segmenter.train().logits(torch.zeros(2, 5, 64, 64)).square().mean().backward()
    assert not [name for name, one in segmenter.named_parameters() if one.requires_grad and one.grad is None]
    save_segmenter(segmenter, tmp_path / "model")
    assert load_segmenter(tmp_path / "model").contract == segmenter.contract


@pytest.mark.parametrize("family", RGB_ALONE)
def test_families_that_cannot_be_adapted_are_refused(family: str, tmp_path: Path) -> None:
    """The first layer of BiT standardises its weights, so no weights for other bands give the same features."""
    folder = save_backbone(tmp_path / family, family)
    with pytest.raises(InputError, match=rf"config\.json: the family {family} takes no images of 5 bands; choose"):
        contract_of(5, encoder=f"hf:{folder}", depth=4)


def test_an_encoder_made_for_other_bands_is_refused(tmp_path: Path) -> None:
    """By its folder, and in a contract whose images have others."""
    folder = save_backbone(tmp_path / "resnet", "resnet")
    file = folder / "config.json"
    content = json.loads(file.read_text())
    with pytest.raises(InputError, match=r"config\.json: num_channels: 4 is not possible; it may be 3"):
        encoder_settings(file, content | {"num_channels": 4})
    contract = contract_of(3, encoder=f"hf:{folder}", depth=4)
    other = with_bands(contract.encoder_config, 4)
    with pytest.raises(InputError, match=r"^encoder_config: num_channels: 4; it may be 3, as input_channels is"):
        check_contract(dataclasses.replace(contract, encoder_config=other))


@pytest.mark.parametrize("encoder", ["none", "efficientnet-lite0"])
@pytest.mark.parametrize(("theirs", "ours"), [(3, 5), (5, 3), (5, 2)])
def test_model_init_of_other_bands(theirs: int, ours: int, encoder: str) -> None:
    depth = 2 if encoder == "none" else 4
    first = make_segmenter(contract_of(theirs, encoder=encoder, depth=depth), [0.5, 0.5], 0)
    contract = contract_of(ours, encoder=encoder, depth=depth, init=first.contract)
    second = make_segmenter(contract, [0.5, 0.5], 1, first, "models:/x")
    with torch.no_grad():
        found, expected = (one.eval().network(grey(bands)) for one, bands in ((second, ours), (first, theirs)))
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_contract_of_bands_is_read_back(tmp_path: Path) -> None:
    segmenter = Segmenter(contract_of(5))
    assert segmenter.contract.mean == (100.0,) * 5
    assert segmenter.contract.range_of_levels == levels_of(5)
    assert segmenter.contract.levels is None
    assert segmenter.contract.shown.channels == 5
    save_segmenter(segmenter, tmp_path / "model")
    assert load_segmenter(tmp_path / "model").contract == segmenter.contract
    rgb = contract_of(3)
    assert (rgb.input_channels, rgb.levels, rgb.band_levels) == (3, (0, 255), None)


@pytest.mark.parametrize("view", ["whole", "tiles"])
def test_forward_equals_predict(view: str, make_segmenter: Callable[..., Segmenter]) -> None:
    made = make_segmenter(2, input_channels=5, mean=(99.0,) * 5, std=(40.0,) * 5, band_levels=((0, 9),) * 5, view=view)
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 5), np.uint8)
    mask, _ = made.predict(image)
    with torch.no_grad():
        probabilities = made(torch.from_numpy(image)[None])
    assert probabilities.shape == (1, 3, 32, 64)
    if view == "whole":
        assert np.array_equal(mask, made.classes(probabilities)[0].numpy())


def test_flop_counts_the_bands() -> None:
    three, five = (training_flop(UNet(1, 8, 2, input_channels=bands), 32) for bands in (3, 5))
    assert five - three == 3 * 2 * 2 * 9 * 8 * 32 * 32


def test_levels_and_numbers_must_be_those_of_the_bands() -> None:
    with pytest.raises(InputError, match=r"^band_levels: null with input_channels 5"):
        make_contract(
            ModelConfig(encoder="none", width=8, depth=2),
            View(64, channels=5),
            NAMES,
            "",
            "",
            normalisation=((1.0,) * 5, (1.0,) * 5),
        )
