"""Mapping of stored values and colours to class ids."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.layouts import refusal
from trainer import IGNORE, InputError
from trainer.config import parse_key
from trainer.data.value_map import BACKGROUND, UNMAPPED, UnknownColours, UnknownValues, ValueMap, value_map

NAMES = ("_background_", "cat", "dog")


def mapped(entries: dict[int | str, str], names: tuple[str, ...] | None = NAMES) -> ValueMap:
    return value_map(entries, names)[0]


def rgb(*colours: int) -> np.ndarray:
    """Colour mask of one row, uint8 [1, W, 3]."""
    return np.array([[[colour >> 16, colour >> 8 & 255, colour & 255] for colour in colours]], np.uint8)


# ------------------------------------------------------------------------------------------------ keys

KEYS = {
    0: range(1),
    "7": range(7, 8),
    255: range(255, 256),
    "3-5": range(3, 6),
    " 0 - 255 ": range(256),
    "9-9": range(9, 10),
    "#ff8000": 0xFF8000,
    "#FF8000": 0xFF8000,
    "#000000": 0,
    "other": None,
    65535: range(65535, 65536),
    -9999: range(-9999, -9998),
    "-5--1": range(-5, 0),
    "256-65535": range(256, 65536),
    "nan": None,
}


@pytest.mark.parametrize(("key", "expected"), KEYS.items(), ids=map(str, KEYS))
def test_keys(key: int | str, expected: object) -> None:
    assert parse_key(key) == expected


WRONG = ["abc", "", "5-3", "1-", "-", "--1", "-1--5", "#ff", "ff0000", "#gg0000", "#ff00000", "1.5", "others"]


@pytest.mark.parametrize("key", WRONG)
def test_invalid_keys(key: int | str) -> None:
    with refusal("data.value_map", repr(key), "0 to 255"):
        parse_key(key)


@given(st.integers(0, 255), st.integers(0, 255))
def test_any_range(first: int, last: int) -> None:
    if first <= last:
        assert list(parse_key(f"{first}-{last}")) == list(range(first, last + 1))  # type: ignore[arg-type]
    else:
        with pytest.raises(InputError):
            parse_key(f"{first}-{last}")


# ------------------------------------------------------------------------------------------------ values


def test_ranges_and_values() -> None:
    values = mapped({"0-9": "background", "10-99": "dog", 100: "cat", "250-255": "ignore"})
    stored = np.array([[0, 9, 10, 99, 100, 101, 249, 250, 255]], np.uint8)
    assert values.ids(stored).tolist() == [[0, 0, 2, 2, 1, UNMAPPED, UNMAPPED, IGNORE, IGNORE]]
    assert values.ids(stored, lossy=True).tolist() == values.ids(stored).tolist()
    assert values.given


@pytest.mark.parametrize("entries", [{0: "cat", "0-5": "dog"}, {"0-5": "cat", "5-9": "dog"}, {3: "ignore", "3": "cat"}])
def test_a_value_named_twice(entries: dict[int | str, str]) -> None:
    with refusal("data.value_map", "twice"):
        mapped(entries)


ENTRIES = st.dictionaries(st.integers(0, 255), st.sampled_from([*NAMES, "background", "ignore"]), min_size=1)


@settings(max_examples=100)
@given(ENTRIES, st.sampled_from([None, "cat", "ignore", "background", "nearest"]), st.randoms())
def test_any_map_by_its_definition(entries: dict[int, str], other: str | None, random: object) -> None:
    """Oracle: the description of data.value_map, value by value."""
    ids = {name: number for number, name in enumerate(NAMES)} | {"background": 0, "ignore": IGNORE}
    with_other: dict[int | str, str] = dict(entries)
    if other:
        with_other["other"] = other
    table = mapped(with_other).ids(np.arange(256, dtype=np.uint8)[None])[0]
    for value in range(256):
        if value in entries:
            expected = {ids[entries[value]]}
        elif other == "nearest":
            distance = min(abs(key - value) for key in entries)
            expected = {ids[name] for key, name in entries.items() if abs(key - value) == distance}
        else:
            expected = {UNMAPPED if other is None else ids[other]}
        assert int(table[value]) in expected, value


# ------------------------------------------------------------------------------------------------ colours

RED_CAT: dict[int | str, str] = {"#000000": "background", "#ff0000": "cat", "#00ff00": "dog", "#ffffff": "ignore"}


def test_colours_are_exact() -> None:
    stored = rgb(0, 0xFF0000, 0x00FF00, 0xFFFFFF, 0xFE0000, 0x0000FF)
    assert mapped(RED_CAT).ids(stored).tolist() == [[0, 1, 2, IGNORE, UNMAPPED, UNMAPPED]]


def test_colours_changed_by_compression() -> None:
    stored = rgb(0x050301, 0xE41208, 0x20F010, 0xF0F5FA, 0x7E0000, 0x810000)
    assert mapped(RED_CAT).ids(stored, lossy=True).tolist() == [[0, 1, 2, IGNORE, 0, 1]]


def test_other_colours() -> None:
    stored = rgb(0xFF0000, 0xFE0000, 0x0000FF, 0x100000)
    assert mapped(RED_CAT | {"other": "nearest"}).ids(stored).tolist() == [[1, 1, 0, 0]]
    assert mapped(RED_CAT | {"other": "ignore"}).ids(stored).tolist() == [[1, IGNORE, IGNORE, IGNORE]]
    assert mapped(RED_CAT | {"other": "dog"}).ids(stored).tolist() == [[1, 2, 2, 2]]


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 0xFFFFFF), min_size=1, max_size=6, unique=True),
    st.lists(st.integers(0, 0xFFFFFF), min_size=1),
)
def test_nearest_by_its_definition(named: list[int], pixels: list[int]) -> None:
    values = ValueMap(colours=tuple((colour, number) for number, colour in enumerate(sorted(named))), other=None)
    squared = (rgb(*pixels).astype(int)[0][:, None] - rgb(*sorted(named)).astype(int)[0][None]) ** 2
    for found, distances in zip(values.ids(rgb(*pixels))[0], squared.sum(axis=2), strict=True):
        assert distances[found] == distances.min()
    assert values.ids(rgb(*named)).tolist() == [[sorted(named).index(colour) for colour in named]]


def test_grey_values_match_grey_colours() -> None:
    grey = np.array([[0, 255, 7]], np.uint8)
    assert mapped(RED_CAT).ids(grey).tolist() == [[0, IGNORE, UNMAPPED]]
    # An entry for a value has priority over one for the same grey as a colour.
    assert mapped(RED_CAT | {0: "dog", 7: "cat"}).ids(grey).tolist() == [[2, IGNORE, 1]]


def test_colours_do_not_match_grey_values() -> None:
    """Blue, 0x0000ff, has the same last channel as the grey 255."""
    blue = mapped({"#000000": "background", "#0000ff": "cat"})
    assert blue.ids(np.array([[0, 255]], np.uint8)).tolist() == [[0, UNMAPPED]]


def test_colours_without_a_map_are_counted() -> None:
    stored = np.concatenate([rgb(0xFF0000, 0xFF0000, 0x00FF00), rgb(0, 0, 0)])
    with pytest.raises(UnknownColours, match=r"data.value_map") as error:
        ValueMap().ids(stored)
    assert error.value.colours == {0xFF0000: 2, 0x00FF00: 1, 0: 3}


# ------------------------------------------------------------------------------------------------ names and keys


def test_value_table_without_a_map() -> None:
    values, names = value_map(None, None)
    assert values.table.tolist() == list(range(256))
    assert names is None
    assert value_map({}, (BACKGROUND, "cat"))[1] == (BACKGROUND, "cat")


def test_value_table_gives_names() -> None:
    values, names = value_map({0: "background", 38: "cat", 75: "dog", 90: "cat", 7: "ignore"}, None)
    assert names == (BACKGROUND, "cat", "dog")
    expected = {0: 0, 38: 1, 75: 2, 90: 1, 7: IGNORE}
    assert values.table.dtype == np.uint8
    assert all(values.table[value] == expected.get(value, UNMAPPED) for value in range(256))


def test_value_table_with_names() -> None:
    values, names = value_map({255: "cat", 0: "_background_", 3: "dog"}, (BACKGROUND, "dog", "cat"))
    assert names == (BACKGROUND, "dog", "cat")
    assert tuple(values.table[[255, 0, 3, 1]]) == (2, 0, 1, UNMAPPED)
    with refusal("data.value_map", "bird is not a class", "dog, cat"):
        value_map({1: "bird"}, (BACKGROUND, "dog", "cat"))
    with refusal("data.value_map", "at least one"):
        value_map({0: "background", 255: "ignore"}, None)


def test_names_come_from_the_map_in_its_order() -> None:
    _, names = value_map({9: "dog", 0: "background", "#ff0000": "cat", 3: "dog", "other": "nearest"}, None)
    assert names == ("_background_", "dog", "cat")
    assert value_map({0: "background", "other": "cat"}, None)[1] == ("_background_", "cat")
    with refusal("no value stands for a class"):
        value_map({0: "background", "other": "nearest"}, None)
    with refusal("bird is not a class", "cat, dog"):
        value_map({1: "bird"}, NAMES)
    with refusal("nearest is not a class"):  # only `other` may be nearest
        value_map({1: "nearest"}, NAMES)


def test_different_maps_have_different_keys() -> None:
    """The cache and the dataset's digest depend on the key."""
    red_cat: dict[int | str, str] = {0: "background", "#ff0000": "cat"}
    ignored: dict[int | str, str] = {"0-255": "ignore", "#ff0000": "cat"}
    maps: list[dict[int | str, str]] = [
        {0: "background", 1: "cat"},
        {0: "background", 1: "dog"},
        red_cat,
        {0: "background", "#ff0000": "dog"},
        {0: "background", "#fe0000": "cat"},
        red_cat | {"other": "nearest"},
        red_cat | {"other": "ignore"},
        ignored,
        ignored | {"other": "nearest"},
        ignored | {"other": "background"},
    ]
    keys = [mapped(entries).key for entries in maps]
    assert len(set(keys)) == len(maps)
    assert mapped({1: "cat", 0: "_background_"}).key == keys[0]
    assert mapped({"0-0": "background", "1": "cat"}).key == keys[0]


