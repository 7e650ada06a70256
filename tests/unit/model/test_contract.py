"""Contracts: damaged and made-up ones are refused by their field, before anything is built, in little memory."""

import dataclasses
import json
import math
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from trainer import InputError
from trainer.config import ModelConfig
from trainer.data.view import View
from trainer.model.build import make_contract
from trainer.model.contract import FIELDS, SCHEMA_VERSION, expected_tensors
from trainer.model.model_folder import CONTRACT_FILE, WEIGHTS_FILE, load_segmenter, save_segmenter, sha256
from trainer.model.segmenter import Contract, Segmenter
from trainer.system.provenance import program_version

Maker = Callable[..., Segmenter]

MEMORY_BYTES = 300_000_000
"""Growth of the peak over all cases together; the smallest network that is refused for its size takes 4 GB."""

NAMES = [f"class {number}" for number in range(100_000)]
MISSING = object()

HOSTILE: list[tuple[str, Any]] = [
    *(("image_size", value) for value in (10**9, "64", 0, -64, 63, 7, True, None, 16384, 64.0, [64], 10**400)),
    *(("image_size", value) for value in (math.nan, math.inf, MISSING)),
    *(("width", value) for value in (1001, 0, -8, 12, "8", 8.0, True, None, 2048, 10**9)),
    *(("depth", value) for value in (12, 50, 0, -1, "2", 2.0, True, None, 10**9)),
    *(("norm", value) for value in ("layer", "", None, 1, ["batch"], {})),
    *(("encoder", value) for value in ("lite0", "auto", "", None, 1, ["none"], {"none": 1})),
    *(("encoder", value) for value in ("hf:", "hf:/etc", "hf:a/b/c", "hf:../a", "hf:a b", "hf:" + "a" * 10_000)),
    *(("encoder_config", value) for value in (None, 5, {"model_type": "resnet"}, "x" * 10_001, "{}")),
    *(("encoder_library", value) for value in (None, 5, "l" * 10_000)),
    *(("encoder_licence", value) for value in (None, 5, "l" * 10_000)),
    *(("threshold", value) for value in ("0.5", 9, -0.1, math.nan, math.inf, None, True, [0.5])),
    *(("mean", value) for value in (math.nan, [math.nan, 1, 2], [1, 2], [1, 2, 3, 4], None, 0, "mean", [1, 2, None])),
    *(("mean", value) for value in ([1, 2, math.inf], [1, 2, -1], [True, 1, 2], [[1], [2], [3]])),
    *(("std", value) for value in ([0, 1, 1], [math.nan] * 3, [1, -1, 1], [1e-30, 1, 1], 0, None, [1e300] * 3)),
    *(("class_names", value) for value in ("background", [0, 1], None, ["cat", None], ["cat", "cat"], ["cat"], [])),
    *(("class_names", value) for value in (NAMES, NAMES[:255], ["cat", "d" * 1001], ["cat", " "], ["cat", ["dog"]])),
    *(("class_names", value) for value in ({"cat": 1, "dog": 2}, MISSING)),
    *(
        ("colours", value)
        for value in ([[0, 0, 256], [0, 0, 0]], [[0, 0, -1], [0, 0, 0]], None, MISSING, "red", [0, 1])
    ),
    *(("colours", value) for value in ([[0, 0, 0]], [[0, 0, 0]] * 3, [[0, 0], [0, 0]], [[0.5, 0, 0], [0, 0, 0]])),
    *(
        ("levels", value)
        for value in ([0], [1, 1], [5, 1], [0, math.nan], [0, 1e300], "0-255", 255, [0, 1, 2], [0, "1"])
    ),
    *(
        ("threshold_curve", value)
        for value in (None, 0.5, "0.5", [0.5], [0.5] * 40, [0.5] * 38 + [1.5], [math.nan] * 39)
    ),
    *(("temperature", value) for value in (0, -1, 0.04, 21, math.nan, math.inf, "1", None, True, [1.0])),
    *((name, value) for name in ("calibration_error", "certainty") for value in (0.5, [0.5], [0.1] * 3, [0.1, 2], [])),
    *((name, value) for name in ("calibration_error", "certainty") for value in ([math.nan, 0.1], [-0.1, 0.1], "0.1")),
    *((name, value) for name in ("unsure_below", "empty_share") for value in (-0.1, 1.1, math.nan, "0.5", True, [0.5])),
    *(
        ("training_sides", value)
        for value in (64, [64, 64], [[1, 2, 3]], [[3, 2, 1], [1, 2, 3]], [[0, 1, 2], [1, 2, 3]])
    ),
    *(
        ("training_sides", value)
        for value in ([[1.5, 2, 3]] * 2, [[1, 2, 2**40]] * 2, [[1, 2]] * 2, [[1, 2, "3"]] * 2, [])
    ),
    *(("training_look", value) for value in (None, 5, [[1, 2]], [[1, 2]] * 8, [[1, 2]] * 6 + [[1, 256]], [[1]] * 7)),
    *(("training_look", value) for value in ([[1, math.nan]] * 7, [[-1, 1]] * 7, ["12"] * 7, {"red": [1, 2]})),
    *(("object_areas", value) for value in (None, 5, [1, 2], [-1], [0.5], ["1"], [2**41], [[1]], [True])),
    *(("view", value) for value in ("", "tile", None, 1, ["tiles"])),
    *(("scale", value) for value in (0, 1.5, -1, math.nan, "1", None, True)),
    *(("keep_aspect", value) for value in (0, 1, "true", None)),
    *(("input_channels", value) for value in (0, 17, -1, "3", 3.0, True, None, [3], 10**9)),
    *(
        ("band_levels", value)
        for value in ([], [[0, 1]] * 17, [[1, 1]] * 3, [[0, math.nan]], [None], "0-255", [0, 255], [[0, 1]] * 3)
    ),
    *(("weights_sha256", value) for value in (None, 5, "0", "G" * 64, MISSING)),
    *(("dataset_digest", value) for value in (None, 5, "d" * 10_000)),
    *(("schema_version", value) for value in ("1", 0, -1, True, 1.0, None)),
    *(("image_sise", 64), ("", 1), ("x" * 10_000, 1), ("__class__", 1), ("program", 5)),
]
"""A field and a value that it cannot have."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a sound model."""
    folder = tmp_path_factory.mktemp("models") / "sound"
    torch.manual_seed(0)
    save_segmenter(Segmenter(Contract(("_background_", "cat"), ((0, 0, 0), (0, 128, 0)), 64, width=8, depth=2)), folder)
    return folder


