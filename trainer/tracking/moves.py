"""Moves of a champion: each is written down first, whoever makes it, and several at once leave one champion.

MLflow moves an alias without asking what it was. Where the store is a file on this machine, a lock lets one process at
a time look, write down and move. On a server there is none: whoever has moved the alias looks again at what others have
written meanwhile, and moves it once more where that is due. What a person has chosen stays, of two persons the choice
that was written down later. So that in the end the alias and the last record agree.
"""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from filelock import FileLock, Timeout
from mlflow import MlflowClient

from trainer import InputError
from trainer.system.provenance import user
from trainer.tracking import history, registry
from trainer.tracking.history import Record, State, is_after
from trainer.tracking.store import sqlite_file

LOCK_SECONDS = 60.0
"""Longest wait, in seconds, for another process that is moving an alias."""

POLL_SECONDS = 0.05
"""Time between two attempts to get the lock, in seconds."""

ROUNDS = 20
"""Most times that the alias is looked at again. Runs with other validation images may never agree on the best."""

pause: Callable[[float], None] = time.sleep
"""Wait between two attempts; tests take turns instead."""


@contextmanager
def alias_lock() -> Iterator[None]:
    """Keep other processes from moving an alias, where the store is a file. Elsewhere nothing is locked."""
    file = sqlite_file()
    if file is None:
        yield
        return
    lock, waited_s = FileLock(f"{file}.champion.lock"), 0.0
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout as error:
            if waited_s >= LOCK_SECONDS:
                raise InputError(
                    f"{lock.lock_file}: another process has held it for {waited_s:.0f} s; end it"
                ) from error
            pause(POLL_SECONDS)
            waited_s += POLL_SECONDS
    try:
        yield
    finally:
        lock.release()


def by() -> str:
    """Who moves an alias: user@host."""
    return f"{user()}@{socket.gethostname()}"


def move(
    client: MlflowClient,
    name: str,
    to: str,
    kind: str,
    why: str,
    expected: str | None,
    run: str = "",
    numbers: Mapping[str, Any] | None = None,
    again: bool = False,
) -> Record | None:
    """Write a move down, and make it; return its record. None, and nothing is done, where the champion has changed.

    `expected`: the champion that the decision was about. `again`: several moved it at once, so that the move goes from
    where the last record has left it, and PREVIOUS stays as it is.
    """
    with alias_lock():
        state = history.read(client, name)
        if state.champion != expected:
            return None
        last = state.records[-1] if state.records else None
        origin = last.to if again and last is not None and last.done else state.champion
        draft = Record("", history.now(), by(), kind, origin, to, why, run=run, numbers=numbers or {})
        record = history.write(client, name, state, draft)
        registry.set_champion(client, name, to, None if again else state.champion)
        history.finish(client, name, record.key)
        return record


def move_by_hand(
    client: MlflowClient, name: str, kind: str, why: str, choose: Callable[[State], str]
) -> tuple[Record, Record]:
    """Move the champion as a person wants it; return the record, and the one that holds in the end.

    `choose`: the version for a state of the registry; it is asked again where the champion has changed meanwhile, and
    raises InputError where there is nothing to be done. The record that holds is another one where somebody has chosen
    another version at the same time.
    """
    for _ in range(ROUNDS):
        state = history.read(client, name)
        record = move(client, name, choose(state), kind, why, state.champion)
        if record is not None:
            return record, keep_choice(client, name, record)
    raise InputError(f"{name}: its champion changed {ROUNDS} times meanwhile; try again")


def keep_choice(client: MlflowClient, name: str, own: Record) -> Record:
    """See to it that the last choice of a person holds against moves that did not know of it; return its record."""
    for _ in range(ROUNDS):
        state = history.read(client, name)
        last = last_choice(state, own.key) or own
        unaware = [one for one in state.records if is_after(one.key, last.key) and is_after(last.key, one.after)]
        aware = [one for one in state.records if is_after(one.key, last.key) and not is_after(last.key, one.after)]
        if aware or (state.champion == last.to and not unaware):
            return last
        why = f"{last.why} (chosen by {last.who}, while others moved it)"
        move(client, name, last.to, history.SETTLE, why, state.champion, again=True)
    return own


def last_choice(state: State, since: str) -> Record | None:
    """Last record of a person's choice after the record of the key `since`; None where there is none.

    A choice that was recorded and has not happened does not count: it was cut off, or whoever is making it will look
    for the moves of others when it has.
    """
    found = [one for one in state.records if one.by_hand and one.done and is_after(one.key, since)]
    return found[-1] if found else None
