"""Training with unlabelled images on 1, 2 and 3 real processes: the same images, losses and gradients; exact on resume.

Negative controls: tests/support/world.py breaks the program from outside, one thing at a time; the comparison fails.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.support.images import smooth_image
from tests.support.parity import (
    ONE_CLASS,
    PROMISE,
    Case,
    Difference,
    Result,
    case,
    compare,
    make_data,
    relative,
    run_world,
)

pytestmark = pytest.mark.timeout(900)

FAULTS = ("unlabelled_average_of_averages", "unlabelled_by_place", "unlabelled_gradients_are_not_exchanged")
Worlds = dict[int, dict[str, list[Result] | str]]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    """Results of all cases on 1, 2 and 3 processes, of the broken ones on 2."""
    folder = tmp_path_factory.mktemp("worlds")
    new, data = folder / "new", make_data(folder / "data")
    new.mkdir()
    for number in range(7):
        Image.fromarray(smooth_image(40 + number, 44, seed=50 + number)).save(new / f"{number}.png")
    settings = ["--data.unlabelled", str(new), "--train.ema", "0.9"]
    sound = {
        "whole": case(*settings, "--train.batch_size", "4", fault="sure_teacher"),
        "odd": case(*settings, "--train.batch_size", "3", fault="sure_teacher"),
        # Of three processes, one has no image.
        "small": case(
            *settings, "--train.batch_size", "2", "--train.seed", "1", classes=ONE_CLASS, fault="sure_teacher"
        ),
        "batch": case(*settings, "--train.batch_size", "4", "--loss.reduction", "batch", fault="sure_teacher"),
    }
    cases = sound | {
        f"{name}, accumulated": Case([*one.arguments, "--train.micro_batch_size", "1"], one.fault)
        for name, one in sound.items()
    }
    learning = [*case(*settings, "--train.batch_size", "4", lr=["--optim.lr", "1e-3"]).arguments, "--train.epochs", "2"]
    several = {"resumed": Case([*learning, "--model.norm", "batch"], "sure_teacher", resume_after=4)}
    broken = {fault: Case(sound["odd"].arguments, fault) for fault in FAULTS}
    wanted = {1: cases | several, 2: cases | several | broken, 3: cases | several}
    with ThreadPoolExecutor() as pool:  # one process alone would leave cores idle
        started = {count: pool.submit(run_world, count, wanted[count], data, folder / f"{count}") for count in wanted}
        return {count: future.result() for count, future in started.items()}


def difference(worlds: Worlds, processes: int, name: str, reference: str) -> tuple[Difference, float]:
    """Differences of loss, gradient and learning rate, and of the numbers of the unlabelled images."""
    expected, found = worlds[1][reference], worlds[processes][name]
    assert not isinstance(expected, str)
    assert not isinstance(found, str), found
    numbers = [unlabelled_numbers(one) for one in (expected[0], *found)]
    return compare(expected[0], found), max(relative(other, numbers[0]) for other in numbers[1:])


def unlabelled_numbers(result: Result) -> np.ndarray:
    """Loss and share of sure pixels, [2 * steps, 1]."""
    keys = ("train/unlabelled_loss", "train/confident")
    return np.array([[one[key]] for one in result.content["steps"] for key in keys])


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("name", ["whole", "odd", "small", "batch"])
@pytest.mark.parametrize("pieces", ["", ", accumulated"])
def test_same_training(worlds: Worlds, processes: int, name: str, pieces: str) -> None:
    found, of_unlabelled = difference(worlds, processes, name + pieces, name)
    assert found.same_samples
    assert max(found.loss, found.gradient, of_unlabelled) <= PROMISE


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_all_see_the_same_unlabelled_images(worlds: Worlds, processes: int) -> None:
    def rows(count: int) -> list[list[int]]:
        results = worlds[count]["small"]
        assert not isinstance(results, str)
        parts = [one.content["unlabelled_rows"] for one in results]
        return [sorted(itertools.chain(*step)) for step in zip(*parts, strict=True)]

    assert rows(processes) == rows(1)
    assert all(len(step) == 2 for step in rows(1)[:-1])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_program_is_not_the_same(worlds: Worlds, fault: str) -> None:
    found, of_unlabelled = difference(worlds, 2, fault, "odd")
    assert max(found.gradient, of_unlabelled) > 100 * PROMISE


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_a_resumed_training_has_the_same_gradients(worlds: Worlds, processes: int) -> None:
    for one in worlds[processes]["resumed"]:
        assert not isinstance(one, str)
        assert one.content["resumed_loses"] == 0
        assert len(one.losses) > 4