# ------------------------------------------------------------------------------------------------ more than 8 bits


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 300.0, 65535.0, -9999.0, np.nan, np.inf, 7.0, 0.5]), min_size=1, max_size=9))
def test_values_beyond_8_bits(row: list[float]) -> None:
    entries: dict[int | str, str] = {0: "background", 1: "cat", "256-65535": "dog", -9999: "ignore", "nan": "ignore"}
    truth = {0.0: 0, 1.0: 1, 300.0: 2, 65535.0: 2, -9999.0: IGNORE, 7.0: UNMAPPED, 0.5: UNMAPPED}
    expected = [truth.get(value, IGNORE) for value in row]
    assert mapped(entries).ids(np.array([row], np.float32)).tolist() == [expected]
    rest = mapped(entries | {"other": "ignore"}).ids(np.array([row], np.float32))
    assert rest.tolist() == [[IGNORE if value == UNMAPPED else value for value in expected]]


def test_nearest_value_beyond_8_bits() -> None:
    values = mapped({0: "background", 65535: "cat", "other": "nearest"})
    assert values.ids(np.array([[0, 100, 32767, 32768, 65000]], np.uint16)).tolist() == [[0, 0, 0, 1, 1]]


def test_values_beyond_8_bits_without_a_map() -> None:
    stored = np.array([[0, -9999, np.nan, np.inf, -9999]], np.float32)
    with pytest.raises(UnknownValues) as error:
        ValueMap().ids(stored)
    assert error.value.values == {0: 1, -9999: 2, None: 2}


