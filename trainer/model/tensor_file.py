"""Safetensors files: compared with the tensors that they should hold by their header, before one of these is loaded."""

from pathlib import Path
from reprlib import repr as abbreviate

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from trainer import InputError
from trainer.model.contract import Shapes
from trainer.system.regular_file import open_regular

MOST_HEADER_BYTES = 1_000_000
"""Largest header, in bytes; that of the largest network and its optimizer has 100 kB."""

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
"""Types by their names in headers; no other occurs in the files of this program."""


def read_shapes(file: Path) -> dict[str, tuple[torch.dtype | str, tuple[int, ...]]]:
    """Read the header: type and shape of each tensor, by name; all of them lie in the file without a gap.

    Raises InputError where `file` is no regular safetensors file.
    """
    try:
        with open_regular(file) as content:
            start = content.read(8)
        if len(start) < 8 or int.from_bytes(start, "little") > MOST_HEADER_BYTES:
            raise InputError(f"{file}: not a safetensors file; fetch it again")
        with safe_open(file, "pt") as tensors:
            parts = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 (not a dict)
            return {
                name: (DTYPES.get(part.get_dtype(), part.get_dtype()), tuple(part.get_shape()))
                for name, part in parts.items()
            }
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); fetch it again") from error
    except SafetensorError as error:
        raise InputError(f"{file}: not a safetensors file, or cut off ({error}); fetch it again") from error


def check_header(file: Path, expected: Shapes, by: str) -> None:
    """Compare the header with the tensors that `by`, such as segmenter.json, makes. Raises InputError naming one."""
    found = read_shapes(file)
    for name in [*expected, *sorted(found.keys() - expected.keys())]:
        there, wanted = (_describe(shapes.get(name)) for shapes in (found, expected))
        if there != wanted:
            raise InputError(f"{file}: {abbreviate(name)} is {there}; by {by} it is {wanted}")


def read_tensors(file: Path, expected: Shapes, by: str) -> dict[str, Tensor]:
    """Load exactly the `expected` tensors, as `check_header` does. Raises InputError where one is not finite."""
    check_header(file, expected, by)
    tensors = load_file(file)
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"{file}: {name} holds NaN or infinite numbers; train the model again, or take another")
        if name.endswith("running_var") and bool((value < 0).any()):
            raise InputError(f"{file}: {name} holds variances below 0; train the model again, or take another")
    return tensors


def _describe(tensor: tuple[torch.dtype | str, tuple[int, ...]] | None) -> str:
    if tensor is None:
        return "not there"
    dtype, shape = tensor
    return f"{str(dtype).removeprefix('torch.')} {list(shape)}"
