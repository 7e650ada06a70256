"""Params, names and descriptions that make a list of runs readable."""

import pytest

from trainer.cli import parse
from trainer.model.comparison import Interval
from trainer.tracking.description import describe
from trainer.tracking.run import COMPARED, MOST_PARAMS, changed_settings, chosen_params, model_text, run_title

RESOLVED = [
    "--model.encoder",
    "efficientnet-lite2",
    "--model.width",
    "16",
    "--train.epochs",
    "30",
    "--data.view",
    "whole",
]
DATA = {"digest": "d1", "train": ["a", "b", "c"], "val": ["d"]}


def test_params_are_few_and_the_same_in_all_runs() -> None:
    """What auto has become is nobody's choice, and is none but where all runs have it."""
    plain = chosen_params(parse(RESOLVED))
    assert tuple(plain) == COMPARED
    many = [
        "--data.fold",
        "1",
        "--train.seed",
        "3",
        "--data.augment",
        "light",
        "--model.norm",
        "group",
        "--optim.warmup",
        "0",
    ]
    found = chosen_params(parse([*RESOLVED, *many, "--data.root", "x", "--registry.name", "y", "--resume", "latest"]))
    assert len(found) == MOST_PARAMS == 8
    assert tuple(found)[: len(COMPARED)] == COMPARED
    assert set(found) - set(COMPARED) == {"data.fold", "data.augment", "model.norm"}


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "cats-256px-lite2"),
        (["--optim.lr", "3e-3", "--data.image_size", "128"], "cats-128px-lite2-lr0.003"),
        (
            ["--data.fold", "1", "--train.seed", "3", "--optim.warmup", "0", "--train.ema", "0"],
            "cats-256px-lite2-fold1-warmup0.0-ema0.0",
        ),
        (["--model.encoder", "none", "--data.root", "secret", "--data.workers", "1"], "cats-256px-unet"),
        (["--model.encoder", "hf:facebook/dinov2-small"], "cats-256px-dinov2-small"),
    ],
)
def test_names_say_what_differs(words: list[str], name: str) -> None:
    assert run_title("cats", parse([*RESOLVED, *words])) == name


def test_a_description_tells_what_a_person_asks() -> None:
    config = parse([*RESOLVED, "--optim.lr", "3e-3", "--registry.name", "my cats"])
    text = describe(
        config, DATA, "cats", {"cat": 0.9, "dog": 0.7}, Interval(0.8, 0.71, 0.86), "0123456789abcdef", "f00d"
    )
    assert "mIoU 0.800 [0.710, 0.860] on the 1 validation pictures (cat 0.900, dog 0.700)" in text
    assert "3 pictures train, 1 validate; digest `d1`" in text
    assert "`optim.lr 0.003`" in text
    assert "at commit `0123456789ab`" in text
    assert "this model; the one in use is `models:/my cats@champion`" in text
    assert "--model runs:/f00d/model --input PICTURES" in text  # the champion may be another one
    assert model_text(config) == "lite2"
    assert changed_settings(config) == ["optim.lr"]


def test_a_description_without_a_score_or_a_registered_model() -> None:
    config = parse([*RESOLVED, "--registry.name", "null", "--data.root", "https://me:secret@host/x"])
    text = describe(config, DATA, "https://me:secret@host/x", {}, None, "", None)
    assert "mIoU unknown" in text
    assert "RUN_FOLDER/model" in text
    assert "secret" not in text


def test_hostile_names_fit_into_a_description() -> None:
    """Bytes that are no UTF-8, escape sequences, and names of a thousand characters."""
    classes = {f"\x1b[31m{number}\udcff" + "n" * 1000: 0.5 for number in range(100)}
    text = describe(parse(RESOLVED), DATA, "set\udcff\n# no heading", classes, Interval(0.5, 0.0, 1.0), "c", None)
    assert "--model models:/auto/VERSION" in text
    text.encode()
    assert len(text) <= 5000
    assert "\x1b" not in text
    assert "\n# no heading" not in text
    assert "and 88 more" in text
