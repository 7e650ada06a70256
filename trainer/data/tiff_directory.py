"""Directories of TIFF files: their tags as they are stored, in either byte order, classic or BigTIFF; files of them."""

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

LETTERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 11: "f", 12: "d", 13: "L", 16: "Q", 17: "q", 18: "Q"}
"""Kind of a tag's numbers -> its letter in `struct`."""

BYTES, TEXT, PAIRS, LONG = 7, 2, (5, 10), 4
"""Kinds of a tag: bytes without a meaning, text, pairs of numbers of 32 bits, numbers of 32 bits."""

LONGER = {16: 4, 17: 9, 18: 4}
"""Kinds of 64 bits, which a classic file cannot hold -> those of 32 bits."""

MOST_TAGS = 4096


@dataclass(frozen=True)
class TiffNumbers:
    """Form in which numbers are stored: classic TIFF, or BigTIFF with numbers of 64 bits."""

    order: str
    """Byte order as `struct` has it, "<" or ">"."""

    big: bool

    @property
    def start(self) -> int:
        """Position of the first directory's offset."""
        return 8 if self.big else 4

    @property
    def offset(self) -> str:
        """Form of an offset for `struct`."""
        return f"{self.order}{'Q' if self.big else 'I'}"

    @property
    def count(self) -> str:
        """Form of the number of a directory's entries for `struct`."""
        return f"{self.order}{'Q' if self.big else 'H'}"

    @property
    def entry_bytes(self) -> int:
        """Bytes of an entry of a directory."""
        return 20 if self.big else 12


@dataclass(frozen=True)
class Field:
    """Value of a tag as it is stored."""

    kind: int
    count: int
    data: bytes

    def value(self, order: str) -> Any:
        """Text, bytes, a number, or a tuple of several; pairs are left out."""
        if self.kind == TEXT:
            return self.data.decode("latin-1")
        letter = LETTERS.get(self.kind)
        if letter is None:
            return self.data
        values = struct.unpack(f"{order}{self.count}{letter}", self.data)
        return values[0] if len(values) == 1 else values


@dataclass(frozen=True)
class TiffDirectory:
    """First directory of a file."""

    numbers: TiffNumbers
    fields: Mapping[int, Field]

    def tags(self) -> dict[int, Any]:
        """Values by their tags."""
        return {tag: field.value(self.numbers.order) for tag, field in self.fields.items()}


def numbers_of(stream: BinaryIO) -> TiffNumbers | None:
    """Form of the numbers of a TIFF file; None for other files."""
    stream.seek(0)
    magic = stream.read(4)
    order = {b"II": "<", b"MM": ">"}.get(magic[:2])
    if order is None or len(magic) < 4:
        return None
    version = struct.unpack(f"{order}H", magic[2:])[0]
    return TiffNumbers(order, version == 43) if version in (42, 43) else None


def read_number(stream: BinaryIO, form: str) -> int:
    """Read one number in a form of `struct`. Raises struct.error at the end of the file."""
    number: int = struct.unpack(form, stream.read(struct.calcsize(form)))[0]
    return number


def read_directory(stream: BinaryIO) -> TiffDirectory | None:
    """Read the first directory of a TIFF file, but for tags whose values lie beyond it; None for other files.

    Raises struct.error or ValueError where it is broken. What the tags hold together is less than the file.
    """
    numbers = numbers_of(stream)
    if numbers is None:
        return None
    left = stream.seek(0, os.SEEK_END)
    stream.seek(numbers.start)
    stream.seek(read_number(stream, numbers.offset))
    count = read_number(stream, numbers.count)
    if count > MOST_TAGS:
        raise ValueError(f"a TIFF directory of {count} tags")
    entries = stream.read(count * numbers.entry_bytes)
    fields: dict[int, Field] = {}
    head, inside = (12, 8) if numbers.big else (8, 4)
    for start in range(0, len(entries) - numbers.entry_bytes + 1, numbers.entry_bytes):
        tag, kind, length = struct.unpack_from(f"{numbers.order}HH{'Q' if numbers.big else 'L'}", entries, start)
        size = length * _unit(kind)
        if size == 0 or size > left or tag in fields:
            continue
        data = entries[start + head : start + head + inside]
        if size > inside:
            stream.seek(struct.unpack(numbers.offset, data)[0])
            data, left = stream.read(size), left - size
        if len(data) >= size:
            fields[tag] = Field(kind, length, data[:size])
    return TiffDirectory(numbers, fields)


def _unit(kind: int) -> int:
    """Bytes of one value of a kind; 0 where it is unknown."""
    return 8 if kind in PAIRS else 1 if kind in (TEXT, BYTES) else struct.calcsize(f"<{LETTERS.get(kind, '')}")


def tiff_of(
    big_endian: bool, tags: Mapping[int, Sequence[int] | Field], places: int, lengths: int, pieces: Sequence[bytes]
) -> bytes:
    """Classic TIFF file of these tags and strips or tiles; numbers that are given as such have 32 bits in it."""
    order = ">" if big_endian else "<"
    offsets = [0] * len(pieces)
    entries: dict[int, Field] = {
        tag: value if isinstance(value, Field) else _field(order, value) for tag, value in tags.items()
    }
    entries |= {lengths: _field(order, [len(piece) for piece in pieces]), places: _field(order, offsets)}
    behind = 8 + 2 + 12 * len(entries) + 4  # header, then the list of tags; longer values follow it
    place = behind + sum(_even(len(field.data)) for field in entries.values() if len(field.data) > 4)
    for number, piece in enumerate(pieces):
        offsets[number], place = place, place + len(piece)
    entries[places] = _field(order, offsets)
    listed, longer = b"", b""
    for tag, field in sorted(entries.items()):
        data = field.data.ljust(4, b"\0")
        if len(data) > 4:
            data = struct.pack(f"{order}L", behind + len(longer))
            longer += field.data.ljust(_even(len(field.data)), b"\0")
        listed += struct.pack(f"{order}HHL", tag, field.kind, field.count) + data
    head = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(f"{order}LH", 8, len(entries))
    return b"".join([head, listed, bytes(4), longer, *pieces])


def as_classic(field: Field, order: str) -> Field:
    """Field with numbers of 32 bits where it has some of 64. Raises struct.error where they do not fit."""
    kind = LONGER.get(field.kind)
    if kind is None:
        return field
    values = struct.unpack(f"{order}{field.count}{LETTERS[field.kind]}", field.data)
    return Field(kind, field.count, struct.pack(f"{order}{field.count}{LETTERS[kind]}", *values))


def _field(order: str, values: Sequence[int]) -> Field:
    return Field(LONG, len(values), struct.pack(f"{order}{len(values)}L", *values))


def _even(length: int) -> int:
    return length + length % 2
