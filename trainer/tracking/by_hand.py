"""A person's choice of the champion: another version, or back to the one before."""

import tempfile
from pathlib import Path

from mlflow import MlflowClient

from trainer import InputError
from trainer.model.model_folder import CONTRACT_FILE
from trainer.system.run_folder import read_object
from trainer.system.text import show
from trainer.tracking import history, registry
from trainer.tracking.fetch import fetch
from trainer.tracking.history import LONGEST_WHY, Record, State
from trainer.tracking.moves import move_by_hand
from trainer.tracking.timeline import timeline


class NothingToDo(Exception):
    """The version that was chosen is the champion already."""


def move_to(client: MlflowClient, name: str, version: str, why: str, force: bool = False) -> tuple[Record, Record]:
    """Make a version champion; return the record of that, and the one that holds in the end (`move_by_hand`).

    Raises InputError where there is no such version, or, without `force`, where it is not a model of this program or
    has other classes than the champion; NothingToDo where it is champion already.
    """
    known = registry.versions(client, name)
    wanted = version.lstrip("0")

    def choose(state: State) -> str:
        if wanted not in known:
            raise InputError(f"models:/{show(name)}/{show(version)}: {_none_of(known)}")
        if wanted == state.champion:
            raise NothingToDo
        if not force:
            _require_same_classes(name, wanted, state.champion)
        return wanted

    return move_by_hand(client, name, history.TO, _checked(why), choose)


def roll_back(client: MlflowClient, name: str, why: str) -> tuple[Record, Record]:
    """Make the version champion that was it before the present one; return what `move_to` does.

    Back from a way back is forward again, so that two of them change nothing. Raises InputError where no version before
    is known, or it was deleted.
    """
    known = registry.versions(client, name)

    def choose(state: State) -> str:
        before = timeline(state).before()
        if before is None and state.previous != state.champion:  # of a program that kept no history
            before = state.previous
        if before is None:
            present = f"version {state.champion}" if state.champion else "no version"
            raise InputError(f"{show(name)}: {present} is champion, and none before it is known; choose one with --to")
        if before not in known:
            raise InputError(f"models:/{show(name)}/{before}: champion before, but {_none_of(known)} Choose with --to")
        return before

    return move_by_hand(client, name, history.ROLLBACK, _checked(why), choose)


def _none_of(known: dict[str, object]) -> str:
    there = ", ".join(list(known)[-5:])
    return f"there is no such version; the newest are {there}." if known else "the model has no version."


def _checked(why: str) -> str:
    text = " ".join(why.split())
    if not text:
        raise InputError("--why: empty; say in a few words why the champion is another one now")
    if len(text) > LONGEST_WHY:
        raise InputError(f"--why: {len(text)} characters; give at most {LONGEST_WHY}")
    return text


def _require_same_classes(name: str, version: str, champion: str | None) -> None:
    """Raise InputError where a version is not a model of this program, or has other classes than the champion."""
    ours = _class_names(name, version)
    if ours is None:
        raise InputError(f"models:/{show(name)}/{version}: no model of this program; --force makes it champion even so")
    theirs = _class_names(name, champion) if champion else None
    if theirs not in (None, ours):
        there, here = (", ".join(map(show, names[1:])) for names in (theirs or [], ours))
        raise InputError(
            f"models:/{show(name)}/{version}: its classes are {here}, and the champion's {there}; --force makes it "
            "champion even so"
        )


def _class_names(name: str, version: str) -> list[str] | None:
    """Class names of a version, the background's first; None where it is not a model of this program."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            folder = fetch(f"models:/{name}/{version}", Path(scratch), [CONTRACT_FILE])
        except InputError:
            return None
        names = read_object(folder / CONTRACT_FILE).get("class_names")
    return [str(one) for one in names] if isinstance(names, list) else None
