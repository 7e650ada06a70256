"""Images on which models are compared: the validation images, or a folder set apart, all of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.data import count_nothing
from tests.support.discs import make_discs
from tests.support.training import Prepared, prepare
from trainer import InputError
from trainer.config import RegistryConfig
from trainer.engine.comparison_images import find_holdout, make_scorers
from trainer.engine.evaluate import evaluate

SMALL = ["--model.encoder", "none", "--model.width", "8", "--model.depth", "2", "--data.image_size", "32"]
SMALL += ["--data.workers", "0", "--train.mixed_precision", "no", "--train.batch_size", "4"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Path]:
    """Ten images, two of which validate; and a folder with 3 others."""
    top = tmp_path_factory.mktemp("data")
    root, apart = make_discs(top / "discs", 10), make_discs(top / "apart", 3, 56)
    made = prepare([*SMALL, "--data.root", str(root)], top / "cache")
    return Prepared(
        replace(made.config, registry=RegistryConfig(eval_root=str(apart))), made.dataset, made.segmenter
    ), top


def test_a_model_is_scored_on_either_set(prepared: tuple[Prepared, Path]) -> None:
    made, top = prepared
    scorers = make_scorers(made.config, made.dataset, top / "cache", count_nothing)
    table = scorers.validation(made.segmenter)
    evaluation = evaluate(made.segmenter, made.dataset.validation, made.config.loss)
    assert table.scores() == evaluation.scores
    assert [one.name for one in table.images] == [one.name for one in made.dataset.validation.samples]
    assert scorers.holdout is not None
    apart = scorers.holdout(made.segmenter)
    assert len(apart.images) == 3
    assert [(one.height, one.width) for one in apart.images] == [(56, 64)] * 3
    assert not {one.image for one in apart.images} & {one.image for one in table.images}
    labelled, unlabelled = made.dataset.training_hashes()
    assert len(labelled) == len(set(labelled)) == 8
    assert not {f"{one:016x}" for one in labelled} & {one.image for one in table.images}
    assert not unlabelled


def test_without_a_folder_there_is_no_second_set(prepared: tuple[Prepared, Path]) -> None:
    made, top = prepared
    config = replace(made.config, registry=RegistryConfig())
    assert make_scorers(config, made.dataset, top / "cache", count_nothing).holdout is None


def test_a_folder_that_cannot_be_used_is_named(prepared: tuple[Prepared, Path], tmp_path: Path) -> None:
    made, _ = prepared

    def find(root: Path) -> None:
        find_holdout(replace(made.config, registry=RegistryConfig(eval_root=str(root))), made.dataset.names)

    with pytest.raises(InputError, match=r"registry\.eval_root: .*no such folder"):
        find(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"registry\.eval_root: "):
        find(tmp_path / "empty")
    others = make_discs(tmp_path / "others", 3)
    (others / "class_names.txt").write_text("_background_\ncircle\n")
    with pytest.raises(InputError, match="its classes are circle, and those of this training class_1"):
        find(others)
