"""Schema of segmenter.json: every field's type and range, and how they must agree. Checked before anything is made.

A model may come from anybody. Fields that are unknown, missing or out of range are refused by name; so is a network of
more than MOST_WEIGHT_BYTES, or one that takes more than MOST_PICTURE_BYTES for a picture.
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from reprlib import Repr
from typing import Any

import torch

from trainer import IGNORE, InputError
from trainer.config import HUB, MOST_CHANNELS
from trainer.data.appearance import LOOKS
from trainer.model.calibration import COLDEST, HOTTEST, THRESHOLDS
from trainer.model.encoders import SCALES
from trainer.model.hub_geometry import geometry
from trainer.model.hub_settings import MOST_CONFIG_CHARACTERS, bands_of
from trainer.model.segmenter import Contract, Segmenter
from trainer.system.provenance import program_version
from trainer.system.regular_file import read_regular

SCHEMA_VERSION = 3
"""Version of the schema that is written. Older files are read too: version 2 knows nothing of tiles and calibration,
and files without a version, of the first schema, have neither that nor the program's."""

MOST_CONTRACT_BYTES = 10_000_000
"""Largest segmenter.json that is read, in bytes; 253 classes with the longest names take a third of it."""

MOST_WEIGHT_BYTES = 2**31
"""Largest network, in bytes of its weights."""

MOST_PICTURE_BYTES = 2**34
"""Most memory that one picture may take in the network, in bytes."""

MOST_CLASSES = IGNORE - 1
"""Number of classes with the background: a mask has two values that are none."""

LONGEST_TEXT = 1000
"""Length of a name, in characters."""

SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 80
abbreviate = SHORT.repr  # a value may be megabytes long

Shapes = dict[str, tuple[torch.dtype, tuple[int, ...]]]
"""Type and shape of each tensor, by name."""


@dataclasses.dataclass(frozen=True)
class Field:
    """Values that a field may have."""

    holds: Callable[[Any], bool]
    may_be: str


def _whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most  # not isinstance: True is an int


def _number(value: Any, least: float, most: float) -> bool:
    return type(value) in (int, float) and least <= value <= most  # NaN is not


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT


def _several(value: Any, holds: Callable[[Any], bool], least: int, most: int | None = None) -> bool:
    return isinstance(value, list) and least <= len(value) <= (most or least) and all(holds(one) for one in value)


def _names(value: Any) -> bool:
    return _several(value, lambda one: _text(one) and one.strip() != "", 2, MOST_CLASSES) and len(set(value)) == len(
        value
    )


def _colours(value: Any) -> bool:
    return _several(value, lambda colour: _several(colour, lambda level: _whole(level, 0, 255), 3), 2, MOST_CLASSES)


def _levels(value: Any) -> bool:
    return value is None or (_several(value, lambda one: _number(one, -1e30, 1e30), 2) and value[0] < value[1])


def _curve(value: Any) -> bool:
    return _several(value, lambda one: _number(one, 0, 1), 0, len(THRESHOLDS)) and len(value) in (0, len(THRESHOLDS))


def _share(value: Any) -> bool:
    return value is None or _number(value, 0, 1)


def _two_shares(value: Any) -> bool:
    return value is None or _several(value, lambda one: _number(one, 0, 1), 2)


def _sides(value: Any) -> bool:
    return value is None or _several(
        value, lambda side: _several(side, lambda one: _whole(one, 1, 2**32), 3) and side == sorted(side), 2
    )


def _look(value: Any) -> bool:
    return value == [] or _several(value, lambda pair: _several(pair, lambda one: _number(one, 0, 255), 2), LOOKS)


def _encoder(value: Any) -> bool:
    hub = isinstance(value, str) and re.fullmatch(rf"{HUB}\w[\w.-]*(/\w[\w.-]*)?", value) is not None
    return _text(value) and (hub or value in ("none", *SCALES))


