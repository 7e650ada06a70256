"""Models on disk: weights as safetensors and the contract as JSON, in a folder without code."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer import InputError
from trainer.model.segmenter import Contract, Segmenter
from trainer.system.run_folder import RunFolder

CONTRACT_FILE = "segmenter.json"
"""File of the contract, and of the digest of the weights."""

WEIGHTS_FILE = "weights.safetensors"
"""File of the weights."""


def save_segmenter(segmenter: Segmenter, folder: Path) -> None:
    """Write the weights and the contract of a segmenter into `folder`, as two files."""
    weights = {name: value.detach().cpu().contiguous() for name, value in segmenter.state_dict().items()}
    write_model(segmenter.contract, weights, folder)


def write_model(contract: Contract, weights: dict[str, Tensor], folder: Path) -> None:
    """Write `weights`, contiguous and on the CPU, and their contract into `folder`, as `save_segmenter` does."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / WEIGHTS_FILE)
    content = dataclasses.asdict(contract) | {"weights_sha256": sha256(folder / WEIGHTS_FILE)}
    (folder / CONTRACT_FILE).write_text(json.dumps(content, indent=1))


def load_segmenter(folder: Path) -> Segmenter:
    """Rebuild a segmenter, in eval mode on the CPU, from a folder that `save_segmenter` wrote.

    Opens these two files only, and follows no links. Raises InputError where one is missing, unreadable or changed.
    """
    for name in (CONTRACT_FILE, WEIGHTS_FILE):
        path = folder / name
        if path.is_symlink() or not path.is_file():
            own = RunFolder(folder).model
            inside = f"; there is one in {own}" if (own / CONTRACT_FILE).is_file() else ""
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
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
