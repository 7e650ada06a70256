"""Show which version was champion when, choose another one, or go back.

python trainer/promote.py NAME --history [--at TIME] [--json]
python trainer/promote.py NAME --to VERSION --why TEXT
python trainer/promote.py NAME --rollback --why TEXT
"""

if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a traceback, until the next import is done
    from trainer.system.entry import guard_imports

    guard_imports("promote.py")

import argparse
import functools
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trainer import redact, redact_all
from trainer.system.command import explain_errors
from trainer.system.entry import leave, run_program
from trainer.system.installation import require, usage
from trainer.system.output import Parser, ShowVersion, prepare_output
from trainer.system.signals import StopSignals
from trainer.system.text import one_line, show

if TYPE_CHECKING:
    from trainer.tracking.history import Record, State
    from trainer.tracking.timeline import Answer, Gap, Move, Timeline

TIMES = "such as 2026-11-24, 2026-11-24T15:00 or 2026-11-24T15:00+01:00; without a time zone it is local"


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 done, 2 wrong usage, no such model or version, or a store that refuses.

    130 or 143: stopped by a signal; --history shows whether the champion was moved.
    """
    return run_program("promote.py", functools.partial(_main, arguments), prints_results=True)


def _main(arguments: list[str] | None, _stop: StopSignals) -> int:
    prepare_output(arguments)
    given = _read_command(arguments)

    def work() -> int:
        require("registry", "the champion of a registered model")
        _run(given)
        return 0

    return explain_errors("promote.py", work)


def _read_command(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog=usage("promote"), description="Champion of a registered model: its history, and moves by hand."
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version")
    parser.add_argument("name", metavar="NAME", help="registered model, such as cat-unet")
    what = parser.add_argument_group("what to do, one of")
    what.add_argument("--history", action="store_true", help="show all moves, the newest last")
    what.add_argument("--to", type=_version, metavar="VERSION", help="make this version champion")
    what.add_argument("--rollback", action="store_true", help="make the previous champion the champion again")
    parser.add_argument("--at", type=_time, metavar="TIME", help=f"show which version was champion then, {TIMES}")
    parser.add_argument("--why", metavar="TEXT", help="reason, which the history keeps")
    parser.add_argument("--force", action="store_true", help="with --to: also a version of other classes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    reads, moves = given.history or given.at is not None, (given.to is not None) + given.rollback
    if reads + moves != 1:
        parser.error("give one of --history, --to VERSION and --rollback")
    if moves and given.why is None:
        parser.error("--why is missing: say in a few words why the champion is another one now")
    if reads and given.why is not None:
        parser.error("--why: nothing is moved with --history; leave it out")
    if given.force and given.to is None:
        parser.error("--force: goes with --to")
    given.name = given.name.removeprefix("models:/").removesuffix("@champion")
    return given


def _version(text: str) -> str:
    if not text.isascii() or not text.isdigit() or not text.strip("0"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a version; give its number, such as 7")
    return text


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip())
        found = found if found.tzinfo else found.astimezone()
        is_ahead = found > datetime.now(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; give one {TIMES}") from error
    if is_ahead:
        raise argparse.ArgumentTypeError(f"{text!r} is still to come; give a time until now, {TIMES}")
    return found


def _run(given: argparse.Namespace) -> None:
    from trainer.tracking import server

    client = server.connect()
    from trainer.tracking.errors import store_errors

    with store_errors():
        if given.to is None and not given.rollback:
            _show_history(client, given)
        else:
            _move(client, given)


# ---------------------------------------------------------------- moves


def _move(client: Any, given: argparse.Namespace) -> None:
    from trainer.tracking.by_hand import NothingToDo, move_to, roll_back
    from trainer.tracking.errors import permitted

    name = given.name
    try:
        with permitted(f"move the champion of the model {show(name)!r}"):
            if given.rollback:
                own, holds = roll_back(client, name, given.why)
            else:
                own, holds = move_to(client, name, given.to, given.why, given.force)
    except NothingToDo:
        version = given.to.lstrip("0")
        print(json.dumps({"moved": False}) if given.json else f"version {version} is the champion already")
        return
    if given.json:
        _print_json({"moved": True, "move": _record_json(own), "champion": holds.to})
        return
    print(f"models:/{show(name)}@champion: {_from_to(own.origin, own.to)}")
    if holds.to != own.to:
        print(f"{show(holds.who)} has chosen at the same time, and later: version {holds.to} is the champion")


# ---------------------------------------------------------------- history


def _show_history(client: Any, given: argparse.Namespace) -> None:
    from trainer.tracking import history, registry
    from trainer.tracking.timeline import timeline

    state = history.read(client, given.name)
    line = timeline(state)
    if given.at is not None:
        answer = line.at(given.at)
        if given.json:
            _print_json({"at": given.at.isoformat(), "champion": list(answer.versions), "note": answer.note})
        else:
            print(_describe_answer(given.at, answer))
        return
    versions = set(registry.versions(client, given.name))
    if given.json:
        _print_json(_history_json(given.name, state, line, versions))
        return
    for entry in line.entries:
        print(_describe(entry, versions))
    for key in state.unreadable:
        print(f"{show(key)}: a record that somebody has changed, and that cannot be read")
    if not line.entries:
        print("no move is recorded")
    print(f"champion: {_named(state.champion, versions)}; previous: {_named(state.previous, versions)}")


def _describe(entry: "Move | Gap", versions: set[str]) -> str:
    """One line about a move, or about one that nobody recorded."""
    from trainer.tracking.timeline import Gap

    if isinstance(entry, Gap):
        until = _local(entry.until) if entry.until else "now"
        moved = _from_to(entry.origin, entry.to, versions)
        return f"{_local(entry.since)}  {moved}  moved from elsewhere, between then and {until}; no record says by whom"
    record = entry.record
    moved = f"{_from_to(record.origin, record.to, versions)}  {KINDS.get(record.kind, show(record.kind))}"
    state = "" if entry.happened else "  NOT DONE (recorded, and cut off before the champion was moved)"
    why = one_line(redact(record.why))
    return f"{_local(record.when)}  {moved} by {show(record.who)}{state}: {why}"


KINDS = {
    "gate": "compared",
    "force": "forced",
    "to": "chosen",
    "rollback": "back",
    "settle": "settled",
}
"""Kind of a move -> word for it."""


def _from_to(origin: str | None, to: str | None, versions: set[str] | None = None) -> str:
    return f"{_named(origin, versions)} -> {_named(to, versions)}"


def _named(version: str | None, versions: set[str] | None = None) -> str:
    if version is None:
        return "none"
    return f"version {show(version)}" + ("" if versions is None or version in versions else " (deleted since)")


def _local(time: datetime) -> str:
    """A time in the local time zone, which is named."""
    return time.astimezone().isoformat(" ", "seconds")


def _describe_answer(time: datetime, answer: "Answer") -> str:
    found = " or ".join(dict.fromkeys("none" if one is None else f"version {one}" for one in answer.versions))
    return f"{_local(time)}: {found}" + (f" ({answer.note})" if answer.note else "")


def _history_json(name: str, state: "State", line: "Timeline", versions: set[str]) -> dict[str, Any]:
    from trainer.tracking.timeline import Gap

    entries: list[dict[str, Any]] = []
    for entry in line.entries:
        if isinstance(entry, Gap):
            until = entry.until.isoformat() if entry.until else None
            moved = {"from": entry.origin, "to": entry.to, "since": entry.since.isoformat(), "until": until}
            entries.append({"state": "not recorded"} | moved)
        else:
            entries.append({"state": "done" if entry.happened else "not done"} | _record_json(entry.record))
    aliases = {"champion": state.champion, "previous": state.previous}
    return {"model": name} | aliases | {"versions": sorted(versions, key=int), "moves": entries}


def _record_json(record: "Record") -> dict[str, Any]:
    return {
        "when": record.when.isoformat(),
        "done": record.done.isoformat() if record.done else None,
        "who": record.who,
        "kind": record.kind,
        "from": record.origin,
        "to": record.to,
        "why": record.why,
        "run": record.run,
        "numbers": dict(record.numbers),
        "key": record.key,
    }


def _print_json(content: dict[str, Any]) -> None:
    print(json.dumps(redact_all(content), indent=1))


if __name__ == "__main__":
    leave(main())