def changed(sound: Path, folder: Path, **values: Any) -> Path:
    """Copy a model with other fields in its contract."""
    folder.mkdir(exist_ok=True)
    content = json.loads((sound / CONTRACT_FILE).read_text()) | values
    left = {name: value for name, value in content.items() if value is not MISSING}
    (folder / CONTRACT_FILE).write_text(json.dumps(left))
    (folder / WEIGHTS_FILE).write_bytes((sound / WEIGHTS_FILE).read_bytes())
    return folder


def test_every_hostile_contract_is_refused_by_its_field(sound: Path, tmp_path: Path) -> None:
    assert len(HOSTILE) > 60
    assert {name for name, _ in HOSTILE} >= FIELDS.keys() - {"commit"}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, value in HOSTILE:
        folder = changed(sound, tmp_path / "model", **{name: value})
        with pytest.raises(InputError) as error:
            load_segmenter(folder)
        text = str(error.value)
        assert text.startswith(f"{folder / CONTRACT_FILE}: "), (name, str(value)[:40], text[:300])
        said = text.removeprefix(f"{folder / CONTRACT_FILE}: ")
        assert name[:30] in said.partition(":")[0], (name, str(value)[:40], said[:300])
        assert any(word in said for word in ("may be", "multiple of", "did you mean", "there are")), said[:300]
        assert len(said) < 600
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY_BYTES


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"image_size": 66}, "image_size"),  # no multiple of 4
        ({"width": 1024, "depth": 7, "image_size": 128}, "width, depth"),  # 256 TB of weights
        ({"image_size": 8192, "width": 1024, "depth": 1}, "image_size, width"),
        ({"class_names": ["a", "b", "c"]}, "colours"),
        ({"view": "tiles", "keep_aspect": True}, "keep_aspect"),
        ({"scale": 0.5}, "scale"),
        ({"input_channels": 5}, "mean"),
        ({"input_channels": 2, "mean": [1, 2], "std": [1, 2, 3]}, "std"),
        ({"input_channels": 2, "mean": [1, 2], "std": [1, 2]}, "band_levels"),
        ({"input_channels": 2, "mean": [1, 2], "std": [1, 2], "band_levels": [[0, 1]]}, "band_levels"),
        ({"input_channels": 2, "mean": [1, 2], "std": [1, 2], "band_levels": [[0, 1]] * 2, "levels": [0, 1]}, "levels"),
    ],
)
def test_fields_that_do_not_agree_are_refused(values: dict[str, Any], field: str, sound: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{CONTRACT_FILE}: {field}: "):
        load_segmenter(changed(sound, tmp_path / "model", **values))


@pytest.mark.parametrize(
    "values",
    [
        {"width": 16},
        {"width": 1000},  # 7 GB
        {"depth": 3},
        {"norm": "group"},
        {"class_names": ["a", "b", "c"], "colours": [[0, 0, 0]] * 3},
    ],
    ids=str,
)
def test_weights_of_another_network_are_named(values: dict[str, Any], sound: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{WEIGHTS_FILE}: 'network.*; by {CONTRACT_FILE} it is"):
        load_segmenter(changed(sound, tmp_path / "model", **values))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["network.last.bias", "network.first.1.running_mean"])
def test_weights_that_are_not_finite_are_refused(name: str, value: float, sound: Path, tmp_path: Path) -> None:
    weights = load_file(sound / WEIGHTS_FILE)
    weights[name][0] = value
    with pytest.raises(InputError, match=f"{WEIGHTS_FILE}: {name} holds NaN"):
        load_segmenter(with_weights(sound, tmp_path / "model", weights))


def test_variances_below_zero_are_refused(sound: Path, tmp_path: Path) -> None:
    weights = load_file(sound / WEIGHTS_FILE)
    weights["network.first.1.running_var"][0] = -1
    with pytest.raises(InputError, match=r"running_var holds variances below 0"):
        load_segmenter(with_weights(sound, tmp_path / "model", weights))


def with_weights(sound: Path, folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    """Copy a model with other weights, and their digest in the contract."""
    changed(sound, folder)
    save_file(weights, folder / WEIGHTS_FILE)
    return changed_digest(folder)


def changed_digest(folder: Path) -> Path:
    content = json.loads((folder / CONTRACT_FILE).read_text())
    content["weights_sha256"] = sha256(folder / WEIGHTS_FILE)
    (folder / CONTRACT_FILE).write_text(json.dumps(content))
    return folder


def test_half_precision_and_spare_tensors_are_refused(sound: Path, tmp_path: Path) -> None:
    weights = load_file(sound / WEIGHTS_FILE)
    half = weights | {"network.last.bias": weights["network.last.bias"].half()}
    with pytest.raises(InputError, match=r"network\.last\.bias' is float16 \[1\].* it is float32 \[1\]"):
        load_segmenter(with_weights(sound, tmp_path / "half", half))
    with pytest.raises(InputError, match=r"spare' is float32 \[5\].* it is not there"):
        load_segmenter(with_weights(sound, tmp_path / "spare", weights | {"spare": torch.zeros(5)}))
    del weights["network.last.bias"]
    with pytest.raises(InputError, match=r"network\.last\.bias' is not there"):
        load_segmenter(with_weights(sound, tmp_path / "missing", weights))


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x04.", b"\xff" * 100, b"PK\x03\x04" * 50, (10**12).to_bytes(8, "little")]
)
def test_what_is_no_safetensors_file_is_refused(content: bytes, sound: Path, tmp_path: Path) -> None:
    folder = changed(sound, tmp_path / "model")
    (folder / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(InputError, match=rf"{WEIGHTS_FILE}: no safetensors file"):
        load_segmenter(changed_digest(folder))


def test_a_weights_file_of_30_gb_is_refused_unread(sound: Path, tmp_path: Path) -> None:
    folder = changed(sound, tmp_path / "model")
    with (folder / WEIGHTS_FILE).open("r+b") as file:
        file.truncate(30_000_000_000)  # without blocks on the disk
    with pytest.raises(InputError, match=WEIGHTS_FILE):
        load_segmenter(folder)
    with (folder / CONTRACT_FILE).open("r+b") as file:
        file.truncate(30_000_000_000)
    with pytest.raises(InputError, match="30,000,000,000 bytes, more than"):
        load_segmenter(folder)


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, '{"a": ' * 100_000, "{", "9" * 5000, "nul", '{"image_size": 1e999}']
)
def test_text_that_is_no_contract_is_refused(text: str, sound: Path, tmp_path: Path) -> None:
    folder = changed(sound, tmp_path / "model")
    (folder / CONTRACT_FILE).write_text(text)
    with pytest.raises(InputError, match=CONTRACT_FILE):
        load_segmenter(folder)