@pytest.mark.parametrize("entries", [{65535: "cat", "300-65535": "dog"}, {-9999: "cat", "-9999": "dog"}])
def test_a_wide_value_named_twice(entries: dict[int | str, str]) -> None:
    with refusal("data.value_map", "twice"):
        mapped(entries)


# ------------------------------------------------------------------------------------------------ palettes


def test_colours_of_a_palette() -> None:
    palette = np.array([[255, 0, 0], [0, 0, 0], [9, 9, 9], [0, 255, 0]], np.uint8)
    stored = np.array([[0, 1, 2, 3]], np.uint8)
    colours: dict[int | str, str] = {"#000000": "background", "#ff0000": "cat", "#00ff00": "dog"}
    assert mapped(colours).ids(stored, palette=palette).tolist() == [[1, 0, UNMAPPED, 2]]
    assert mapped(colours | {"other": "ignore"}).ids(stored, palette=palette).tolist() == [[1, 0, IGNORE, 2]]
    assert mapped(colours | {"other": "nearest"}).ids(stored, palette=palette).tolist() == [[1, 0, 0, 2]]
    # Numbers alone stand for indices; with colours, for indices whose colour is not named and contradicts nothing.
    assert mapped({0: "background", 1: "cat", 2: "dog", 3: "ignore"}).ids(stored, palette=palette).tolist() == [
        [0, 1, 2, IGNORE]
    ]
    assert mapped(colours | {2: "ignore"}).ids(stored, palette=palette).tolist() == [[1, 0, IGNORE, 2]]
    contradicted = mapped(colours | {0: "background", 2: "ignore"})
    assert contradicted.ids(stored, palette=palette).tolist() == [[1, 0, UNMAPPED, 2]]
