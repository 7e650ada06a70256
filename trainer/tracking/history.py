"""History of a registered model's champion: a record of each move, written before the alias moves.

MLflow keeps no history of an alias. A record is a tag of the registered model, which everybody reads who uses the
store, and which outlives the versions. Its key is a number above all that were known, the time and a random part, so
that records sort in the order in which they knew of each other, and no writer ever touches another's. A second tag,
the key and `.done`, follows once the alias has moved.

A record without that end may be of a move that was cut off; `timeline.py` finds out.
"""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from trainer import InputError, printable, redact, redact_all
from trainer.tracking.registry import CHAMPION, NOT_THERE, PREVIOUS

PREFIX, DONE = "promotion.", ".done"
"""Beginning of the keys of all records, and end of the key that says that the move happened."""

KEY = re.compile(r"promotion\.(\d{6,})\.\d{8}T\d{9}Z\.[0-9a-f]{8}")
"""Key of a record; the number counts the records before it."""

LONGEST = 5000
"""Most characters of a record."""

LONGEST_WHY = 1500
"""Most characters of a reason."""

GATE, FORCE, TO, ROLLBACK, SETTLE = "gate", "force", "to", "rollback", "settle"
"""Kinds of moves: by the comparison, by registry.promote force, by hand, back by hand; or after several at once."""

BY_HAND = (FORCE, TO, ROLLBACK)
"""Kinds that a person has chosen: no comparison that did not know of it overrules it."""


@dataclass(frozen=True)
class Record:
    """One move, as it was written down."""

    key: str
    when: datetime
    """Time when it was written, UTC, by the clock of the writer."""

    who: str
    """User and host, user@host."""

    kind: str
    origin: str | None
    """Version that was champion; None where none was."""

    to: str
    why: str
    after: str = ""
    """Key of the last record of which its writer knew that the move had happened; empty where it knew of none."""

    run: str = ""
    """Id of the run that moved it."""

    numbers: Mapping[str, Any] = field(default_factory=dict)
    """Scores, interval, digests."""

    done: datetime | None = None
    """Time when the alias had moved; None where nobody said so."""

    @property
    def by_hand(self) -> bool:
        """Whether a person has chosen it."""
        return self.kind in BY_HAND


@dataclass(frozen=True)
class State:
    """What is known of a registered model's aliases and of its moves."""

    champion: str | None
    previous: str | None
    records: tuple[Record, ...]
    """All records, in their order."""

    unreadable: tuple[str, ...] = ()
    """Keys of records that somebody has damaged."""

    @property
    def last_key(self) -> str:
        """Key of the last record; empty where there is none."""
        return self.records[-1].key if self.records else ""

    @property
    def done_key(self) -> str:
        """Key of the last record whose move has happened for certain; empty where there is none."""
        return next((one.key for one in reversed(self.records) if one.done), "")


def read(client: MlflowClient, name: str) -> State:
    """Read aliases and records in one request. Raises InputError where there is no such registered model."""
    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        raise InputError(f"{name}: no registered model of this name; {_known(client)}") from error
    aliases = {alias: str(version) for alias, version in dict(model.aliases).items()}
    tags = dict(model.tags)
    records: list[Record] = []
    unreadable = []
    for key in sorted(filter(KEY.fullmatch, tags), key=_order):
        try:
            records.append(_parse(key, tags[key], tags.get(key + DONE)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            unreadable.append(key)
    return State(aliases.get(CHAMPION), aliases.get(PREVIOUS), tuple(records), tuple(unreadable))


def _known(client: MlflowClient) -> str:
    names = sorted(model.name for model in client.search_registered_models(max_results=20))
    return f"there are {', '.join(names)}" if names else "there is none yet; training registers one"


def _order(key: str) -> tuple[int, str]:
    return _number(key), key


def _number(key: str) -> int:
    found = KEY.fullmatch(key)
    return int(found[1]) if found else 0


def is_after(key: str, other: str) -> bool:
    """Return whether a record follows another one in the order of all; an empty key precedes all."""
    return _order(key) > _order(other) if other else bool(key)


def _parse(key: str, text: str, done: str | None) -> Record:
    content = json.loads(text)
    origin = content["from"]
    return Record(
        key,
        _time(content["when"]),
        str(content["who"]),
        str(content["kind"]),
        None if origin is None else str(origin),
        str(content["to"]),
        str(content["why"]),
        str(content.get("after", "")),
        str(content.get("run", "")),
        dict(content.get("numbers", {})),
        _time(done) if done else None,
    )


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def now() -> datetime:
    """Present time, UTC, to the millisecond, as records have it."""
    present = datetime.now(UTC)
    return present.replace(microsecond=present.microsecond // 1000 * 1000)


def write(client: MlflowClient, name: str, known: State, record: Record) -> Record:
    """Write a record, and return it with its key; `known`: what its writer has read. Nothing is overwritten."""
    number = 1 + max([_number(key) for key in (*known.unreadable, known.last_key)], default=0)
    written = now()
    stamp = f"{written:%Y%m%dT%H%M%S}{written.microsecond // 1000:03}Z"
    key = f"{PREFIX}{number:06}.{stamp}.{secrets.token_hex(4)}"
    content: dict[str, Any] = {
        "when": written.isoformat(timespec="milliseconds"),
        "who": printable(record.who),
        "kind": record.kind,
        "from": record.origin,
        "to": record.to,
        "why": printable(redact(record.why))[:LONGEST_WHY],
        "after": known.done_key,
        "run": record.run,
        "numbers": redact_all(dict(record.numbers)),
    }
    text = json.dumps(content, ensure_ascii=False)
    if len(text) > LONGEST:  # the file in the run's artifacts has them all
        text = json.dumps(content | {"numbers": {}}, ensure_ascii=False)
    client.set_registered_model_tag(name, key, text)
    return _parse(key, text, None)


def finish(client: MlflowClient, name: str, key: str) -> None:
    """Write down that the move of a record has happened."""
    client.set_registered_model_tag(name, key + DONE, now().isoformat(timespec="milliseconds"))
