"""One training on 1, 2 and 3 real processes: the same samples, rates, losses, gradients and scores.

Negative controls: tests/support/world.py breaks the program from outside, one thing at a time; the comparison fails.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.backbones import save_backbone
from tests.support.parity import (
    ONE_CLASS,
    PROMISE,
    Case,
    Difference,
    Result,
    case,
    compare,
    make_data,
    run_world,
    within,
)

# The first test waits for all the worlds.
pytestmark = pytest.mark.timeout(900)

TILES = ["--train.batch_size", "4", "--data.view", "tiles", "--data.scale", "1"]
ENCODER = ["--train.batch_size", "4", "--model.encoder", "efficientnet-lite0"]
HUB = ["--train.batch_size", "4", "--model.encoder"]
MODELS = "MODELS"
"""Stands for the folder of the models that the fixture makes."""

WHOLE = {
    "image": replace(case("--train.batch_size", "4"), validation_sizes=(1, 7, 21)),
    "batch": case("--train.batch_size", "4", "--loss.reduction", "batch"),
    # The last step has one sample, for three processes.
    "image, small": case("--train.batch_size", "2", classes=ONE_CLASS),
    "batch, small": case("--train.batch_size", "2", "--loss.reduction", "batch", classes=ONE_CLASS),
    "drop last": case("--train.batch_size", "4", "--data.drop_last", "true"),
    "no threads": case("--train.batch_size", "4", "--data.workers", "0"),
    "many threads": case("--train.batch_size", "4", "--data.workers", "5"),
    "weighted": case("--train.batch_size", "4", "--data.sampling", "foreground", "--loss.class_weights", "[0.5,1,3]"),
    "trained": case("--train.batch_size", "4", "--train.epochs", "4", "--model.depth", "2", lr=["--optim.lr", "3e-3"]),
    "one batch": case("--train.batch_size", "11"),
    "encoder": case(*ENCODER),
    "encoder, frozen": case(*ENCODER, "--model.freeze", "true"),
    "hub, stages": case(*HUB, f"hf:{MODELS}/convnext"),
    "hub, transformer": case(*HUB, f"hf:{MODELS}/dinov2"),
    "tiles": replace(case(*TILES), validation_sizes=(1, 7)),
    "tiles, pasted": case(*TILES, "--data.copy_paste", "0.5", "--data.scale", "0.75"),
    "batch norm": case("--train.batch_size", "4", "--model.norm", "batch"),
}
ACCUMULATED = {
    f"{name}, accumulated": Case([*WHOLE[name].arguments, "--train.micro_batch_size", "1"])
    for name in ("image", "batch", "weighted", "image, small", "batch, small", "trained")
}
THREE = [
    "image",
    "batch",
    "image, small",
    "batch, small",
    "drop last",
    "weighted",
    "trained",
    "one batch",
    "encoder",
    "tiles",
]
THREE += ["tiles", "hub, stages", "hub, transformer", "image, small, accumulated", "batch, small, accumulated"]
"""Cases that three processes compute too: those that depend on the number of processes."""

EXACT = [name for name in [*WHOLE, *ACCUMULATED] if name != "batch norm"]
SAME = {1: EXACT, 2: EXACT, 3: THREE}
"""Number of processes -> cases that must equal one process without accumulation."""

FAULTS = {
    "all_take_the_first_share": "drop last",
    "average_of_averages": "image",
    "ratio_of_each_process": "batch",
    "schedule_steps_once_per_process": "image",
    "gradients_are_not_exchanged": "image",
    "accumulation_divides": "image",
    "augmentation_by_place": "image",
    "crops_by_place": "tiles",
}
Worlds = dict[int, dict[str, list[Result] | str]]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    """Results of all cases on 1, 2 and 3 processes, of the broken ones on 2."""
    folder = tmp_path_factory.mktemp("worlds")
    data = make_data(folder / "data")
    save_backbone(folder / MODELS / "convnext", "convnext")
    # The gradient of a key's bias is 0 (softmax does not see it), and its bits are rounding alone.
    save_backbone(folder / MODELS / "dinov2", "dinov2", qkv_bias=False)
    sound = WHOLE | ACCUMULATED
    broken = {fault: Case(WHOLE[name].arguments, fault) for fault, name in FAULTS.items()}
    broken |= {
        "all_validate_everything": Case(WHOLE["image"].arguments, "all_validate_everything"),
        "statistics_are_not_averaged": Case(WHOLE["batch norm"].arguments, "statistics_are_not_averaged"),
        "all_take_the_first_share, uneven": Case(WHOLE["image"].arguments, "all_take_the_first_share"),
        "stopped": Case(WHOLE["batch norm"].arguments, stop_after=2),
        "stopped, apart": Case(WHOLE["batch norm"].arguments, "statistics_are_not_averaged", stop_after=2),
        "refused": Case(WHOLE["one batch"].arguments, "two_images_fit_on_the_last_process"),
    }
    pieces = [*WHOLE["batch norm"].arguments, "--train.micro_batch_size", "2"]
    alone = sound | {
        "searched": Case(WHOLE["batch norm"].arguments, "everything_fits"),
        "one pass": Case(pieces),
        "two passes": Case([*pieces, "--loss.reduction", "batch"]),
    }
    several = {
        "resumed": Case([*WHOLE["batch norm"].arguments, "--train.epochs", "2"], resume_after=4),
        "resumed, accumulated": Case([*pieces, "--train.ema", "0.9"], resume_after=1),
    }
    several["resumed, encoder"] = Case([*WHOLE["encoder"].arguments, "--model.norm", "batch"], resume_after=1)
    several["resumed, tiles"] = Case(WHOLE["tiles"].arguments, resume_after=1)
    several["resumed, hub"] = Case(WHOLE["hub, transformer"].arguments, resume_after=1)
    three = several | {name: sound[name] for name in ["batch norm", *THREE]}
    three["resumed, unsorted"] = replace(several["resumed"], fault="buckets_as_they_come")
    cases = {1: alone, 2: sound | broken | several, 3: three}
    for one in (one for some in cases.values() for one in some.values()):
        one.arguments[:] = [word.replace(f"hf:{MODELS}", f"hf:{folder / MODELS}") for word in one.arguments]
    with ThreadPoolExecutor() as pool:  # one process alone would leave cores idle
        started = {count: pool.submit(run_world, count, cases[count], data, folder / f"{count}") for count in cases}
        return {count: future.result() for count, future in started.items()}


def difference(worlds: Worlds, processes: int, name: str, reference: str = "") -> Difference:
    expected, found = worlds[1][reference or name.removesuffix(", accumulated")], worlds[processes][name]
    assert not isinstance(expected, str)
    assert not isinstance(found, str), found
    return compare(expected[0], found)


@pytest.mark.parametrize(("processes", "name"), [(count, name) for count, names in SAME.items() for name in names])
def test_same_training(worlds: Worlds, processes: int, name: str) -> None:
    found = difference(worlds, processes, name)
    assert found.same_samples
    assert found.rate == 0
    if "trained" in name:  # rounding of earlier steps moves a maximum or a ReLU to its other side now and then
        assert found.loss <= 1e-2
        assert found.validation <= 0.2  # a few pixels of one image
    else:
        assert max(found.loss, found.gradient, found.validation) <= PROMISE


def test_the_cases_cover_what_they_are_for(worlds: Worlds) -> None:
    """Last batches are short, some processes have no sample, and the network learns."""
    for processes in (1, 2, 3):
        results = worlds[processes]["image, small"]
        assert [sum(len(one.rows[step]) for one in results) for step in range(6)] == [2, 2, 2, 2, 2, 1]
        assert len(worlds[processes]["drop last"][0].losses) == 2
        assert worlds[processes]["image"][0].content["micro_batch_size"] == -(-4 // processes)
    assert [len(one.rows[5]) for one in worlds[3]["image, small"]] == [1, 0, 0]
    trained = worlds[1]["trained"][0]
    assert trained.losses[-1] < trained.losses[0] - 0.1
    first, last = (trained.content["validation"][place]["iou"] for place in (0, -1))
    assert last != first
    assert 0.1 < max(last.values()) < 1


@pytest.mark.parametrize("name", ["image", "tiles"])
@pytest.mark.parametrize("processes", [2, 3])
def test_validation_is_the_same_to_the_last_digit(worlds: Worlds, processes: int, name: str) -> None:
    """With 1, 7 and 21 samples; of 1, two of three processes have none."""
    alone = worlds[1][name][0].content
    for one in worlds[processes][name]:
        assert one.content["validation_of_size"] == alone["validation_of_size"]
        assert one.content["validation"][0] == alone["validation"][0]
    assert list(alone["validation_of_size"]) == (["1", "7", "21"] if name == "image" else ["1", "7"])
    assert len({values["loss"] for values in alone["validation_of_size"].values()}) >= 2


def test_reading_threads_change_nothing(worlds: Worlds) -> None:
    for processes in (1, 2):
        for name in ("no threads", "many threads"):
            for one, other in zip(worlds[processes][name], worlds[processes]["image"], strict=True):
                assert one.rows == other.rows
                assert np.array_equal(one.losses, other.losses)
                assert np.array_equal(one.gradients, other.gradients)


@pytest.mark.parametrize("processes", [2, 3])
def test_batch_norm_statistics_are_shared(worlds: Worlds, processes: int) -> None:
    """After each step, so in everything that is evaluated or saved; and they count every image once."""
    results = worlds[processes]["batch norm"]
    assert len({tuple(one.content["buffers"]) for one in results}) == 1
    assert len({one.content["best"] for one in results}) == 1
    # Their mean over the processes' images, so the first layer's mean is that of one process.
    first = [np.array(one[0].content["first_mean"]) for one in (results, worlds[1]["batch norm"])]
    np.testing.assert_allclose(first[0], first[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_program_is_not_the_same(worlds: Worlds, fault: str) -> None:
    found = difference(worlds, 2, fault, FAULTS[fault])
    assert not within(found, PROMISE)
    assert within(difference(worlds, 2, FAULTS[fault]), PROMISE)
    if fault == "schedule_steps_once_per_process":
        assert found.rate > 0.1
    else:
        assert found.gradient > 100 * PROMISE
    if fault == "all_take_the_first_share":
        assert not found.same_samples


def test_the_program_itself_refuses_lost_samples(worlds: Worlds) -> None:
    assert "validation saw samples" in worlds[2]["all_validate_everything"]
    assert worlds[2]["all_take_the_first_share, uneven"] == "a step of 3 images saw 4"


def test_batch_norm_counts_each_image_once(worlds: Worlds) -> None:
    """Dice of an accumulated batch takes two passes, of which one moves the statistics."""
    one, two = (worlds[1][name][0] for name in ("one pass", "two passes"))
    assert one.content["buffers"] == two.content["buffers"]
    assert not np.array_equal(one.gradients, two.gradients)


def test_all_processes_stop_together_with_the_same_statistics(worlds: Worlds) -> None:
    """A signal reaches one process only; all have the same statistics when they save."""
    results = worlds[2]["stopped"]
    assert [len(one.losses) for one in results] == [2, 2]
    assert len({tuple(one.content["buffers"]) for one in results}) == 1
    assert len({tuple(one.content["buffers"]) for one in worlds[2]["stopped, apart"]}) == 2


@pytest.mark.parametrize("processes", [2, 3])
def test_a_resumed_training_has_the_same_gradients(worlds: Worlds, processes: int) -> None:
    """To the last bit, beginning with the first step after the checkpoint; three add up in the order of places."""
    for name in ("resumed", "resumed, accumulated", "resumed, encoder", "resumed, hub", "resumed, tiles"):
        assert [one.content["resumed_loses"] for one in worlds[processes][name]] == [0] * processes
    assert worlds[3]["resumed, unsorted"][0].content["resumed_loses"] > 1000


def test_statistics_left_apart_are_different(worlds: Worlds) -> None:
    assert len({tuple(one.content["buffers"]) for one in worlds[2]["statistics_are_not_averaged"]}) == 2


def test_all_processes_take_the_micro_batch_that_fits_the_smallest(worlds: Worlds) -> None:
    """11 images on two processes: 6 at once are refused, then 3, then 2 fit. The batch stays what it was."""
    assert [one.content["micro_batch_size"] for one in worlds[2]["refused"]] == [2, 2]
    assert within(difference(worlds, 2, "refused", "one batch"), PROMISE)


def test_the_search_leaves_no_trace(worlds: Worlds) -> None:
    """Bit for bit the training without it, with batch norm, whose statistics a forward pass moves."""
    searched, plain = worlds[1]["searched"][0], worlds[1]["batch norm"][0]
    assert np.array_equal(searched.gradients, plain.gradients)
    assert searched.content["buffers"] == plain.content["buffers"]
    assert searched.content["validation"] == plain.content["validation"]


@pytest.mark.long
def test_a_process_without_samples_takes_part(tmp_path: Path) -> None:
    """Negative control of `image, small` on three processes: to skip the step is an error, and no endless wait."""
    arguments = WHOLE["image, small"].arguments
    cases = {"skipped": Case(arguments, "processes_without_samples_skip_the_step")}
    with pytest.raises(RuntimeError, match="gloo"):
        run_world(3, cases, make_data(tmp_path / "data"), tmp_path / "world", timeout_s=60)
