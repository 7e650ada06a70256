"""Rare classes: what auto chooses for them, and the words about those not found."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainer import InputError
from trainer.cli import parse
from trainer.engine.checkpoint.format import TrainState
from trainer.engine.rare_classes import Advice, ClassCounts, balancing_weights, class_weights, sampling
from trainer.engine.reporter import Reporter
from trainer.engine.schedule import Plan


def counted(*shares: float, pictures: tuple[int, ...] | None = None, of: int = 100) -> ClassCounts:
    """Classes with these shares of a million pixels, the background's first."""
    names = ["_background_", *(f"class{number}" for number in range(1, len(shares)))]
    return ClassCounts(names, [round(share * 10**6) for share in shares], pictures or (of,) * len(shares), of)


# ------------------------------------------------------------------------------------------------ weights


def test_classes_are_weighted_where_one_of_several_is_small() -> None:
    even = counted(0.5, 0.3, 0.2)
    assert class_weights("auto", even) == (None, "")
    rare = counted(0.6, 0.391, 0.009)
    weights, reason = class_weights("auto", rare)
    assert weights == balancing_weights(rare.pixels)
    assert reason == f"loss.class_weights {weights}, 1 / sqrt(share of the pixels): class2 0.90% below 1% of them"
    assert class_weights("auto", counted(0.6, 0.39, 0.01)) == (None, "")
    assert class_weights("auto", counted(0.6, 0.4, 0.0)) == (None, "")  # no weight helps a class without a pixel


def test_a_single_class_is_not_weighted_by_itself() -> None:
    assert class_weights("auto", counted(0.999, 0.001)) == (None, "")


def test_no_weights_have_two_names() -> None:
    given = [parse(["--loss.class_weights", word]).loss.class_weights for word in ("none", "null", "[1, 2]", "auto")]
    assert given == [None, None, [1, 2], "auto"]


def test_given_weights_stay() -> None:
    rare = counted(0.991, 0.009)
    assert class_weights(None, rare) == (None, "")
    weights, reason = class_weights("balanced", rare)
    assert weights == balancing_weights(rare.pixels)
    assert reason == f"loss.class_weights {weights}, 1 / sqrt(share of the pixels)"
    assert class_weights([1.0, 2.0], rare) == ([1.0, 2.0], "")
    with pytest.raises(InputError, match=r"loss\.class_weights: 2 weights, but there are 3 classes"):
        class_weights([1.0, 2.0], counted(0.5, 0.3, 0.2))


def test_balancing_weights() -> None:
    pixels = [9000, 900, 100]
    weights = balancing_weights(pixels)
    assert weights[2] / weights[0] == pytest.approx((9000 / 100) ** 0.5, rel=1e-3)
    assert sum(weight * count for weight, count in zip(weights, pixels, strict=True)) == pytest.approx(10000, rel=1e-3)
    assert balancing_weights([50, 50]) == [1.0, 1.0]
    assert balancing_weights([50, 0, 50])[1] == 0.0


# ------------------------------------------------------------------------------------------------ sampling


def test_pictures_with_a_seldom_class_are_shown_more_often() -> None:
    assert sampling("auto", counted(0.5, 0.3, 0.2, pictures=(100, 100, 10))) == ("even", "")
    assert sampling("auto", counted(0.5, 0.3, 0.2, pictures=(100, 0, 100))) == ("even", "")  # there is none to show
    found = sampling("auto", counted(0.5, 0.3, 0.2, pictures=(100, 100, 9)))
    assert found == ("foreground", "data.sampling foreground: class2 (9 of 100) in less than 10% of the pictures")
    assert sampling("even", counted(0.5, 0.3, 0.2, pictures=(100, 100, 9))) == ("even", "")


# ------------------------------------------------------------------------------------------------ not found


def advice(*arguments: str, pictures: tuple[int, ...] = (100, 80, 60), side: int = 600) -> Advice:
    config = parse(["--loss.class_weights", "none", "--data.sampling", "even", "--train.epochs", "60", *arguments])
    return Advice(counted(0.5, 0.3, 0.2, pictures=pictures), config, side)


def options_in(text: str) -> list[str]:
    return re.findall(r"--\S+ \S+", text)


