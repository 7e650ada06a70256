"""Places of lines, labels and ticks in charts."""

import itertools

import pytest

from trainer.drawing.charts import BOTTOM, HEIGHT, LABEL_GAP, LEFT, RIGHT, TOP, WIDTH, line_chart, ticks


def places(points: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (place.split(",") for place in points.split())]


def test_a_share_fills_the_height_from_0_to_1() -> None:
    chart = line_chart({0: [(0, 0.0), (50, 0.5), (100, 1.0)]}, share=True)
    assert chart is not None
    assert places(chart.lines[0].points) == [
        (LEFT, HEIGHT - BOTTOM),
        ((LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2),
        (WIDTH - RIGHT, TOP),
    ]
    assert [text for _, text in chart.y_ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert [text for _, text in chart.x_ticks] == ["0", "50", "100"]


def test_other_values_fit_their_range() -> None:
    chart = line_chart({0: [(1, 3.0), (9, 5.0)], 2: [(1, 4.0), (9, 4.5)]}, share=False)
    assert chart is not None
    every = [place for line in chart.lines for place in places(line.points)]
    assert all(TOP < y < HEIGHT - BOTTOM for _, y in every)
    assert {line.series for line in chart.lines} == {0, 2}


@pytest.mark.parametrize("series", [{}, {0: []}])
def test_nothing_is_no_chart(series: dict[int, list[tuple[float, float]]]) -> None:
    assert line_chart(series, share=True) is None


def test_one_point_and_equal_values_can_be_seen() -> None:
    for share in (True, False):
        chart = line_chart({0: [(7, 0.0)], 1: [(7, 0.0)]}, share)
        assert chart is not None
        assert all(len(set(places(line.points))) == 2 for line in chart.lines)


def test_labels_at_one_height_move_apart_and_stay_inside() -> None:
    for value in (0.0, 0.5, 1.0):
        chart = line_chart({number: [(0, 0.0), (9, value)] for number in range(6)}, share=True)
        assert chart is not None
        heights = sorted(line.label_y for line in chart.lines)
        assert all(b - a >= LABEL_GAP - 1e-9 for a, b in itertools.pairwise(heights))
        assert heights[0] >= TOP
        assert heights[-1] <= HEIGHT - BOTTOM


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 230, [0, 50, 100, 150, 200]), (3, 3, [3]), (-1, 1, [-1, -0.5, 0, 0.5, 1])],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high, 5) == pytest.approx(expected)