FIELDS = {
    "class_names": Field(_names, f"2 to {MOST_CLASSES} different texts, the background's first"),
    "colours": Field(_colours, "three whole numbers from 0 to 255 for each class"),
    "image_size": Field(lambda value: _whole(value, 8, 8192), "a whole number of pixels from 8 to 8192"),
    "width": Field(lambda value: _whole(value, 8, 1024) and value % 8 == 0, "a multiple of 8 from 8 to 1024"),
    "depth": Field(lambda value: _whole(value, 1, 7), "a whole number from 1 to 7"),
    "encoder": Field(_encoder, f"none, {', '.join(SCALES)}, or {HUB} and a name"),
    "encoder_config": Field(
        lambda value: isinstance(value, str) and len(value) <= MOST_CONFIG_CHARACTERS,
        f"a JSON text of at most {MOST_CONFIG_CHARACTERS:,} characters",
    ),
    "encoder_library": Field(_text, "a text"),
    "encoder_licence": Field(_text, "a text"),
    "norm": Field(lambda value: value in ("batch", "group"), "batch or group"),
    "input_channels": Field(lambda value: _whole(value, 1, MOST_CHANNELS), f"a whole number from 1 to {MOST_CHANNELS}"),
    "mean": Field(
        lambda value: _several(value, lambda one: _number(one, 0, 255), 1, MOST_CHANNELS), "numbers from 0 to 255"
    ),
    "std": Field(
        lambda value: _several(value, lambda one: _number(one, 0.01, 255), 1, MOST_CHANNELS), "numbers, 0.01 to 255"
    ),
    "threshold": Field(lambda value: _number(value, 0, 1), "a number from 0 to 1"),
    "view": Field(lambda value: value in ("whole", "tiles"), "whole or tiles"),
    "scale": Field(lambda value: _number(value, 0.01, 1), "a number from 0.01 to 1"),
    "keep_aspect": Field(lambda value: type(value) is bool, "true or false"),
    "threshold_curve": Field(_curve, f"nothing, or {len(THRESHOLDS)} numbers from 0 to 1"),
    "temperature": Field(lambda value: _number(value, COLDEST, HOTTEST), f"a number from {COLDEST:g} to {HOTTEST:g}"),
    "calibration_error": Field(_two_shares, "null, or two numbers from 0 to 1"),
    "certainty": Field(_two_shares, "null, or two numbers from 0 to 1"),
    "unsure_below": Field(_share, "null, or a number from 0 to 1"),
    "empty_share": Field(_share, "null, or a number from 0 to 1"),
    "training_sides": Field(_sides, "null, or three whole numbers in order for the heights, and for the widths"),
    "training_look": Field(_look, f"nothing, or {LOOKS} pairs of numbers from 0 to 255"),
    "object_areas": Field(
        lambda value: _several(value, lambda one: _whole(one, 0, 2**40), 0, MOST_CLASSES),
        "nothing, or a whole number of pixels for each class but the background",
    ),
    "levels": Field(_levels, "null, or the lowest and the highest level, two different finite numbers in order"),
    "band_levels": Field(
        lambda value: value is None or _several(value, lambda one: one is not None and _levels(one), 1, MOST_CHANNELS),
        "null, or the lowest and the highest level of each band, two different finite numbers in order",
    ),
    "dataset_digest": Field(_text, "a text"),
    "commit": Field(_text, "a text"),
    "weights_sha256": Field(
        lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None,
        "64 hexadecimal digits",
    ),
    "schema_version": Field(lambda value: _whole(value, 1, SCHEMA_VERSION), f"1 to {SCHEMA_VERSION}"),
    "program": Field(_text, "the version of the program that wrote it"),
}
"""All fields; one that Contract has no default for must be there, and the digest of the weights."""

REQUIRED = ("weights_sha256", *(one.name for one in dataclasses.fields(Contract) if one.default is dataclasses.MISSING))


def contract_json(contract: Contract, weights_sha256: str) -> str:
    """Text of segmenter.json."""
    origin = {"schema_version": SCHEMA_VERSION, "program": program_version()}
    return json.dumps(dataclasses.asdict(contract) | {"weights_sha256": weights_sha256} | origin, indent=1)


def read_contract(file: Path) -> tuple[Contract, str]:
    """Read segmenter.json: the contract, and the SHA-256 of its weights. Raises InputError naming file and field."""
    try:
        text = read_regular(file, MOST_CONTRACT_BYTES)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); fetch the model again") from error
    try:
        return _parse(text)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def check_contract(contract: Contract) -> None:
    """Check that `read_contract` will take a contract once it is written. Raises InputError naming the field."""
    _parse(contract_json(contract, "0" * 64).encode())


def expected_tensors(contract: Contract) -> Shapes:
    """Tensors of the weights file of a contract; none is made."""
    with torch.device("meta"):
        tensors = Segmenter(contract).state_dict()
    return {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()}


def _parse(text: bytes) -> tuple[Contract, str]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"damaged, no JSON ({error}); fetch the model again") from error
    if not isinstance(content, dict):
        raise InputError("not the contract of a model, which is a JSON object; fetch the model again")
    _check_version(content)
    _check_fields(content)
    own = {one.name for one in dataclasses.fields(Contract)}
    contract = Contract(**{name: _tuples(value) for name, value in content.items() if name in own})
    _check_agreement(contract)
    return contract, content["weights_sha256"]