def test_settings_that_help_can_be_pasted() -> None:
    text = advice().not_found(["class2"], 40, 120)
    assert text.startswith("not found yet after 40 of 120 steps, IoU 0: class2.")
    assert options_in(text) == [
        "--loss.class_weights balanced",
        "--data.sampling foreground",
        "--data.image_size 512",
    ]
    config = parse(shlex.split(" ".join(options_in(text))))
    assert (config.loss.class_weights, config.data.sampling, config.data.image_size) == ("balanced", "foreground", 512)


def test_only_what_is_not_done_yet_is_advised() -> None:
    weighted = "--loss.class_weights", "[1, 2, 3]"
    assert options_in(advice(*weighted, side=500).not_found(["class1"], 40, 120)) == ["--data.sampling foreground"]
    everything = advice(*weighted, "--data.sampling", "foreground", side=500)
    assert options_in(everything.not_found(["class1"], 40, 120)) == ["--train.epochs 120"]
    few = advice(*weighted, "--data.sampling", "foreground", side=500, pictures=(100, 50, 3))
    assert options_in(few.not_found(["class1", "class2"], 40, 120)) == []
    assert "more pictures that have it; of 100 that train there are: class2 3" in few.not_found(["class2"], 40, 120)


def test_many_classes_are_not_all_named() -> None:
    named = Advice(counted(*[0.05] * 20), parse(["--train.epochs", "5"]), 100)
    text = named.not_found(named.counts.names[1:], 1, 2)
    assert "class12 and 7 more." in text
    assert "class13" not in text


class Lines:
    """Display that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, text: str, _style: str = "") -> None:
        self.lines.append(text)

    def evaluation(self, *_: Any) -> None:
        """Do nothing."""

    def plan(self, total_steps: int) -> None:
        self.lines.append(f"{total_steps} steps")


def reporter(folder: Path, evaluated_share: float = 0.0) -> Reporter:
    ignore = dict.fromkeys(("metrics", "tags"), lambda *_: None)
    run = SimpleNamespace(folder=SimpleNamespace(checkpoints=folder, journal=folder), **ignore)
    return Reporter(
        run,  # type: ignore[arg-type]
        Lines(),  # type: ignore[arg-type]
        SimpleNamespace(samples=[None]),  # type: ignore[arg-type]
        watch=0,
        minutes=0,
        checkpoint_minutes=10,
        steps_per_epoch=10,
        resumed_from=None,
        memory_gib=lambda: 0.0,
        advice=advice(),
        evaluated_share=evaluated_share,
    )


def told(one: Reporter, plan: Plan, iou: dict[str, float], *steps: int) -> list[int]:
    """Steps at whose evaluation a warning was printed."""
    found = []
    scores = SimpleNamespace(iou=iou, miou=0.1, mean_dice=0.1, absent=[])
    for step in steps:
        state = TrainState(step=step)
        state.plan = plan
        one.display.lines.clear()  # type: ignore[attr-defined]
        one.on_evaluation(state, {}, SimpleNamespace(scores=scores))  # type: ignore[arg-type]
        found += [step] * sum("not found" in line for line in one.display.lines)  # type: ignore[attr-defined]
    return found


def test_classes_not_found_are_named_once_after_a_third(tmp_path: Path) -> None:
    plan, iou = Plan(120, 120), {"class1": 0.4, "class2": 0.0}
    assert told(reporter(tmp_path), plan, iou, 0, 20, 39, 41, 60, 120) == [41]
    assert told(reporter(tmp_path), plan, iou, 0, 120) == [120]
    assert told(reporter(tmp_path), plan, {"class1": 0.4, "class2": 0.1}, 0, 39, 41, 120) == []
    assert told(reporter(tmp_path, plan.share(30)), plan, iou, 40, 60) == [40]
    assert told(reporter(tmp_path, plan.share(41)), plan, iou, 60, 120) == []  # an earlier start of the run told it
    assert told(reporter(tmp_path), plan.changed(20, 30), iou, 20, 24, 25, 30) == [24]  # the rest is cut short


def test_another_number_of_steps_is_shown_with_its_reason(tmp_path: Path) -> None:
    one = reporter(tmp_path)
    one.on_plan(TrainState(total_steps=40), "it levels off")
    one.on_plan(TrainState(total_steps=50))
    assert one.display.lines == ["it levels off", "40 steps", "50 steps"]  # type: ignore[attr-defined]
