"""Encoders of `transformers`: features of the library itself, rebuilt without the folder; hostile settings refused."""

import json
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from tests.support.backbones import SMALL, no_network, save_backbone
from tests.support.images import smooth_image
from trainer import InputError
from trainer.config import ModelConfig
from trainer.data.view import View
from trainer.engine.parameters import freeze_encoder, parameter_groups
from trainer.model.build import make_contract, make_segmenter
from trainer.model.flop import training_flop
from trainer.model.hub_geometry import encoder_settings
from trainer.model.hub_settings import FAMILIES, STRIDES
from trainer.model.huggingface import HubEncoder
from trainer.model.model_folder import load_segmenter, save_segmenter
from trainer.model.segmenter import Segmenter
from trainer.model.unet import EncoderUNet

NAMES = ("_background_", "cat")
MEMORY_BYTES = 400_000_000
"""Growth of the peak over all hostile settings together, with the library that the first one imports."""


@pytest.fixture(autouse=True)
def _offline() -> Iterator[None]:
    with no_network():
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folder of a small network of each family."""
    root = tmp_path_factory.mktemp("models")
    return {family: save_backbone(root / family, family) for family in SMALL}


def build(folder: Path, size: int = 64, **settings: Any) -> Segmenter:
    """Make the model that a training with this encoder starts with."""
    encoder = f"hf:{folder}"
    contract = make_contract(ModelConfig(encoder=encoder, width=8, **settings), View(size), NAMES, "digest", "commit")
    return make_segmenter(contract, [0.5, 0.5], seed=0, encoder=encoder)


def settings_of(folder: Path) -> str:
    return encoder_settings(folder / "config.json", json.loads((folder / "config.json").read_text()))


def pictures(size: int = 64, count: int = 2) -> torch.Tensor:
    levels = np.stack([smooth_image(size, size, seed) for seed in range(count)])
    return torch.from_numpy(levels).permute(0, 3, 1, 2)


def encoder_of(segmenter: Segmenter) -> HubEncoder:
    assert isinstance(segmenter.network, EncoderUNet)
    assert isinstance(segmenter.network.encoder, HubEncoder)
    return segmenter.network.encoder


def test_every_family_has_a_small_network() -> None:
    assert set(SMALL) == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_and_is_rebuilt(family: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """Every weight that trains has a gradient, the same in train and eval mode; the folder is not needed any more."""
    folder = Path(shutil.copytree(folders[family], tmp_path / family))
    segmenter = build(folder)
    segmenter.train().logits(pictures()).square().mean().backward()
    left = [name for name, one in segmenter.named_parameters() if one.requires_grad and one.grad is None]
    assert left == []
    encoder = encoder_of(segmenter)
    normalised = segmenter.normalise(pictures())
    with torch.no_grad():
        trained, evaluated = encoder.train()(normalised), encoder.eval()(normalised)
    assert all(torch.equal(one, other) for one, other in zip(trained, evaluated, strict=True))
    if encoder.map_stride:
        assert [tuple(one.shape[1:]) for one in trained] == [(24, 4, 4)] * 4
    else:
        sides = [(one.shape[1], 64 / one.shape[2]) for one in trained]
        assert sides == list(zip(encoder.channels, STRIDES, strict=True))
    save_segmenter(segmenter, tmp_path / "model")
    shutil.rmtree(folder)
    rebuilt = load_segmenter(tmp_path / "model")
    with torch.no_grad():
        for size in (64, 96):
            assert torch.equal(rebuilt.logits(pictures(size)), segmenter.eval().logits(pictures(size)))
    assert training_flop(segmenter.network, 64) > 0


@pytest.mark.parametrize("family", ["convnext", "resnet", "dinov2", "dinov3_vit"])
def test_features_are_the_pretrained_ones(family: str, folders: dict[str, Path]) -> None:
    """As the whole model of the library gives them, from the same files by another class."""
    from transformers import AutoModel

    whole = AutoModel.from_pretrained(folders[family], local_files_only=True).eval()
    encoder = encoder_of(build(folders[family]))
    normalised = (pictures() / 255 - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.25, 0.3])[
        :, None, None
    ]
    with torch.no_grad():
        segmenter = build(folders[family])
        assert torch.allclose(segmenter.normalise(pictures()), normalised, atol=1e-5)
        found = encoder(normalised)
        if encoder.map_stride == 0:
            hidden = whole(normalised, output_hidden_states=True).hidden_states
            assert torch.equal(found[0], functional.avg_pool2d(normalised, 2))
            expected = {one.shape[1]: one for one in hidden}
            for ours in found[1:]:
                theirs = expected[ours.shape[1]]
                if family == "convnext":  # a norm follows, which begins as it is
                    theirs = functional.layer_norm(theirs.permute(0, 2, 3, 1), theirs.shape[1:2], eps=1e-6)
                    theirs = theirs.permute(0, 3, 1, 2)
                assert torch.allclose(ours, theirs, atol=1e-4)
            return
        side = 56 if family == "dinov2" else 64
        scaled = functional.interpolate(normalised, (side, side), mode="bilinear", align_corners=False)
        last = whole(scaled).last_hidden_state[:, -16:]
        assert torch.allclose(found[-1].flatten(2).transpose(1, 2), last, atol=1e-4)


def test_pretrained_weights_are_those_of_the_file(folders: dict[str, Path]) -> None:
    """All of them, by the names in the file: where the library keeps those, no tensor is another one."""
    for family in ("convnext", "resnet"):
        stored = load_file(folders[family] / "model.safetensors")
        ours = encoder_of(build(folders[family])).backbone.state_dict()
        same = [name for name, value in ours.items() if name in stored and torch.equal(value, stored[name])]
        assert len(same) > 20
        assert all(name in same or "norms" in name for name in ours), (set(ours) - set(same), set(stored))


@pytest.mark.parametrize("family", ["convnext", "dinov2"])
def test_frozen_weights_are_in_no_group(family: str, folders: dict[str, Path]) -> None:
    for frozen in (False, True):
        network = build(folders[family]).network
        assert isinstance(network, EncoderUNet)
        freeze_encoder(network, frozen)
        groups = parameter_groups(network)
        assert len(groups) == (2 if frozen else 4)
        own = {id(one) for one in network.encoder.parameters()}
        assert any(id(one) in own for group in groups for one in group) is not frozen
        decoder = [one for name, one in network.named_parameters() if not name.startswith("encoder.")]
        assert sum(len(group) for group in groups[:2]) == len(decoder)


def test_the_contract_has_the_facts_of_the_folder(tmp_path: Path) -> None:
    contract = build(save_backbone(tmp_path / "my net", licence="cc-by-nc-4.0")).contract
    assert (contract.encoder, contract.encoder_licence) == ("hf:my_net", "cc-by-nc-4.0")
    assert contract.mean == pytest.approx((127.5, 102, 76.5))
    assert contract.std == pytest.approx((51, 63.75, 76.5))
    assert str(tmp_path) not in contract.encoder_config
    assert json.loads(contract.encoder_config)["model_type"] == "convnext"


def test_patches_of_14_pixels_become_16_of_the_image(folders: dict[str, Path]) -> None:
    encoder = encoder_of(build(folders["dinov2"]))
    seen = []
    encoder.backbone.register_forward_pre_hook(lambda _module, given: seen.append(tuple(given[0].shape[2:])))
    for size in (64, 256):
        encoder(torch.zeros(1, 3, size, size))
    assert seen == [(56, 56), (224, 224)]


# ---------------------------------------------------------------- weights


def damaged(folder: Path, copy: Path, how: str) -> Path:
    shutil.copytree(folder, copy)
    file = copy / "model.safetensors"
    tensors = load_file(file)
    name = sorted(name for name in tensors if "stages" in name and name.endswith("weight"))[0]
    if how == "missing":
        del tensors[name]
    elif how == "shape":
        tensors[name] = torch.zeros(3, 5)
    else:
        tensors[name] = tensors[name] * torch.nan
    save_file(tensors, file, {"format": "pt"})
    if how == "cut off":
        file.write_bytes(file.read_bytes()[:5000])
    return copy


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "1 tensors are missing or of another shape, such as"),
        ("shape", "1 tensors are missing or of another shape, such as"),
        ("nan", "holds NaN"),
        ("cut off", "weights cannot be read"),
    ],
)
def test_damaged_weights_are_refused(how: str, said: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = damaged(folders["convnext"], tmp_path / "damaged", how)
    with pytest.raises(InputError, match=f"{folder}: .*{said}"):
        build(folder)


# ---------------------------------------------------------------- settings

HOSTILE: dict[str, dict[str, Any]] = {
    "convnext": {"hidden_sizes": [10**5] * 4, "model_type": "bert"},
    "resnet": {"depths": [10**5] * 4, "num_channels": 17, "hidden_sizes": [0, 0, 0, 0], "hidden_act": "os.system"},
    "dinov2": {
        "num_hidden_layers": 10**5,
        "hidden_size": 99_996,
        "image_size": 10**5,
        "patch_size": 0,
        "out_features": ["stage1"],
        "reshape_hidden_states": False,
        "mlp_ratio": 10**9,
        "hidden_act": ["gelu"] * 1000,
    },
    "swin": {"window_size": 10**5, "out_features": ["stage1"], "num_heads": [3, 3, 3, 3]},
}
"""Settings that make no network, or one beyond all limits."""

FORBIDDEN = ("attn_implementation", "auto_map", "_attn_implementation", "quantization_config", "dtype", "name_or_path")
FORBIDDEN += ("_name_or_path", "use_kernels", "architectures", "backbone", "torch_dtype", "id2label", "kernel_config")
"""Settings that would choose files, code or number formats."""


def test_hostile_settings_are_refused_in_little_memory_and_time(folders: dict[str, Path]) -> None:
    cases = [(family, name, value) for family, changes in HOSTILE.items() for name, value in changes.items()]
    cases += [("convnext", name, "someone/code") for name in FORBIDDEN]
    sound = {family: settings_of(folders[family]) for family in HOSTILE}
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    for family, name, value in cases:
        with pytest.raises(InputError) as error:
            HubEncoder(json.dumps(json.loads(sound[family]) | {name: value}))
        assert len(str(error.value)) < 600, (family, name)
    for text in ("", "{", "[]", "null", "1" * 5000, "[" * 9000, "{" + " " * 20_000 + "}"):
        with pytest.raises(InputError):
            HubEncoder(text)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY_BYTES
    assert time.process_time() - began < 100


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_setting_of_the_folder_that_chooses_code_is_left_out(name: str, folders: dict[str, Path]) -> None:
    """The network is the one of the same folder without it."""
    folder = folders["convnext"]
    file, text = folder / "config.json", (folder / "config.json").read_text()
    sound = settings_of(folder)
    try:
        file.write_text(json.dumps(json.loads(text) | {name: {"AutoBackbone": "code.Evil"}}))
        assert settings_of(folder) == sound
    finally:
        file.write_text(text)


def test_a_model_of_another_kind_is_refused_by_its_file(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["convnext"], tmp_path / "bert"))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match=r"config\.json: model_type: 'bert' is not possible; it may be one of beit"):
        build(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: cannot be read as JSON"):
        build(folder)


def test_tensors_of_another_version_of_the_library(folders: dict[str, Path], tmp_path: Path) -> None:
    """Names of tensors are the library's: an error names both versions, where they differ."""
    save_segmenter(build(folders["convnext"]), tmp_path)
    contract, weights = tmp_path / "segmenter.json", tmp_path / "weights.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if name.startswith("network.encoder.backbone."))
    save_file(tensors | {f"{name}.older": tensors.pop(name)}, weights)
    with pytest.raises(InputError, match=r"weights\.safetensors: '.*' is not there; [^;]*$"):
        load_segmenter(tmp_path)
    contract.write_text(contract.read_text().replace('"transformers ', '"transformers 1.'))
    with pytest.raises(
        InputError, match=r"it was written with transformers 1\.\d.*, and transformers \d.* is installed"
    ):
        load_segmenter(tmp_path)


