"""Account of the files in a folder that are not used: how many, which, and why."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer import InputError
from trainer.data.files import HIDDEN, Reason, is_folder, is_hidden, scan_folder, why_no_image
from trainer.system.text import count_of

MOST_FILES = 100
"""Files and places that are remembered for each reason; all are counted."""

MOST_PLACES = 5
"""Files, folders or suffixes that a sentence names."""

UNUSED = Reason("that this layout does not use", warn=True, by="folder")
LINK = Reason("of the kind of a link to a folder, which is not followed", warn=True)
CLOSED = Reason("of the kind of a folder that cannot be opened", warn=True)


_Folder = tuple[str, str, Reason | None]
"""Path of a folder, the same with its links resolved, and why all in it is left out."""


@dataclass
class Left:
    """Files that are left out for one reason."""

    count: int = 0
    files: list[str] = field(default_factory=list)
    """Paths of the first MOST_FILES."""

    places: dict[str, int] = field(default_factory=dict)
    """What the sentence names (files, folders or suffixes) -> number of files there."""

    first: dict[str, str] = field(default_factory=dict)
    """Place -> name of its first file."""


@dataclass
class Account:
    """Everything that is left out of some folders, by reason."""

    top: str = ""
    """Folder from which names are shown: the one that all lie in."""

    left: dict[Reason, Left] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of files that are left out."""
        return sum(one.count for one in self.left.values())

    def add(self, reason: Reason, file: str) -> None:
        """Count a file."""
        one = self.left.setdefault(reason, Left())
        one.count += 1
        if len(one.files) < MOST_FILES:
            one.files.append(file)
        shown = file.removeprefix(f"{self.top}/") if self.top else file
        shown = shown.replace("\n", "\\n")  # a name may hold anything, and a sentence is one line
        folder, name = os.path.split(shown)
        place = {"folder": f"{folder or '.'}/", "suffix": _suffix(name)}.get(reason.by, shown)
        if place in one.places or len(one.places) < MOST_FILES:
            one.places[place] = one.places.get(place, 0) + 1
            one.first.setdefault(place, shown if reason.by == "suffix" else name)

    def summary(self) -> str:
        """All reasons in one line; "" where nothing is left out."""
        if not self.left:
            return ""
        parts = [f"{one.count} {reason.text}: {_places(reason, one)}" for reason, one in self.left.items()]
        return f"{count_of(self.count, 'file')}: {'; '.join(parts)}"

    def warnings(self) -> list[str]:
        """A sentence for each reason for which pictures or labels are lost that somebody may miss."""
        return [
            f"{self.top}: {count_of(one.count, 'file')} {reason.text} {'is' if one.count == 1 else 'are'} left out: "
            f"{_places(reason, one)}{'; ' if reason.advice else ''}"
            f"{reason.advice.replace('them', 'it') if one.count == 1 else reason.advice}"
            for reason, one in self.left.items()
            if reason.warn
        ]

    def content(self) -> list[dict[str, Any]]:
        """The account as JSON: for each reason its text, the number of files, and the first MOST_FILES of them."""
        return [{"reason": why.text, "count": one.count, "files": one.files} for why, one in self.left.items()]


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower() or "without suffix"


def _places(reason: Reason, one: Left) -> str:
    """The first files; or the first folders or suffixes, with the number of files and the first of them."""
    texts = list(one.places)[:MOST_PLACES]
    rest = one.count - sum(one.places[place] for place in texts)
    if reason.by != "file":
        more = {place: ", ..." if one.places[place] > 1 else "" for place in texts}
        texts = [f"{place} ({one.places[place]}: {one.first[place]}{more[place]})" for place in texts]
    return ", ".join(texts) + (f" and {rest} more" if rest else "")


def take_stock(
    roots: Sequence[Path], used: Iterable[str], left_out: Mapping[str, Reason], rest: Reason = UNUSED
) -> Account:
    """Walk through `roots` and account for every file that is not among `used`, paths of files.

    `left_out`: path of a file or a folder -> why it is left out, where that is known already. Other files are left out
    for their name or kind, and images for `rest`.
    """
    folders = [str(root) for root in roots if root.is_dir()]
    account = Account(os.path.commonpath(list(map(os.path.abspath, folders))) if len(folders) > 1 else "".join(folders))
    known = _Known(used)
    entered = set[str]()
    waiting: list[_Folder] = [(folder, os.path.realpath(folder), None) for folder in reversed(folders)]
    while waiting:  # a stack, because folders may lie deeper than Python recurses
        folder, real, reason = waiting.pop()
        reason = left_out.get(folder, reason)
        if real in entered:
            continue
        entered.add(real)
        try:
            prefix = "" if folder == "." else f"{folder}/"
            rest_here = [entry for entry in scan_folder(folder) if f"{prefix}{entry.name}" not in known.paths]
        except InputError:
            account.add(CLOSED, folder)
            continue
        below: list[_Folder] = []
        for entry in sorted(rest_here, key=lambda entry: entry.name):
            path = f"{prefix}{entry.name}"
            why = HIDDEN if is_hidden(entry.name) else reason
            if entry.is_dir(follow_symlinks=False):
                below.append((path, f"{real}/{entry.name}", why))
            elif is_folder(entry) and known.below(path):
                below.append((path, os.path.realpath(path), why))
            elif known.holds(path, f"{real}/{entry.name}", entry.is_symlink()):
                continue
            elif is_folder(entry):
                account.add(left_out.get(path, LINK), path)
            else:
                account.add(left_out.get(path) or reason or why_no_image(entry) or rest, path)
        waiting += reversed(below)
    return account


class _Known:
    """Files that are used, by any of their paths."""

    def __init__(self, used: Iterable[str]) -> None:
        self.paths = set(used)
        self.paths |= {os.path.realpath(path) for path in self.paths if "/../" in path or "/./" in path}

    def holds(self, path: str, real: str, link: bool) -> bool:
        """Return True for a used file: `path` as the roots are given, `real` with the links of its folders resolved."""
        return path in self.paths or real in self.paths or (link and os.path.realpath(path) in self.paths)

    def below(self, folder: str) -> bool:
        """Return True if a used file lies in `folder`, a link, or below it."""
        return any(path.startswith(f"{folder}/") for path in self.paths)