def _check_version(content: Mapping[str, Any]) -> None:
    version = content.get("schema_version", 1)
    if type(version) is not int or version <= SCHEMA_VERSION:
        return
    program = content.get("program")
    writer = f"{program[:40]!r}, which wrote it," if isinstance(program, str) else "the one that wrote it"
    raise InputError(
        f"schema_version: {version} is unknown to this version of the program, {program_version()}, which reads 1 to "
        f"{SCHEMA_VERSION}; install version {writer} or a later one"
    )


def _check_fields(content: Mapping[str, Any]) -> None:
    """Check each field by itself."""
    for name, value in content.items():
        if name not in FIELDS:
            near = get_close_matches(name[:100], FIELDS, 1)
            advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(FIELDS)}"
            raise InputError(f"{abbreviate(name)}: unknown; {advice}")
        if not FIELDS[name].holds(value):
            raise InputError(f"{name}: {abbreviate(value)} is not possible; it may be {FIELDS[name].may_be}")
    for name in REQUIRED:
        if name not in content:
            raise InputError(f"{name}: missing; it may be {FIELDS[name].may_be}")


def _check_agreement(contract: Contract) -> None:
    """Check that fields which are possible by themselves agree, and make no network beyond the limits."""
    names, colours, multiple = contract.class_names, contract.colours, contract.stride
    if len(colours) != len(names):
        raise InputError(f"colours: {len(colours)} for {len(names)} classes; it may be one for each")
    if contract.object_areas and len(contract.object_areas) != len(names) - 1:
        found, classes = len(contract.object_areas), len(names) - 1
        raise InputError(f"object_areas: {found} for {classes} classes without the background; it may be one for each")
    if (contract.encoder_config != "") != contract.encoder.startswith(HUB):
        raise InputError(f"encoder_config: with encoder {contract.encoder}; it may be there for {HUB}, and must be")
    _check_bands(contract)
    if contract.encoder_config:
        try:
            geometry(contract.encoder_config)
            bands = bands_of(contract.encoder_config)
            if bands != contract.input_channels:
                raise InputError(f"num_channels: {bands}; it may be {contract.input_channels}, as input_channels is")
        except InputError as error:
            raise InputError(f"encoder_config: {error}") from error
    if contract.image_size % multiple:
        raise InputError(f"image_size: {contract.image_size} is no multiple of {multiple}, the stride of the network")
    if contract.view == "tiles" and contract.keep_aspect:
        raise InputError("keep_aspect: true with view tiles, which squeeze nothing; it may be false")
    if contract.view == "whole" and contract.scale != 1:
        raise InputError(f"scale: {contract.scale} with view whole; it may be 1")
    below = f"depth {contract.depth}" if contract.encoder == "none" else f"encoder {contract.encoder}"
    network = f"a network of width {contract.width} and {below}"
    size = sum(dtype.itemsize * math.prod(shape) for dtype, shape in expected_tensors(contract).values())
    if size > MOST_WEIGHT_BYTES:
        raise InputError(f"width, depth: {network} takes {size:,} bytes; it may be {MOST_WEIGHT_BYTES:,}")
    size = contract.picture_bytes
    if size > MOST_PICTURE_BYTES:
        raise InputError(
            f"image_size, width: {contract.image_size} pixels take {size:,} bytes in {network}; it may be "
            f"{MOST_PICTURE_BYTES:,}"
        )


def _check_bands(contract: Contract) -> None:
    """Check that there is a number for each band."""
    bands = contract.input_channels
    for name in ("mean", "std"):
        if len(getattr(contract, name)) != bands:
            raise InputError(
                f"{name}: {len(getattr(contract, name))} numbers for {bands} bands; it may be one for each"
            )
    if contract.band_levels is None and bands != 3:
        raise InputError(f"band_levels: null with input_channels {bands}; it may be two levels for each band")
    if contract.band_levels is not None and (bands == 3 or len(contract.band_levels) != bands):
        wanted = "null" if bands == 3 else "two levels for each"
        raise InputError(f"band_levels: {len(contract.band_levels)} with input_channels {bands}; it may be {wanted}")
    if contract.levels is not None and bands != 3:
        raise InputError(f"levels: with input_channels {bands}, whose bands have band_levels; it may be null")


def _tuples(value: object) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
