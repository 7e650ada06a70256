"""Models as files for other programs: ONNX and PyTorch's exported program, each in one file with all that they need.

Both take uint8 RGB [B, H, W, 3] of any B, H and W, and give float32 probabilities [B, C, H, W]: `Segmenter.forward`
itself is exported, so that preprocessing is written once.
"""

import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from trainer import InputError
from trainer.system.atomic import atomic_file, write_text
from trainer.system.installation import require
from trainer.system.provenance import program_version
from trainer.system.text import one_line

if TYPE_CHECKING:
    import torch

    from trainer.inference.model import Model
    from trainer.model.segmenter import Contract, Segmenter

KINDS = ("onnx", "pt2")
"""Forms of an exported model, each the suffix of its file."""

OPSET = 18
"""Version of ONNX's operators: old enough for the runtimes of labelling tools and phones."""

MOST_ONNX_BYTES = 2**31 - 1
"""Largest ONNX file: protobuf reads no more, and weights in a second file would get lost."""

EXAMPLE_SHAPE = (2, 208, 336)
"""Number, height and width of the images that the graph is traced with. A batch of 1, equal height and width, or a
single pixel at the network's bottom would become constants."""

PROVIDER = "segtrainer"
"""First word of the field `provider` of the description."""

INPUT, OUTPUT = "images", "probabilities"
"""Names of the graph's input and output."""


def check_export(kind: str, file: str) -> Path:
    """Path of the file to write. Raises InputError, before torch is loaded, where it cannot be written or made."""
    if kind not in KINDS:
        raise InputError(f"--export: {kind!r} is unknown; give {' or '.join(KINDS)}, and a file")
    target = Path(file)
    if target.suffix != f".{kind}":
        raise InputError(f"--export {kind}: {file}: give a file whose name ends in .{kind}")
    if target.is_dir():
        raise InputError(f"--export {kind}: {file}: is a folder; give a file")
    if kind == "onnx":
        require("onnx", "--export onnx")
        _require_own(target.with_suffix(".yaml"))
    try:
        tempfile.TemporaryFile(dir=target.parent).close()
    except OSError as error:
        raise InputError(f"--export {kind}: {file}: cannot be written ({error.strerror}); give another one") from error
    return target


def _require_own(description: Path) -> None:
    """Raise InputError where the YAML file beside the model is there already, and is none of an earlier export."""
    try:
        content = yaml.safe_load(description.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, yaml.YAMLError):
        content = None
    if not isinstance(content, dict) or not str(content.get("provider")).startswith(PROVIDER):
        text = "would be written over by the model's description; give the model another name"
        raise InputError(f"--export onnx: {description} {text}")


def export_model(model: "Model", kind: str, target: Path) -> list[Path]:
    """Write the model as `target`; return the files that were written.

    Beside ONNX, a YAML file describes it for labelling tools. Raises InputError where the network cannot be exported,
    OSError where a file cannot be written.
    """
    facts = metadata(model.segmenter.contract, model.origin)
    write = _onnx if kind == "onnx" else _pt2
    try:
        with _quiet():
            content = write(model, facts)
    except InputError:
        raise
    except Exception as error:  # of torch's exporters, for a network that has what they do not know
        encoder = model.segmenter.contract.encoder
        raise InputError(
            f"--export {kind}: a network with encoder {encoder} cannot be exported ({_reason(error)})"
        ) from error
    with atomic_file(target) as file:
        file.write(content)
    if kind != "onnx":
        return [target]
    description = target.with_suffix(".yaml")
    write_text(description, describe(target, model.segmenter.contract, model.origin))
    return [target, description]


def _reason(error: BaseException) -> str:
    """First line of the error that led to all others: those say how to report it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(f"{error}".strip().partition("\n")[0])[:300] or type(error).__name__


def metadata(contract: "Contract", origin: dict[str, Any]) -> dict[str, str]:
    """Facts that the file holds about itself, lists as JSON: contract, model, version and program; no paths."""
    kept = {key: value for key, value in asdict(contract).items() if value not in ("", None)}
    given = {f"model_{key}": origin[key] for key in ("name", "version", "run_id") if origin.get(key)}
    named = kept | given | {"program": f"segtrainer {program_version()}"}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in named.items()}


def describe(target: Path, contract: "Contract", origin: dict[str, Any]) -> str:
    """YAML that labelling tools ask for beside an ONNX file: its path, task, classes and what goes in and comes out."""
    title = f"{origin['name']} {origin.get('version', '')}".strip() if origin.get("name") else target.stem
    content = {
        "type": "segment",
        "name": target.stem,
        "display_name": title,
        "provider": f"{PROVIDER} {program_version()}",
        "task": "segment",
        "model_path": target.name,
        "input": f"{INPUT}: uint8 RGB [batch, height, width, 3] of any size, not resized, not normalised",
        "output": f"{OUTPUT}: float32 [batch, {contract.channels}, height, width]",
        "input_height": contract.image_size,
        "input_width": contract.image_size,
        "conf_threshold": contract.threshold,
        "classes": list(contract.class_names[1:] if contract.channels == 1 else contract.class_names),
        "background": contract.class_names[0],
        "colours": [list(colour) for colour in contract.colours],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


# ---------------------------------------------------------------- forms


def _onnx(model: "Model", facts: dict[str, str]) -> bytes:
    import torch

    from trainer.inference.onnx_resize import antialiased

    weights = sum(value.numel() * value.element_size() for value in model.segmenter.state_dict().values())
    if weights >= MOST_ONNX_BYTES:
        raise InputError(f"--export onnx: {weights:,} bytes of weights; one ONNX file holds {MOST_ONNX_BYTES:,}")
    with _plain_attention(model):
        program = torch.onnx.export(
            model.segmenter.eval(),
            (_example(model.segmenter),),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: "batch", 1: "height", 2: "width"},),
            custom_translation_table={torch.ops.aten._upsample_bilinear2d_aa.default: antialiased},
        )
    assert program is not None
    for node in program.model.graph.all_nodes():  # stacks, with paths of this machine
        node.metadata_props.clear()
        node.doc_string = None
    graph = program.model
    graph.producer_name, graph.producer_version = "segtrainer", program_version()
    graph.metadata_props.clear()
    graph.metadata_props.update(facts)
    return program.model_proto.SerializeToString()


@contextmanager
def _plain_attention(model: "Model") -> Iterator[None]:
    """Have encoders of `transformers` compute attention in single operators: torch cannot take its fused one apart."""
    from trainer.model.huggingface import HubEncoder

    encoder = getattr(model.segmenter.network, "encoder", None)
    if not isinstance(encoder, HubEncoder):
        yield
        return
    config = encoder.backbone.config
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before


def _pt2(model: "Model", facts: dict[str, str]) -> bytes:
    import torch

    dynamic = torch.export.Dim.DYNAMIC
    program = torch.export.export(
        model.segmenter.eval(), (_example(model.segmenter),), dynamic_shapes=({0: dynamic, 1: dynamic, 2: dynamic},)
    )
    content = io.BytesIO()  # where the disk is full, torch's own writer would end the process
    torch.export.save(program, content, extra_files={"metadata.json": json.dumps(facts)})
    return content.getvalue()


def _example(segmenter: "Segmenter") -> "torch.Tensor":
    import torch

    shape = *EXAMPLE_SHAPE, segmenter.contract.input_channels
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep notes of the exporters, which a user cannot act on, from the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
