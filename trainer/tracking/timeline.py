"""Which version was champion when: what the records of moves say, and what they do not."""

from dataclasses import dataclass
from datetime import UTC, datetime

from trainer.tracking.history import SETTLE, Record, State, is_after


@dataclass(frozen=True)
class Move:
    """A record, and whether its move happened."""

    record: Record
    happened: bool


@dataclass(frozen=True)
class Gap:
    """Move that nobody recorded: the alias was found elsewhere than the last move had left it."""

    origin: str | None
    to: str | None
    since: datetime
    until: datetime | None
    """Time when it was found; None where that is now."""


@dataclass(frozen=True)
class Answer:
    """Version that was champion at a time."""

    versions: tuple[str | None, ...]
    """One version, or None for no champion; two where it was moved from elsewhere at an unknown time in between."""

    note: str = ""
    """What is uncertain about it; empty where nothing is."""


@dataclass(frozen=True)
class Timeline:
    """All moves of a champion in their order, with the gaps between them."""

    entries: tuple[Move | Gap, ...]
    champion: str | None
    """Present champion."""

    @property
    def states(self) -> list[str | None]:
        """Champions in their order, the present one last; no two in a row are the same."""
        found: list[str | None] = []
        for entry in self.entries:
            if isinstance(entry, Gap):
                found += [entry.origin, entry.to]
            elif entry.happened:
                found += [entry.record.origin, entry.record.to]
        found.append(self.champion)
        return [one for place, one in enumerate(found) if place == 0 or one != found[place - 1]]

    def before(self) -> str | None:
        """Champion before the present one; None where none is known."""
        return next((one for one in reversed(self.states[:-1]) if one not in (None, self.champion)), None)

    def at(self, time: datetime) -> Answer:
        """Champion at a time, which has a time zone."""
        moves = [entry.record for entry in self.entries if isinstance(entry, Move) and entry.happened]
        if not moves:
            return Answer((self.champion,), "no move is recorded: it is the present one")
        if time < _began(moves[0]):
            note = "the records begin later" if moves[0].origin is not None else ""
            return Answer((moves[0].origin,), note)
        for gap in self.entries:
            if isinstance(gap, Gap) and gap.since <= time and (gap.until is None or time < gap.until):
                return Answer((gap.origin, gap.to), "moved from elsewhere at a time that nobody wrote down")
        return Answer(([one for one in moves if _began(one) <= time][-1].to,))


def _began(record: Record) -> datetime:
    """Time since when the version was champion, as well as it is known."""
    return record.done or record.when


def timeline(state: State) -> Timeline:
    """Order the records of a registered model, and find those whose move did not happen, and what nobody recorded."""
    entries: list[Move | Gap] = []
    last: Record | None = None
    champion: str | None = None
    seen = datetime.min.replace(tzinfo=UTC)
    for place, record in enumerate(state.records):
        # A writer that did not know of the last move worked at the same time, and found the alias before it.
        if last is not None and record.origin != champion and _knew(record, last):
            entries.append(Gap(champion, record.origin, seen, record.when))
            champion, seen = record.origin, record.when
        happened = bool(record.done) or _seen_by(record, state.records[place + 1 :], state)
        entries.append(Move(record, happened))
        if happened:
            last, champion, seen = record, record.to, _began(record)
    if last is not None and champion != state.champion:
        entries.append(Gap(champion, state.champion, seen, None))
    return Timeline(tuple(entries), state.champion)


def _knew(record: Record, last: Record) -> bool:
    """Return whether a record's writer knew of the last move, and did not meet others in the middle of it."""
    return not is_after(last.key, record.after) and record.kind != SETTLE


def _seen_by(record: Record, later: tuple[Record, ...], state: State) -> bool:
    """Return whether the move of a record without an end was seen: by the next move, or by the alias now."""
    if not later:
        return state.champion == record.to
    return later[0].origin == record.to != record.origin