def test_contract_and_settings_belong_together(folders: dict[str, Path], tmp_path: Path) -> None:
    save_segmenter(build(folders["convnext"]), tmp_path)
    file = tmp_path / "segmenter.json"
    sound = json.loads(file.read_text())
    for changes in ({"encoder_config": ""}, {"encoder": "none"}, {"encoder": "efficientnet-lite0"}):
        file.write_text(json.dumps(sound | changes))
        with pytest.raises(InputError, match=r"segmenter\.json: encoder_config: "):
            load_segmenter(tmp_path)


# ---------------------------------------------------------------- model.init


def test_a_model_with_the_same_encoder_is_continued(folders: dict[str, Path], tmp_path: Path) -> None:
    """By its own settings, without the folder; by another folder of the same network; not by another network."""
    first = build(folders["convnext"])
    config = ModelConfig(encoder="hf:convnext", width=8, init="the model")
    contract = make_contract(config, View(64), NAMES, "digest", "commit", init=first.contract)
    assert contract == first.contract
    again = make_segmenter(contract, [0.5, 0.5], 1, first, "the model", "hf:convnext")
    assert all(torch.equal(value, first.state_dict()[name]) for name, value in again.state_dict().items())
    renamed = build(Path(shutil.copytree(folders["convnext"], tmp_path / "renamed"))).contract
    make_segmenter(renamed, [0.5, 0.5], 1, first, "the model")
    other = build(save_backbone(tmp_path / "other" / "convnext", depths=[1, 1, 1, 1])).contract
    with pytest.raises(InputError, match=r"model\.init: the model has another hf:convnext"):
        make_segmenter(other, [0.5, 0.5], 1, first, "the model")
    with pytest.raises(InputError, match=r"model\.init: the model has encoder hf:convnext, this run hf:resnet"):
        make_segmenter(build(folders["resnet"]).contract, [0.5, 0.5], 1, first, "the model")
