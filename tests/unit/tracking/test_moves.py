"""Moves of a champion in a real registry: by hand, back and forth, cut off, from elsewhere, and several at once."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.support.registry import Directed, Killed, add_version, interleave, registered_run
from trainer import InputError
from trainer.model.model_folder import save_segmenter
from trainer.model.segmenter import Segmenter
from trainer.system.run_folder import RunFolder
from trainer.tracking import history, moves, registry
from trainer.tracking.by_hand import NothingToDo, move_to, roll_back
from trainer.tracking.history import GATE, TO, Record, State, is_after
from trainer.tracking.moves import move
from trainer.tracking.promotion import PROMOTED, Decision, decide
from trainer.tracking.timeline import Gap, Move, timeline


@pytest.fixture
def versions(client: MlflowClient, name: str, tmp_path: Path) -> Callable[[int], None]:
    """Add versions to the model `name`; version 1 is champion, then 2 and so on, and each move is recorded."""

    def make(count: int) -> None:
        for version in range(1, count + 1):
            add_version(client, name, tmp_path, 0.1 * version, **{PROMOTED: "True"})
            before = f"{version - 1}" if version > 1 else None
            assert move(client, name, f"{version}", GATE, "better", before)

    return make


def champion(client: MlflowClient, name: str) -> str | None:
    found = registry.champion(client, name)
    return None if found is None else str(found.version)


def shapes(state: State) -> list[Any]:
    """Entries of the timeline: (from, to, happened) of a record, (from, to) of a gap."""
    entries = timeline(state).entries
    return [
        (one.record.origin, one.record.to, one.happened) if isinstance(one, Move) else (one.origin, one.to)
        for one in entries
    ]


def test_a_choice_by_hand_is_written_down(client: MlflowClient, name: str, versions: Callable[[int], None]) -> None:
    versions(3)
    own, holds = move_to(client, name, "01", " the\nhats  look\x1b[2J odd ", force=True)
    assert own == holds
    state = history.read(client, name)
    assert (state.champion, state.previous) == ("1", "3")
    last = state.records[-1]
    assert (last.kind, last.origin, last.to, last.why) == (TO, "3", "1", r"the hats look\x1b[2J odd")
    assert "@" in last.who
    assert last.done is not None
    assert shapes(state) == [(None, "1", True), ("1", "2", True), ("2", "3", True), ("3", "1", True)]
    with pytest.raises(NothingToDo):
        move_to(client, name, "1", "again", force=True)
    assert history.read(client, name) == state


def test_back_and_forward_again(client: MlflowClient, name: str, versions: Callable[[int], None]) -> None:
    versions(3)
    for expected in ("2", "3", "2"):  # the way back from a way back is forward
        own, _ = roll_back(client, name, "it was better")
        assert (own.to, champion(client, name)) == (expected, expected)
    assert history.read(client, name).previous == "3"


def test_back_to_a_version_that_is_gone(client: MlflowClient, name: str, versions: Callable[[int], None]) -> None:
    versions(3)
    client.delete_model_version(name, "2")
    with pytest.raises(InputError, match=r"/2: champion before, but there is no such version; the newest are 1, 3"):
        roll_back(client, name, "it was better")
    with pytest.raises(InputError, match="no such version"):
        move_to(client, name, "2", "it was better")
    assert champion(client, name) == "3"
    client.delete_model_version(name, "3")  # its alias goes with it
    state = history.read(client, name)
    assert state.champion is None
    assert shapes(state)[-1] == ("3", None)
    assert move_to(client, name, "1", "the only one", force=True)[1].to == "1"
    assert shapes(history.read(client, name))[-2:] == [("3", None), (None, "1", True)]


def test_back_after_the_alias_was_removed(client: MlflowClient, name: str, versions: Callable[[int], None]) -> None:
    versions(2)
    client.delete_registered_model_alias(name, "champion")
    assert roll_back(client, name, "removed by mistake")[1].to == "2"
    assert champion(client, name) == "2"


def test_back_from_what_was_moved_elsewhere(client: MlflowClient, name: str, versions: Callable[[int], None]) -> None:
    versions(3)
    client.set_registered_model_alias(name, "champion", "1")
    assert isinstance(timeline(history.read(client, name)).entries[-1], Gap)
    assert roll_back(client, name, "nobody said why")[1].to == "3"
    assert shapes(history.read(client, name))[-2:] == [("3", "1"), ("1", "3", True)]


def test_without_any_history(client: MlflowClient, name: str, tmp_path: Path) -> None:
    """Of a registry that an older program has used, the alias of the one before is all there is."""
    for miou in (0.1, 0.2):
        add_version(client, name, tmp_path, miou)
    with pytest.raises(InputError, match="no version is champion, and none before it is known"):
        roll_back(client, name, "a try")
    client.set_registered_model_alias(name, "champion", "2")
    with pytest.raises(InputError, match="version 2 is champion, and none before it is known"):
        roll_back(client, name, "a try")
    client.set_registered_model_alias(name, "previous", "1")
    assert roll_back(client, name, "a try")[1].to == "1"


@pytest.mark.parametrize(("why", "words"), [("  ", "empty"), ("x" * 1501, "1501 characters")])
def test_a_reason_is_needed(why: str, words: str, client: MlflowClient) -> None:
    with pytest.raises(InputError, match=words):
        move_to(client, "whichever", "1", why)


def test_other_classes_are_chosen_only_by_force(
    client: MlflowClient, name: str, tmp_path: Path, make_segmenter: Callable[..., Segmenter]
) -> None:
    for foreground in (1, 2, 1):
        folder = tmp_path / f"{foreground}"
        save_segmenter(make_segmenter(foreground), folder)
        add_version(client, name, folder, 0.5)
    add_version(client, name, tmp_path, 0.5)
    move_to(client, name, "1", "first")
    with pytest.raises(InputError, match=r"/2: its classes are class 1, class 2, and the champion's class 1; --force"):
        move_to(client, name, "2", "more classes")
    with pytest.raises(InputError, match="/4: no model of this program; --force"):
        move_to(client, name, "4", "a folder")
    move_to(client, name, "2", "more classes", force=True)
    assert champion(client, name) == "2"
    assert roll_back(client, name, "fewer")[1].to == "1"
    move_to(client, name, "3", "the same classes")


def test_killed_between_record_and_move(client: MlflowClient, name: str, versions: Callable[[int], None]) -> None:
    versions(2)
    killed = []
    for count in itertools.count(1):
        directed = Directed(client, kill_at(count))
        try:
            move(directed, name, "1", TO, "killed", "2")  # type: ignore[arg-type]
        except Killed:
            state = history.read(client, name)
            recorded = [one for one in state.records if one.why == "killed"]
            killed.append((len(recorded), state.champion, shapes(state)[-1][-1]))
            if state.champion == "1":
                move(client, name, "2", TO, "back", "1")
        else:
            break
    nothing, cut_off, unsaid = (0, "2", True), (1, "2", False), (2, "2", False)
    # Read; write the record; move `previous`; move `champion`; write down that it is done.
    assert killed == [nothing, nothing, cut_off, unsaid, (3, "1", True)]
    assert [one[-1] for one in shapes(history.read(client, name))] == [True, True, False, False, True, True, True]


def test_records_that_somebody_damaged_are_named(
    client: MlflowClient, name: str, versions: Callable[[int], None]
) -> None:
    versions(2)
    first = history.read(client, name).records[0].key
    for text in ("", "{}", "[]", '{"when": 3}', "[" * 5000):
        client.set_registered_model_tag(name, first, text)
        state = history.read(client, name)
        assert (state.unreadable, len(state.records)) == ((first,), 1)
    assert move_to(client, name, "1", "on it goes", force=True)[1].to == "1"
    assert int(history.read(client, name).last_key.split(".")[1]) == 3


def test_an_unknown_model_is_named(client: MlflowClient) -> None:
    with pytest.raises(InputError, match="no-such: no registered model of this name"):
        history.read(client, "no-such")


def test_long_records_leave_numbers_out_and_nothing_else(
    client: MlflowClient, name: str, versions: Callable[[int], None]
) -> None:
    versions(1)
    add_version(client, name, Path("/"), 0.1)
    assert move(client, name, "2", GATE, "w" * 3000, "1", numbers={"classes": "n" * 4900})
    last = history.read(client, name).records[-1]
    assert (last.to, last.numbers, len(last.why)) == ("2", {}, history.LONGEST_WHY)


# ------------------------------------------------------------------------------------------- at the same time


def kill_at(count: int) -> Callable[[int], None]:
    """End a process before its call number `count`."""

    def before(call: int) -> None:
        if call == count:
            raise Killed

    return before


class Logged(Directed):
    """A client that notes each version which it makes champion."""

    def __init__(self, client: MlflowClient, before: Callable[[int], None], log: list[str]) -> None:
        super().__init__(client, before)
        self.log = log

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self.calls += 1
        self.before(self.calls)
        if alias == registry.CHAMPION:
            self.log.append(version)
        self.client.set_registered_model_alias(name, alias, version)


def act_at_once(client: MlflowClient, name: str, top: Path, seed: int) -> None:
    """Let two trainers, a rollback and a reader work on one model in an order that follows from the seed; check it."""
    runs: dict[str, RunFolder] = {}
    for miou in (0.6, 0.4) if seed % 4 < 2 else (0.4, 0.6):
        version = add_version(client, name, top, miou)
        runs[version] = registered_run(top / f"{name} {version}", name, version)
    log: list[str] = []
    seen: list[State] = []

    def read(before: Callable[[int], None]) -> None:
        for _ in range(8):
            seen.append(history.read(Directed(client, before), name))  # type: ignore[arg-type]

    works: dict[str, Callable[[Callable[[int], None]], Any]] = {
        version: lambda before, run=run: decide(Logged(client, before, log), run, "auto")  # type: ignore[arg-type,misc]
        for version, run in runs.items()
    }
    works["rollback"] = lambda before: roll_back(Logged(client, before, log), name, "bad")  # type: ignore[arg-type]
    works["reader"] = read
    results = interleave(works, seed)
    check(history.read(client, name), log, seen, {version: results[version] for version in runs}, results["rollback"])


def check(
    state: State, log: list[str], seen: list[State], decisions: dict[str, Decision], choice: tuple[Record, Record]
) -> None:
    """One champion, which the last record names; every move recorded, none lost; a choice by hand overruled by none."""
    entries = timeline(state).entries
    assert all(isinstance(entry, Move) for entry in entries), "nothing was moved from elsewhere"
    happened = [entry.record for entry in entries if isinstance(entry, Move) and entry.happened]
    assert len(happened) == len(entries), "nothing was cut off"
    assert state.champion == happened[-1].to
    assert sorted(log) == sorted(record.to for record in happened[2:]), "a record for each move"
    for earlier in seen:
        assert earlier.champion is not None
        assert {one.key for one in earlier.records} <= {one.key for one in state.records}
    own, holds = choice
    assert own.key in {one.key for one in state.records}
    assert holds.to == own.to
    knowing = [one for one in happened if is_after(one.key, own.key) and not is_after(own.key, one.after)]
    assert state.champion == own.to or state.champion in {one.to for one in knowing}
    if state.champion in decisions:
        assert decisions[state.champion].promoted or state.champion == own.to


@pytest.mark.parametrize("locked", [True, False], ids=["a file", "a server"])
@pytest.mark.parametrize(
    "seeds",
    [range(1), pytest.param(range(1, 101), marks=[pytest.mark.long, pytest.mark.timeout(5400)])],
    ids=["few", "100"],
)
def test_two_trainers_a_rollback_and_a_reader(
    seeds: range, locked: bool, client: MlflowClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever order their calls arrive, with the lock of a file and as on a server, which has none."""
    if not locked:
        monkeypatch.setattr(moves, "sqlite_file", lambda: None)
    for seed in seeds:
        own = f"{name} {seed}"
        for version, before in (("1", None), ("2", "1")):
            add_version(client, own, tmp_path, 0.1, **{PROMOTED: "True"})
            assert move(client, own, version, GATE, "better", before)
        act_at_once(client, own, tmp_path, seed)
