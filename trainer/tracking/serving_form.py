"""Form of a model that any MLflow tool can load and serve."""

import io
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import numpy as np

from trainer.model.segmenter import Segmenter


def export(segmenter: Segmenter, folder: Path) -> None:
    """Add the form that any MLflow tool can load and serve to the model that `save_segmenter` wrote in `folder`.

    The exported model takes uint8 [B, H, W, bands] of any B, H and W, RGB where there are three bands, and gives
    float32 probabilities [B, C, H, W]. It holds a graph and weights, no code of this package and no pickle.
    """
    import mlflow.pytorch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    # A batch of 1, or equal height and width, would become constants of the exported graph.
    # Nor must a tile be so small that the network's bottom is one pixel.
    height, width = (48, 80) if segmenter.contract.view == "whole" else (208, 336)
    bands = segmenter.contract.input_channels
    example = np.random.default_rng(0).integers(0, 256, (2, height, width, bands), dtype=np.uint8)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, bands))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, segmenter.contract.channels, -1, -1))]),
    )
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch, _saved_from_memory(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on type hints and integer columns, which a user cannot act on
        mlflow.pytorch.save_model(
            segmenter.eval(),
            Path(scratch) / "model",
            signature=signature,
            input_example=example,
            serialization_format="pt2",
            pip_requirements=[f"{name}=={_public_version(name)}" for name in ("mlflow", "torch", "numpy")],
        )
        shutil.copytree(Path(scratch) / "model", folder, dirs_exist_ok=True)


@contextmanager
def _saved_from_memory() -> Iterator[None]:
    """Have torch write an exported program to memory, and from there to its file.

    Where the disk is full, torch's own writer ends the process: its destructor raises in C++.
    """
    import torch.export

    save = torch.export.save

    def save_from_memory(program: torch.export.ExportedProgram, path: str | Path) -> None:
        content = io.BytesIO()
        save(program, content)
        Path(path).write_bytes(content.getbuffer())

    torch.export.save = save_from_memory  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.export.save = save


def _public_version(package: str) -> str:
    """Installed version without a local part such as +cpu, which package indexes do not serve."""
    return metadata.version(package).partition("+")[0]
