"""Journal of an output folder: whole lines, one writer, and what is read again."""

import dataclasses
import json
from pathlib import Path

import pytest

from trainer import InputError
from trainer.inference import journal
from trainer.inference.journal import END, Entry, Follower, JournalWriter

ONE = Entry("a/é", "content", "model", "options", "cats version 3", {"file": "é.png"}, [{"class": 1}])
OTHER = dataclasses.replace(ONE, name="b")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return journal.journal_file(tmp_path)


def write(file: Path, *entries: Entry) -> None:
    writer = JournalWriter(file)
    for entry in entries:
        writer.add(entry)
    writer.close()


def entries(file: Path) -> list[Entry]:
    """Last entry of each name, in the order of the journal."""
    return [journal.read_at(place) for place in journal.index_entries(file.parent).values()]


def test_entries_come_back(file: Path) -> None:
    write(file, ONE)
    write(file, OTHER)
    assert entries(file) == [ONE, OTHER]


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_that_was_cut_off_is_no_entry(cut: int, file: Path) -> None:
    write(file, ONE, OTHER)
    file.write_bytes(file.read_bytes()[:-cut])
    assert list(journal.index_entries(file.parent)) == ["a/é"]


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", "[" * 100_000, '{"name": 1}', "\0"])
def test_damaged_lines_are_left_out(text: str, file: Path) -> None:
    wrong = json.dumps(dataclasses.asdict(OTHER) | {"row": 3})
    file.write_bytes(b"\n".join([text.encode(), wrong.encode(), ONE.line().strip(), text.encode(), b"\xff"]))
    assert entries(file) == [ONE]


def test_the_last_entry_of_a_name_counts_and_others_can_be_dropped(file: Path) -> None:
    later = dataclasses.replace(ONE, content="changed")
    write(file, ONE, OTHER)
    write(journal.journal_file(file.parent, 2), later)
    places = journal.index_entries(file.parent)
    assert {name: journal.read_at(place) for name, place in places.items()} == {"a/é": later, "b": OTHER}
    journal.keep_entries(file.parent, {"a/é": places["a/é"]})
    assert entries(file) == [later]
    assert journal.journal_files(file.parent) == [file]


def test_one_writer_at_a_time(file: Path) -> None:
    first = JournalWriter(file)
    assert journal.is_open(file)
    with pytest.raises(InputError, match=r"another predict\.py is writing there"):
        JournalWriter(file)
    first.close()
    assert not journal.is_open(file)
    JournalWriter(file).close()


def test_following_another_process(file: Path) -> None:
    follower = Follower(file)
    assert follower.new_entries() == []
    write(file, ONE)
    with file.open("ab") as more:
        more.write(OTHER.line()[:10])
    assert follower.new_entries() == [ONE]
    assert follower.new_entries() == []
    with file.open("ab") as more:
        more.write(OTHER.line()[10:] + END)
    assert not follower.ended
    assert follower.new_entries() == [OTHER]
    assert follower.ended
