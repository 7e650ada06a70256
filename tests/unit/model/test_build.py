"""Initial model of a training: random, or with the weights of another model."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainer import InputError
from trainer.cli import parse
from trainer.data.view import View
from trainer.model.build import make_contract, make_segmenter
from trainer.model.model_folder import load_segmenter, save_segmenter
from trainer.model.segmenter import Segmenter

SMALL = ["--model.encoder", "none", "--model.width", "8", "--model.depth", "2", "--data.image_size", "32"]


def build(names: tuple[str, ...], *arguments: str) -> Segmenter:
    """Build the model that train.py starts with, from its command line."""
    shares = [1 / len(names)] * len(names)
    config = parse([*SMALL, *arguments])
    init = load_segmenter(Path(config.model.init)) if config.model.init else None
    contract = make_contract(config.model, View(config.data.image_size), names, "digest", "commit")
    return make_segmenter(contract, shares, config.train.seed, init, config.model.init)


@pytest.fixture
def saved(tmp_path: Path, make_segmenter: Callable[..., Segmenter]) -> Callable[..., tuple[Segmenter, list[str]]]:
    """Return a function that saves another model, and returns it with the arguments that select it."""

    def save(**facts: object) -> tuple[Segmenter, list[str]]:
        segmenter = make_segmenter(seed=7, **facts)
        save_segmenter(segmenter, tmp_path / "model")
        return segmenter, ["--model.init", str(tmp_path / "model")]

    return save


def test_from_a_model_of_the_same_classes(saved: Callable[..., tuple[Segmenter, list[str]]]) -> None:
    other, arguments = saved()
    ours = build(other.contract.class_names, *arguments)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in ours.state_dict().items())
    assert ours.contract.dataset_digest == "digest"


def test_from_a_model_of_other_classes(saved: Callable[..., tuple[Segmenter, list[str]]]) -> None:
    """All layers come from the other model, except the last, which is that of a new model."""
    other, arguments = saved()
    names = ("_background_", "dog", "cow")
    ours, new = build(names, *arguments), build(names)
    assert ours.contract.class_names == names
    last = [name for name in ours.state_dict() if name.startswith("network.last.")]
    assert len(last) == 2
    for name, value in ours.state_dict().items():
        if name not in last:
            assert torch.equal(value, other.state_dict()[name])
    assert ours.network.last.weight.shape == new.network.last.weight.shape
    assert torch.equal(ours.network.last.bias, new.network.last.bias)  # type: ignore[arg-type]
    assert not torch.equal(ours.network.first[0].weight, new.network.first[0].weight)


def test_another_shape_is_refused(saved: Callable[..., tuple[Segmenter, list[str]]]) -> None:
    other, arguments = saved(width=16)
    with pytest.raises(InputError, match="has width 16, this run 8"):
        build(other.contract.class_names, *arguments)
    pretrained = ["--model.encoder", "efficientnet-lite0"]
    with pytest.raises(InputError, match="has encoder none, this run efficientnet-lite0"):
        build(other.contract.class_names, *arguments, *pretrained)


def test_a_pretrained_encoder_brings_its_own_weights() -> None:
    """They do not depend on the seed, those of the decoder do; another model's weights replace both."""
    names, arguments = ("_background_", "cat"), ["--model.encoder", "efficientnet-lite0", "--data.image_size", "64"]
    one, other = (build(names, *arguments, "--train.seed", seed).state_dict() for seed in "12")
    same = {name for name, value in one.items() if torch.equal(value, other[name])}
    assert {name for name in one if name.startswith("network.encoder.")} <= same
    assert "network.join.0.0.weight" not in same
