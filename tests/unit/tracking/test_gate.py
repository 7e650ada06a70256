"""The rule of the gate: what is enough, what is too much, and the sentence that says so."""

import json

import numpy as np
import pytest

from tests.support.registry import scored
from trainer import InputError
from trainer.model.comparison import compare_scores
from trainer.tracking.gate import Rules, better, judge, judge_recorded

NAMES = ("_background_", "cat", "dog")
TITLE = "version 1"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (0.5, 0.4, True),
        (0.4, 0.5, False),
        (0.5, 0.5, False),
        (0.5009, 0.5, False),
        (0.501, 0.5, True),
        (0.001, None, True),
        (0.0, None, False),
        (None, None, False),
        (0.0009, 0.0, False),
    ],
)
def test_better_by_more_than_nothing(one: float | None, other: float | None, expected: bool) -> None:
    assert better(one, other) is expected


CASES = {
    "better": ([0.7, 0.72, 0.68], [0.6, 0.61, 0.6], Rules(), True, "better than version 1 by 0.097 ["),
    "worse": ([0.6, 0.61, 0.6], [0.7, 0.72, 0.68], Rules(), False, "worse than version 1 by 0.097 ["),
    "equal": ([0.6, 0.7, 0.8], [0.6, 0.7, 0.8], Rules(), False, "no different from version 1 as far as can be seen"),
    "nearly": ([0.6, 0.7, 0.8], [0.599, 0.7, 0.8], Rules(), False, "no different"),
    "chance": ([0.5, 0.9, 0.7], [0.7, 0.6, 0.6], Rules(), True, "which may be chance"),
    "margin": ([0.7, 0.72, 0.68], [0.6, 0.61, 0.6], Rules(0.2), False, "less than registry.margin 0.2"),
    "margin met": ([0.7, 0.7], [0.6, 0.6], Rules(0.1), True, "better"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_class(case: str) -> None:
    ours, theirs, rules, passes, words = CASES[case]
    verdict = judge(scored(*[(one,) for one in ours]), scored(*[(one,) for one in theirs]), rules, TITLE)
    assert verdict.passes is passes, verdict.reason
    assert words in verdict.reason
    assert f"mIoU on {len(ours)} pictures ({verdict.candidate:.3f} against {verdict.other:.3f})" in verdict.reason
    assert verdict.candidate == pytest.approx(np.mean(ours))
    assert verdict.other == pytest.approx(np.mean(theirs))


@pytest.mark.parametrize(("drop", "passes"), [(0.05, True), (0.051, False)])
def test_a_class_that_falls_keeps_a_better_model_out(drop: float, passes: bool) -> None:
    ours, theirs = (
        scored((0.9, 0.5 - drop), (0.9, 0.5 - drop), names=NAMES),
        scored((0.5, 0.5), (0.5, 0.5), names=NAMES),
    )
    verdict = judge(ours, theirs, Rules(), TITLE)
    assert verdict.passes is passes
    assert ("but dog falls by 0.051, more than registry.max_class_drop 0.05" in verdict.reason) is not passes
    assert judge(ours, theirs, Rules(max_class_drop=0.4), TITLE).passes
    assert judge(theirs, ours, Rules(), TITLE).reason.count("cat falls") == 1
    alone = judge(scored((0.4,), (0.4,)), scored((0.6,), (0.6,)), Rules(), TITLE)
    assert not alone.passes
    assert "falls" not in alone.reason


def test_the_interval_is_that_of_the_paired_comparison() -> None:
    ours, theirs = scored((0.5,), (0.9,), (0.7,), (0.4,)), scored((0.4,), (0.6,), (0.75,), (0.3,))
    verdict = judge(ours, theirs, Rules(), TITLE)
    expected = compare_scores(theirs.counts(), ours.counts(), ours.class_names).difference
    assert verdict.interval == expected
    assert f"{expected}" in verdict.reason
    tags, content = verdict.tags(), json.loads(json.dumps(verdict.to_json()))
    assert tags["difference"] == f"{expected}"
    assert tags["evaluation_digest"] == ours.digest == content["evaluation_digest"]
    assert json.loads(tags["class_iou"]) == {"cat": [0.625, 0.5125]}
    assert content["interval"] == [expected.low, expected.high]
    assert content["classes"]["cat"]["champion"] == pytest.approx(0.5125)


def test_too_little_to_compare_on() -> None:
    with pytest.raises(InputError, match="1 picture to compare on, and 2 is the least"):
        judge(scored((0.5,)), scored((0.4,)), Rules(), TITLE)
    nothing = scored((0.5,), (0.5,), pixels=0)
    with pytest.raises(InputError, match="no class to be scored by"):
        judge(nothing, nothing, Rules(), TITLE)


def test_many_classes_do_not_burst_a_tag() -> None:
    names = ("_background_", *(f"class {'x' * 60} {number}" for number in range(100)))
    ours, theirs = scored((0.2,) * 100, (0.2,) * 100, names=names), scored((0.9,) * 100, (0.9,) * 100, names=names)
    verdict = judge(ours, theirs, Rules(), TITLE)
    assert "class_iou" not in verdict.tags()
    assert len(verdict.reason) < 600
    assert "97 more classes fall" in verdict.reason


def test_recorded_scores_have_no_interval() -> None:
    verdict = judge_recorded(0.5, 0.2, Rules(), TITLE)
    assert verdict.passes
    assert verdict.reason == "val/miou 0.5000 against 0.2000 of version 1"
    assert verdict.tags() == {"difference": "0.3"}
    assert not judge_recorded(0.5, 0.2, Rules(margin=0.4), TITLE).passes
    assert judge_recorded(0.5, None, Rules(), TITLE).other == 0.0
