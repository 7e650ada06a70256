"""Models on disk: weights as safetensors and the contract as JSON, in a folder without code."""

import hashlib
import os
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from trainer import InputError
from trainer.model.contract import MOST_WEIGHT_BYTES, contract_json, expected_tensors, read_contract
from trainer.model.huggingface import library
from trainer.model.segmenter import Contract, Segmenter
from trainer.model.tensor_file import MOST_HEADER_BYTES, check_header, read_tensors
from trainer.system.regular_file import open_regular
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
    (folder / CONTRACT_FILE).write_text(contract_json(contract, sha256(folder / WEIGHTS_FILE)))


def load_segmenter(folder: Path) -> Segmenter:
    """Rebuild a segmenter, in eval mode on the CPU, from a folder that `save_segmenter` wrote.

    Opens these two files only, and follows no links. Nothing is built before the contract is checked, and the weights
    file by its header. Raises InputError naming the file, and the field or tensor that is wrong.
    """
    for name in (CONTRACT_FILE, WEIGHTS_FILE):
        path = folder / name
        if path.is_symlink() or not path.is_file():
            own = RunFolder(folder).model
            inside = f"; there is one in {own}" if (own / CONTRACT_FILE).is_file() else ""
            raise InputError(f"{folder}: no model of this program there ({name} is missing){inside}")
    contract, digest = read_contract(folder / CONTRACT_FILE)
    expected = expected_tensors(contract)
    try:
        check_header(folder / WEIGHTS_FILE, expected, CONTRACT_FILE)
    except InputError as error:
        raise _by_another_library(contract, error) from error
    if digest != sha256(folder / WEIGHTS_FILE):
        raise InputError(f"{folder / WEIGHTS_FILE}: not the weights that were saved (SHA-256 differs)")
    weights = read_tensors(folder / WEIGHTS_FILE, expected, CONTRACT_FILE)
    segmenter = Segmenter(contract)
    segmenter.load_state_dict(weights)
    return segmenter.eval()


def _by_another_library(contract: Contract, error: InputError) -> InputError:
    """Error of a file whose tensors do not fit, with the version of the library whose tensors they are."""
    if contract.encoder_library in ("", library()):
        return error
    return InputError(f"{error}; it was written with {contract.encoder_library}, and {library()} is installed")


def sha256(path: Path, most_bytes: int = MOST_WEIGHT_BYTES + MOST_HEADER_BYTES) -> str:
    """SHA-256 of a regular file, as 64 hexadecimal digits. Raises InputError where it is larger than `most_bytes`."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise InputError(f"{path}: {size:,} bytes, more than {most_bytes:,}; fetch it again")
        return hashlib.file_digest(file, "sha256").hexdigest()
