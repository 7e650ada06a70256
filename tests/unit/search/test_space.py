"""Files with the settings of a sweep: every value is one that its setting takes, or the file is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.program import REPOSITORY
from trainer import InputError
from trainer.cli import setting_check
from trainer.config import Config, flatten
from trainer.search.space import Check, Choice, Range, Space, read_space


@pytest.fixture(scope="module")
def check() -> Check:
    return setting_check()


@pytest.fixture
def read(tmp_path: Path, check: Check) -> Any:
    def read(text: str) -> Space:
        file = tmp_path / "a späce.yaml"
        file.write_text(text, encoding="utf-8")
        return read_space(file, check)

    return read


def test_ranges_and_lists_of_every_kind(read: Any) -> None:
    space = read(
        """
        optim.lr: {low: 1e-4, high: 1e-2, log: true}  # no point: a text to YAML
        optim.weight_decay: {low: 0, high: 0.1, step: 0.05}
        train.batch_size: {low: 4, high: 16, step: 4}
        model.width: [8, 16, auto]
        loss.class_weights: [none, [1, 2.5]]
        train.compile: [off, auto]
        model: {freeze: [true, false], norm: [batch, group]}
        """
    )
    assert space.entries == {
        "optim.lr": Range(1e-4, 1e-2, log=True),
        "optim.weight_decay": Range(0, 0.1, 0.05),
        "train.batch_size": Range(4, 16, 4, whole=True),
        "model.width": Choice((8, 16, "auto")),
        "loss.class_weights": Choice(("none", [1, 2.5])),
        "train.compile": Choice((False, "auto")),
        "model.freeze": Choice((True, False)),
        "model.norm": Choice(("batch", "group")),
    }


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("optim.l: [1, 2]", "optim.l: no such key; did you mean optim.lr?"),
        ("optim: {l: [1, 2]}", "optim.l: no such key; did you mean optim.lr?"),
        ("optim: 3", "optim: 3 is not possible; give keys of this section"),
        ("optim.lr: 3", "optim.lr: 3 is one value; give [value, value, ...]"),
        ("optim.lr: {low: 1, high: 20}", "optim.lr: 20.0 is not possible; give more than 0"),
        ("optim.lr: {low: a, high: 2}", "optim.lr.low: 'a' is not possible; give a number"),
        ("optim.lr: {low: .nan, high: 1}", "optim.lr.low: nan is not possible; give a number"),
        ("optim.lr: {low: 2e-3, high: 1e-3}", "optim.lr: low 0.002 is not less than high 0.001"),
        ("optim.lr: {low: 1e-3, high: 1e-3}", "optim.lr: low 0.001 is not less than high 0.001"),
        ("optim.lr: {low: 1e-3}", "optim.lr: high is missing"),
        ("optim.lr: {low: 1e-3, hihg: 1}", "optim.lr.hihg: no such key; give low, high, step, log"),
        ("optim.lr: {low: 1e-3, high: 1, log: 3}", "optim.lr.log: 3 is not possible; give true or false"),
        (
            "optim.weight_decay: {low: 0, high: 1, log: true}",
            "optim.weight_decay.low: 0 is not possible with log: true",
        ),
        ("optim.lr: {low: 1e-4, high: 1e-3, log: true, step: 1e-4}", "optim.lr: step and log exclude each other"),
        (
            "train.batch_size: {low: 4, high: 15, step: 4}",
            "train.batch_size.high: 15 is not low plus some steps; give 12",
        ),
        ("train.batch_size: {low: 4, high: 8, step: 0}", "train.batch_size.step: 0 is not possible"),
        ("train.batch_size: {low: 4, high: 8, step: 40}", "train.batch_size.step: 40 is not possible"),
        ("train.batch_size: {low: 1.5, high: 4}", "train.batch_size.low: 1.5 is not possible; give a whole number"),
        ("train.batch_size: {low: true, high: 4}", "train.batch_size.low: True is not possible; give a whole number"),
        ("model.width: {low: 8, high: 32}", "model.width: 9 is not possible; give a multiple of 8, or auto; or give"),
        ("model.width: [8, 12]", "model.width: 12 is not possible; give a multiple of 8"),
        ("model.width: [8, x]", "model.width: 'x' is not possible; give int or one of ['auto']"),
        ("model.norm: [batch, grupp]", "model.norm: 'grupp' is not possible; give one of ['batch', 'group']"),
        ("model.norm: {low: 1, high: 2}", "model.norm: takes no numbers; give a list of its values"),
        ("model.freeze: {low: 0, high: 1}", "model.freeze: takes no numbers"),
        ("model.norm: [batch]", "model.norm: ['batch'] is not possible; give two or more different values"),
        ("optim.lr: [1e-3, 0.001]", "give two or more different values"),
        ("data.root: [a, b]", "data.root: decides which pictures validate"),
        ("data: {fold: [0, 1]}", "data.fold: decides which pictures validate"),
        ("train.folds: [2, 3]", "train.folds: is alike for all trials, by the sweep's own option --folds"),
        ("registry.name: [a, b]", "registry.name: decides nothing about the model"),
        ("resume: [never, latest]", "resume: decides nothing about the model"),
        ("", "names no setting"),
        ("- 1", "holds no settings"),
        ("1: [2, 3]", "holds no settings"),
        ("optim.lr: [", "line 1: not valid YAML"),
        ("optim.lr: [1e-3, 2e-3]\noptim.lr: [1e-4, 2e-4]", "line 2: not valid YAML (optim.lr is there twice)"),
        ("optim.lr: !!python/name:os.system x", "not valid YAML"),
    ],
)
def test_what_is_impossible_is_named_with_its_file(text: str, error: str, read: Any) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    assert error in str(caught.value)
    assert "a späce.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_one_in_no_utf8(tmp_path: Path, check: Check) -> None:
    with pytest.raises(InputError, match=r"--space .*no such.yaml: No such file or directory; give a YAML file"):
        read_space(tmp_path / "no such.yaml", check)
    (tmp_path / "latin.yaml").write_bytes(b"model.norm: [b\xe4tch, group]")
    with pytest.raises(InputError, match="not valid YAML"):
        read_space(tmp_path / "latin.yaml", check)


def test_the_shipped_space_is_possible_and_begins_with_the_defaults(check: Check) -> None:
    space = read_space(REPOSITORY / "configs" / "sweep.yaml", check)
    stored = space.stored(flatten(Config()))
    assert stored.keys() == space.entries.keys()
    assert space.settings(stored) == {key: flatten(Config())[key] for key in space.entries}


def test_values_are_stored_and_come_back(read: Any) -> None:
    text = "loss.class_weights: [none, [1, 2.5]]\nmodel.freeze: [true, false]\n"
    space = read(text + "train.batch_size: {low: 4, high: 12, step: 4}")
    settings = {"loss.class_weights": [1, 2.5], "model.freeze": False, "train.batch_size": 8}
    stored = space.stored(settings)
    assert all(isinstance(value, str | int) for value in stored.values())
    assert space.settings(stored) == settings
    # What the space does not have is left to be chosen: between the steps, outside, of another kind.
    for value in (5, 16, "auto", True, 8.5):
        assert "train.batch_size" not in space.stored({**settings, "train.batch_size": value})
    assert "model.freeze" not in space.stored({**settings, "model.freeze": 0})


def test_equal_spaces_are_equal_however_they_are_written(read: Any) -> None:
    one = read("optim.lr: {low: 1e-4, high: 1e-2}\nmodel.norm: [batch, group]")
    other = read("model: {norm: [batch, group]}\noptim: {lr: {high: 1e-2, low: 1e-4}}")
    assert one.content == other.content
    assert yaml.safe_load(yaml.safe_dump(dict(one.content))) == one.content
