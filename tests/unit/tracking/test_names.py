"""Names: in the characters that MLflow accepts, and different for different things."""

import re

import pytest

from trainer.tracking.names import image_key, image_names, metric_key

NAMES = ["cat", "Kätzchen", "a/b", "a_b", "a?b", "a(b)", "猫", "", "x" * 10, "dog: big", "../etc", "a\nb"]


def test_metric_keys_are_valid_and_differ() -> None:
    keys = [metric_key(name) for name in NAMES]
    assert all(re.fullmatch(r"[\w.\- :]*", key) for key in keys)
    assert len(set(keys)) == len(NAMES)
    assert keys[:2] == ["cat", "Kätzchen"]


def test_image_keys_are_valid_and_differ() -> None:
    keys = [image_key(name) for name in NAMES]
    assert all(re.fullmatch(r"[a-zA-Z0-9_\-./ ]*", key) for key in keys)
    assert len(set(keys)) == len(NAMES)
    assert keys[0] == "cat"


@pytest.mark.parametrize("place", range(4))
def test_image_names_depend_on_each_part(place: int) -> None:
    one = ("watch/a", 3, 1000, "uid")
    full, small = image_names(*one)
    assert image_names(*one) == (full, small)
    assert re.fullmatch(r"watch~a\+step\+3\+timestamp\+1000\+[0-9a-f-]{36}\.png", full)
    assert small == full.removesuffix(".png") + "+compressed.webp"
    other = [*one]
    other[place] = ("watch/b", 4, 1001, "another")[place]
    assert image_names(*other)[0] != full  # type: ignore[arg-type]
