"""Settings left to auto: each value follows from what decides it, and has a reason."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.data import count_nothing
from trainer import InputError
from trainer.cli import parse
from trainer.config import Config
from trainer.data.dataset import open_dataset
from trainer.data.sources import find_sources
from trainer.data.view import View
from trainer.engine import auto
from trainer.engine.assembly import class_counts
from trainer.engine.auto import (
    affordable_interval,
    compile_network,
    epochs,
    evaluation_interval,
    patience,
    resolve,
    resolve_names,
    steps_that_fit,
)
from trainer.model.segmenter import Contract
from trainer.system.text import digest

YEAR_FLOP = 1e20

CURVE = "train.patience curve: it ends once val/miou levels off"


@pytest.mark.parametrize("kind", list(auto.EXPECTED))
def test_long_runs_are_compiled_and_short_ones_not(kind: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "has_compiler", lambda: True)
    decisions = [compile_network("auto", *kind, 10.0**power, 2, 0)[0] for power in range(8, 21)]
    assert decisions == sorted(decisions)
    assert not decisions[0]
    assert decisions[-1]
    assert not compile_network("auto", *kind, YEAR_FLOP, 2, minutes=1)[0]  # the limit comes before
    assert compile_network("auto", *kind, YEAR_FLOP, 2, minutes=600)[0]
    sizes = [compile_network("auto", *kind, YEAR_FLOP, sizes, minutes=60)[0] for sizes in range(1, 60)]
    assert sizes == sorted(sizes, reverse=True)


def test_never_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    assert compile_network("auto", "cuda", "bf16", YEAR_FLOP, 1, 0)[0] == auto.has_compiler()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    compiled, why = compile_network("auto", "cuda", "bf16", YEAR_FLOP, 1, 0)
    assert not compiled
    assert "g++" in why


def test_never_compiled_on_a_cpu_or_an_unknown_device() -> None:
    assert compile_network("auto", "cpu", "bf16", YEAR_FLOP, 1, 0) == (
        False,
        "train.compile off: on a CPU it gains nothing",
    )
    assert not compile_network("auto", "mps", "no", YEAR_FLOP, 1, 0)[0]


@pytest.mark.parametrize(
    ("images", "batch_size", "expected"), [(8, 8, 3000), (38, 8, 600), (200, 8, 120), (201, 8, 115), (10**6, 8, 30)]
)
def test_epochs_for_some_3000_steps(images: int, batch_size: int, expected: int) -> None:
    assert epochs("auto", images, batch_size)[0] == expected
    assert epochs("auto", images, batch_size, steps=1500)[0] == max(30, round(expected / 2))


def test_a_dropped_batch_is_no_step() -> None:
    assert epochs("auto", 23, 8)[0] == epochs("auto", 24, 8)[0]
    assert epochs("auto", 223, 8, drop_last=True)[0] > epochs("auto", 223, 8)[0]


def test_given_values_stay_and_decided_ones_have_a_reason(
    tmp_path: Path, make_voc: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_voc(*(f"p{number}" for number in range(10)))

    def resolved(*arguments: str, init: Contract | None = None) -> tuple[Config, list[str]]:
        config = parse(["--data.root", str(root), "--data.image_size", "32", *arguments])
        dataset = open_dataset(find_sources(config.data), View(32), tmp_path, count_nothing)
        found, lines = resolve(config, class_counts(dataset), init)
        assert found.data == replace(config.data, sampling="even")
        return found, lines

    config, lines = resolved()
    assert (config.model.width, config.train.epochs, config.loss.class_weights) == (16, 3000, None)
    assert lines[1:] == ["model.width 16, for 8 training pictures", "train.epochs 3000, for 8 training pictures"]
    assert config.train.patience == 0  # 32 pixels are too few for a pretrained encoder
    other = Contract(("_background_", "cat"), ((0, 0, 0), (0, 128, 0)), 32, width=24)
    config, lines = resolved("--train.epochs", "7", init=other)
    assert (config.model.width, config.model.encoder) == (24, "none")
    assert lines == ["model.encoder none, as model.init has it", "model.width 24, as model.init has it"]
    plain = ["--train.epochs", "7", "--model.encoder", "none", "--model.width", "8"]
    config, lines = resolved(*plain, "--loss.class_weights", "balanced", init=other)
    assert (config.model.width, config.train.epochs) == (8, 7)
    assert isinstance(config.loss.class_weights, list)
    assert lines == [f"loss.class_weights {config.loss.class_weights}, 1 / sqrt(share of the pixels)"]
    assert len(config.loss.class_weights) == 2
    monkeypatch.setattr(auto, "FEW_IMAGES", 8)
    assert resolved()[0].model.width == 32
    with pytest.raises(InputError, match="3 weights"):
        resolved("--loss.class_weights", "[1, 1, 1]")


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("cats", "cats"),
        ("cats+dogs", "cats+dogs"),
        ("my cats", "my cats"),
        ("50 % off: 'a/b'", "50 _ off_ _a_b_-" + digest("50 % off: 'a/b'")),
        ("裂缝", "裂缝"),
        ("...", "___-" + digest("...")),
    ],
)
def test_names_follow_the_data_folder(title: str, name: str) -> None:
    config, reason = resolve_names(parse([]), title)
    assert (config.tracking.experiment, config.registry.name) == (name, name)
    assert reason == f"tracking.experiment and registry.name {name}, after the data folder"


def test_given_names_stay() -> None:
    config, reason = resolve_names(parse(["--registry.name", "mine"]), "cats")
    assert (config.tracking.experiment, config.registry.name) == ("cats", "mine")
    assert reason == "tracking.experiment cats, after the data folder"
    config, reason = resolve_names(parse(["--registry.name", "null", "--tracking.experiment", "trials"]), "cats")
    assert (config.tracking.experiment, config.registry.name, reason) == ("trials", None, "")


def test_evaluations_are_some_50_steps_apart() -> None:
    assert evaluation_interval(3, 7) == (21, "")
    steps = [evaluation_interval("auto", epoch)[0] for epoch in (1, 7, 49, 50, 51, 1000)]
    assert steps == [50, 49, 49, 50, 51, 1000]
    assert [evaluation_interval("auto", epoch, by_curve=True)[0] for epoch in (1, 5, 24, 26, 100)] == [
        25,
        25,
        24,
        26,
        100,
    ]
    assert [evaluation_interval("auto", 5, least=steps)[0] for steps in (0, 60, 1000)] == [50, 60, 1000]


def test_evaluations_in_tiles_take_a_quarter_of_the_time() -> None:
    """10 images of 1000x1000 pixels cost as much as 6.4 steps of 8 crops of 256, of which a step takes three times."""
    steps = affordable_interval(1e7, 8, 256)
    assert steps == pytest.approx(1e7 / (8 * 256**2) / 3 / 0.25, abs=1)
    assert affordable_interval(0, 8, 256) == 0


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"amx_bf16": True, "avx512_bf16": True}, "bf16"), ({"avx512_bf16": True}, "no"), ({}, "no")],
)
def test_a_cpu_computes_in_bf16_only_with_amx(
    capabilities: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto.torch.cpu, "get_capabilities", lambda: capabilities)
    assert auto.mixed_precision("auto", accelerated=False)[0] == expected
    assert auto.mixed_precision("bf16", accelerated=False)[0] == "bf16"


@given(seconds=st.floats(0, 1e4), small=st.floats(0.01, 10), full=st.floats(0.01, 10), around=st.floats(0, 5))
def test_as_many_steps_as_fit(seconds: float, small: float, full: float, around: float) -> None:
    def spent(steps: int) -> float:
        return -(-steps // 2) * small + steps // 2 * full + steps * around

    found = steps_that_fit(seconds, small, full, around)
    assert found == 1 or spent(found) <= seconds + max(small, full)
    assert spent(found + 2) >= seconds - max(small, full)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "curve"),
        (["--train.epochs", "7"], 0),
        (["--train.minutes", "2"], 0),
        (["--train.patience", "5"], 5),
        (["--train.patience", "0"], 0),
        (["--train.epochs", "7", "--train.patience", "curve"], "curve"),
    ],
)
def test_the_curve_ends_only_what_nobody_has_given_a_length(arguments: list[str], expected: int | str) -> None:
    assert patience(parse(arguments).train, pretrained=True) == (expected, CURVE if arguments == [] else "")


def test_the_curve_ends_pretrained_models(tmp_path: Path, make_voc: Callable[..., Path]) -> None:
    """From random weights each step pays."""
    root = make_voc(*(f"p{number}" for number in range(10)))

    def decided(*arguments: str, init: Contract | None = None) -> int | str:
        config = parse(["--data.root", str(root), *arguments])
        dataset = open_dataset(find_sources(config.data), View(64), tmp_path, count_nothing)
        return resolve(config, class_counts(dataset), init)[0].train.patience

    assert decided() == "curve"
    assert decided("--model.encoder", "none") == 0
    other = Contract(("_background_", "cat"), ((0, 0, 0), (0, 128, 0)), 32)
    assert decided(init=other) == "curve"
