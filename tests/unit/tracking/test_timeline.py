"""Which version was champion when, by records of moves: complete, cut off, at the same time, or not recorded."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from trainer.tracking.history import GATE, SETTLE, Record, State
from trainer.tracking.timeline import Gap, Move, timeline

BEGAN = datetime(2026, 11, 24, 12, tzinfo=UTC)


def hour(number: float) -> datetime:
    return BEGAN + timedelta(hours=number)


def key(number: int) -> str:
    return f"promotion.{number:06}.20261124T120000000Z.00000000"


def record(number: int, origin: str | None, to: str, **changes: Any) -> Record:
    """Record number `number`, of that hour, which knew of the one before it, and whose move happened."""
    given: dict[str, Any] = {"after": key(number - 1) if number > 1 else "", "kind": GATE, "done": hour(number)}
    given |= changes
    return Record(key(number), hour(number), "ann@host", origin=origin, to=to, why="", **given)


def state(champion: str | None, *records: Record) -> State:
    return State(champion, None, records)


def shapes(champion: str | None, *records: Record) -> list[Any]:
    """Entries of a timeline: (number, happened) of a record, (from, to) of a gap."""
    found = timeline(state(champion, *records)).entries
    return [
        (int(one.record.key.split(".")[1]), one.happened) if isinstance(one, Move) else (one.origin, one.to)
        for one in found
    ]


CHAIN = (record(1, None, "1"), record(2, "1", "2"), record(3, "2", "1"))


def test_a_chain_of_moves() -> None:
    assert shapes("1", *CHAIN) == [(1, True), (2, True), (3, True)]
    line = timeline(state("1", *CHAIN))
    assert line.states == [None, "1", "2", "1"]
    assert line.before() == "2"


@pytest.mark.parametrize(
    ("when", "expected"), [(0, None), (1, "1"), (1.5, "1"), (2, "2"), (2.99, "2"), (3, "1"), (9, "1")]
)
def test_the_champion_at_a_time(when: float, expected: str | None) -> None:
    answer = timeline(state("1", *CHAIN)).at(hour(when))
    assert (answer.versions, answer.note) == ((expected,), "")


def test_before_the_records_began() -> None:
    answer = timeline(state("2", record(1, "1", "2"))).at(hour(0))
    assert answer.versions == ("1",)
    assert "begin later" in answer.note
    answer = timeline(state("4")).at(hour(0))
    assert answer.versions == ("4",)
    assert "no move is recorded" in answer.note


def test_moved_from_elsewhere() -> None:
    records = record(1, None, "5"), record(2, "7", "8")
    assert shapes("8", *records) == [(1, True), ("5", "7"), (2, True)]
    line = timeline(state("8", *records))
    assert line.at(hour(1.5)).versions == ("5", "7")
    assert "nobody wrote down" in line.at(hour(1.5)).note
    assert line.at(hour(2)).versions == ("8",)
    assert line.before() == "7"


@pytest.mark.parametrize("now", ["7", None])
def test_moved_from_elsewhere_or_removed_since(now: str | None) -> None:
    line = timeline(state(now, record(1, None, "5")))
    assert line.entries[-1] == Gap("5", now, hour(1), None)
    assert line.at(hour(8)).versions == ("5", now)
    assert line.before() == "5"


def test_what_was_cut_off_has_seen_the_champion_too() -> None:
    records = record(1, None, "5"), record(2, "7", "8", done=None), record(3, "9", "8", after=key(1))
    assert shapes("8", *records) == [(1, True), ("5", "7"), (2, False), ("7", "9"), (3, True)]
    assert timeline(state("8", *records)).at(hour(2.5)).versions == ("7", "9")


def test_cut_off_before_the_alias_moved() -> None:
    cut = record(2, "1", "2", done=None)
    assert shapes("1", record(1, None, "1"), cut) == [(1, True), (2, False)]
    assert shapes("3", record(1, None, "1"), cut, record(3, "1", "3")) == [(1, True), (2, False), (3, True)]
    line = timeline(state("3", record(1, None, "1"), cut, record(3, "1", "3")))
    assert line.at(hour(2.5)).versions == ("1",)
    assert line.before() == "1"


def test_cut_off_after_the_alias_moved() -> None:
    """Nobody wrote down that it happened; the next record, or the alias, shows it."""
    cut = record(2, "1", "2", done=None)
    assert shapes("2", record(1, None, "1"), cut) == [(1, True), (2, True)]
    assert shapes("3", record(1, None, "1"), cut, record(3, "2", "3")) == [(1, True), (2, True), (3, True)]


def test_moves_at_the_same_time_are_no_gap() -> None:
    both = record(2, "1", "2", after=key(1)), record(3, "1", "3", after=key(1))
    assert shapes("3", record(1, None, "1"), *both) == [(1, True), (2, True), (3, True)]
    settled = record(4, "3", "2", kind=SETTLE)
    assert shapes("2", record(1, None, "1"), *both, settled) == [(1, True), (2, True), (3, True), (4, True)]
