"""The model as it is registered: a network together with everything that must be known to use it."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from trainer import InputError
from trainer.model.unet import UNet

CONTRACT_FILE = "segmenter.json"
WEIGHTS_FILE = "weights.safetensors"


@dataclass(frozen=True)
class Contract:
    """What training knew and prediction must know. Travels with the weights as JSON."""

    class_names: tuple[str, ...]
    """K names, the background's first."""

    colours: tuple[tuple[int, int, int], ...]
    """RGB of each of the K classes."""

    image_size: int
    """Side in pixels of the square that the network sees."""

    width: int = 32
    depth: int = 4
    norm: str = "batch"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    """Subtracted from the RGB levels 0..255; the usual means of natural photographs."""

    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    threshold: float = 0.5
    """Foreground probability above which a pixel is foreground, for one foreground class."""

    dataset_digest: str = ""
    commit: str = ""

    @property
    def channels(self) -> int:
        """Channels of the network's output."""
        return 1 if len(self.class_names) == 2 else len(self.class_names)


class Segmenter(nn.Module):
    """From pictures of any size to class probabilities of that size.

    in   uint8 RGB [B, H, W, 3]
    out  float32 [B, C, H, W]: probability of the foreground (C = 1), or of each class (C = K)
    """

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        self.contract = contract
        network = UNet(contract.channels, contract.width, contract.depth, contract.norm)
        # Channels last is the layout that convolutions are fast in, on CPUs and GPUs alike.
        self.network: UNet = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(contract.mean)[None, :, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(contract.std)[None, :, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        squares = resize_images(images.permute(0, 3, 1, 2), self.contract.image_size)
        logits = self.network(self.normalise(squares))
        return self.probabilities(logits, (images.shape[1], images.shape[2]))

    def normalise(self, squares: Tensor) -> Tensor:
        """RGB levels [B, 3, S, S] in 0..255, of any dtype, as the network wants them: float32 around 0."""
        return (squares - self.mean) / self.std

    def probabilities(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """The network's logits [B, C, S, S] as float32 probabilities [B, C, *size]."""
        logits = functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
        return logits.sigmoid() if self.contract.channels == 1 else logits.softmax(dim=1)

    def classes(self, probabilities: Tensor) -> Tensor:
        """The decision: uint8 class ids [B, H, W] from probabilities [B, C, H, W]."""
        if self.contract.channels == 1:
            return (probabilities[:, 0] > self.contract.threshold).to(torch.uint8)
        return probabilities.argmax(dim=1).to(torch.uint8)


def resize_images(images: Tensor, size: int) -> Tensor:
    """Resize RGB levels [B, 3, H, W] to float32 [B, 3, size, size], rounded to whole levels 0..255.

    Rounding makes a picture that was resized once and kept as uint8 the same as one resized on the way in.
    """
    squares = functional.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)
    return squares.round().clamp(0, 255)


def save_segmenter(segmenter: Segmenter, folder: Path) -> None:
    """Write weights and contract into `folder`, two files that hold data only and no code."""
    weights = {name: value.detach().cpu().contiguous() for name, value in segmenter.state_dict().items()}
    write_model(segmenter.contract, weights, folder)


def write_model(contract: Contract, weights: dict[str, Tensor], folder: Path) -> None:
    """What `save_segmenter` does, from the parts; the weights are contiguous and on the CPU."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / WEIGHTS_FILE)
    content = dataclasses.asdict(contract) | {"weights_sha256": sha256(folder / WEIGHTS_FILE)}
    (folder / CONTRACT_FILE).write_text(json.dumps(content, indent=1))


def load_segmenter(folder: Path) -> Segmenter:
    """Rebuild a segmenter, in eval mode on the CPU, from a folder that `save_segmenter` wrote.

    Opens the two named files only. Raises InputError where one is missing, unreadable or changed.
    """
    for name in (CONTRACT_FILE, WEIGHTS_FILE):
        path = folder / name
        if path.is_symlink() or not path.is_file():
            inside = f"; there is one in {folder / 'model'}" if (folder / "model" / CONTRACT_FILE).is_file() else ""
            raise InputError(f"{folder}: no model of this program there ({name} is missing){inside}")
    try:
        content = json.loads((folder / CONTRACT_FILE).read_text())
        digest = content.pop("weights_sha256")
        if digest != sha256(folder / WEIGHTS_FILE):
            raise InputError(f"{folder / WEIGHTS_FILE}: not the weights that were saved (SHA-256 differs)")
        contract: dict[str, Any] = {key: _tuples(value) for key, value in content.items()}
        segmenter = Segmenter(Contract(**contract))
        segmenter.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{folder}: damaged model ({type(error).__name__}: {error})") from error
    return segmenter.eval()


def _tuples(value: object) -> object:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def sha256(path: Path) -> str:
    """64 hexadecimal digits of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
