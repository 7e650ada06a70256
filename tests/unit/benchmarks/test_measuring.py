"""Figures that the benchmarks of speed read from a run, against runs written by hand."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.baselines import Task
from tests.benchmarks.inside import covered
from tests.benchmarks.measuring import WARM_UP, command, markdown, measured, steps_per_epoch


def write_journal(folder: Path, records: list[dict[str, object]]) -> Path:
    """Write the journal of a run; return its folder."""
    (folder / "journal.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def test_an_evaluation_between_two_steps_belongs_to_neither(tmp_path: Path) -> None:
    times, rates = [1000, 61_000], [0.1, 8.0]  # the first step compiles for 59 s
    for number in range(2, 30):
        times.append(times[-1] + (1000 if number % 2 else 2000))
        rates.append(8.0 if number % 2 else 4.0)
    records: list[dict[str, object]] = [{"time": times[0], "params": {"a": "b"}}]
    for step, time in enumerate(times[1:], start=1):
        records.append(
            {"time": time, "step": step, "metrics": {"train/loss": 1.0, "train/images_per_second": rates[step]}}
        )
    # An evaluation between two steps: nothing of it belongs to a step.
    records.append({"time": times[-1] + 50_000, "step": 29, "metrics": {"val/miou": 0.5}})
    late = {"train/loss": 1.0, "train/images_per_second": 8.0}
    records.append({"time": times[-1] + 51_000, "step": 30, "metrics": late})
    found = measured(write_journal(tmp_path, records))
    assert len(found.walls) == len(found.rates) == 30 - WARM_UP
    assert found.walls[-1] == 1.0
    assert set(found.walls) == {1.0, 2.0}
    assert set(found.rates) == {4.0, 8.0}
    assert found.compile_s == 59  # ordinary steps that are a little slow do not compile


@pytest.mark.parametrize(
    ("spans", "length"),
    [([], 0), ([(1, 3)], 2), ([(5, 6), (1, 3), (2, 4)], 4), ([(1, 9), (2, 3), (8, 10)], 9), ([(-2, -1), (-1, 0)], 2)],
)
def test_covered(spans: list[tuple[float, float]], length: float) -> None:
    assert covered(spans) == length


@pytest.mark.parametrize("steps", [1, 6, 20, 21, 500])
def test_as_many_steps_as_asked(steps: int) -> None:
    arguments = command(Task(8, 32, 4, "cpu", "no"), steps)
    settings = dict(zip(arguments[::2], arguments[1::2], strict=True))
    images = int(settings["--data.generated_images"])
    training = images - -(-images // 5)
    assert training % 4 == 0  # no short batch
    assert training // 4 == steps_per_epoch(steps)
    assert steps <= training // 4 * int(settings["--train.epochs"]) < steps + 20


def test_flops_of_a_unet() -> None:
    """Against the sum over its convolutions, by hand: 3x3 at each level, 2x2 on the way up, 1x1 at the end."""
    width, side = 8, 32
    forward = first = 0
    for level in range(5):
        channels, pixels = width * 2**level, (side >> level) ** 2
        into = 3 if level == 0 else channels // 2
        forward += pixels * 9 * (into * channels + channels * channels)
        first += pixels * 9 * into * channels if level == 0 else 0
        if level < 4:
            forward += pixels * 9 * (2 * channels * channels + channels * channels)
            forward += (pixels // 4) * 4 * 2 * channels * channels
    forward += side**2 * width
    # Backward is twice forward, without the gradient of the image.
    assert Task(width, side, 1, "cpu", "no").flops() == 2 * (3 * forward - first)


def test_markdown() -> None:
    lines = markdown(["a", "number"], [["long name", "1"], ["b", "22"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].strip("| -") == ""
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == ["long name", "1"]