def test_an_unknown_schema_names_the_version_to_install(sound: Path, tmp_path: Path) -> None:
    folder = changed(sound, tmp_path / "model", schema_version=SCHEMA_VERSION + 1, program="7.3.1", tiles=[1, 2])
    with pytest.raises(InputError, match=rf"schema_version: {SCHEMA_VERSION + 1} .*install version '7\.3\.1'"):
        load_segmenter(folder)


SECOND = (
    *("class_names", "colours", "image_size", "width", "depth", "norm", "encoder", "encoder_config", "encoder_library"),
    *("encoder_licence", "mean", "std", "threshold", "levels", "dataset_digest", "commit", "weights_sha256", "program"),
)
"""Fields of the second schema."""


def test_the_second_schema_is_read_as_not_calibrated(sound: Path, tmp_path: Path) -> None:
    left_out = {name: MISSING for name in FIELDS if name not in SECOND}
    assert "temperature" in left_out
    folder = changed(sound, tmp_path / "model", **(left_out | {"schema_version": 2}))
    contract = load_segmenter(folder).contract
    assert (contract.temperature, contract.threshold, contract.threshold_curve) == (1.0, 0.5, ())
    assert (contract.calibration_error, contract.certainty, contract.unsure_below) == (None, None, None)
    assert (contract.empty_share, contract.training_sides, contract.training_look) == (None, None, ())
    assert contract == load_segmenter(sound).contract


def test_what_calibration_finds_is_read_back(sound: Path, tmp_path: Path) -> None:
    found = {
        "threshold_curve": tuple(place / 40 for place in range(39)),
        "temperature": 1.25,
        "calibration_error": (0.04, 0.01),
        "certainty": (0.9, 0.05),
        "unsure_below": 0.85,
        "empty_share": 0.0,
        "training_sides": ((31, 35, 39), (43, 46, 52)),
        "training_look": tuple((100.0 + place, 10.5) for place in range(7)),
        "object_areas": (40,),
    }
    contract = dataclasses.replace(load_segmenter(sound).contract, **found)  # type: ignore[arg-type]
    save_segmenter(Segmenter(contract), tmp_path / "model")
    assert load_segmenter(tmp_path / "model").contract == contract


def test_the_first_schema_is_read(sound: Path, tmp_path: Path) -> None:
    written = json.loads((sound / CONTRACT_FILE).read_text())
    assert (written["schema_version"], written["program"]) == (SCHEMA_VERSION, program_version())
    first = changed(sound, tmp_path / "model", schema_version=MISSING, program=MISSING)
    assert load_segmenter(first).contract == load_segmenter(sound).contract


def test_expected_tensors_are_those_that_are_built(make_segmenter: Maker) -> None:
    for changes in ({}, {"norm": "group"}, {"depth": 3}, {"foreground": 3}):
        segmenter = make_segmenter(**changes)
        random = torch.random.get_rng_state()
        expected = expected_tensors(segmenter.contract)
        assert torch.equal(torch.random.get_rng_state(), random)
        assert expected == {name: (value.dtype, tuple(value.shape)) for name, value in segmenter.state_dict().items()}


def test_every_model_that_can_be_configured_is_read_back() -> None:
    """Or is refused before training, not after it."""
    names = ("_background_", *(f"{number}" for number in range(253)))
    make_contract(ModelConfig(encoder="none", width=8), View(256), names, "d", "c")
    for size, depth, width in ((8, 1, 8), (8192, 4, 8), (8192, 7, 8), (256, 2, 1024)):
        make_contract(ModelConfig(encoder="none", width=width, depth=depth), View(size), names[:3], "d", "c")
    with pytest.raises(InputError, match="width: 2048 is not possible"):
        make_contract(ModelConfig(encoder="none", width=2048), View(256), names, "d", "c")
    with pytest.raises(InputError, match="width, depth"):
        make_contract(ModelConfig(encoder="none", width=512, depth=7), View(256), names, "d", "c")
    with pytest.raises(InputError, match="class_names"):
        make_contract(ModelConfig(encoder="none", width=8), View(256), ("a", "b" * 1001), "d", "c")
