"""Backup of a shared server in one file, and the way back: the database and the folder of artifacts, both or neither.

The file is a tar: database.dump of pg_dump, then the artifacts, then manifest.json with the digest of each. Artifacts
are read after the database, so that everything the database speaks of is there; the server may run meanwhile.

Artifacts in S3 stay there, and the manifest lists them: a restore is refused where one of them is gone.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from trainer import InputError
from trainer.system.atomic import atomic_file, fsync, fsync_tree, leftovers, why_not_written
from trainer.system.provenance import program_version
from trainer.tracking.shared.artifacts import HOME, VARIABLE, describe_listed, list_stored, require_listed
from trainer.tracking.shared.database import COUNT_SESSIONS, ask, has_table, program, require_success

FORMAT = 1
"""Version of the backup's form."""

DUMP, MANIFEST, FOLDER = "database.dump", "manifest.json", "artifacts/"
"""Names in a backup: first, last, and what those between begin with."""

BLOCK_BYTES = 1 << 20
"""Bytes that are read at once."""

DROP = """set client_min_messages to warning;
do $$ declare statement text; begin
for statement in
    select format('drop table if exists %I cascade', tablename) from pg_tables where schemaname = current_schema()
    union all
    select format('drop routine if exists %s cascade', oid::regprocedure) from pg_proc
    where pronamespace = current_schema()::regnamespace
    and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')
loop execute statement; end loop; end $$;
"""
"""Removal of what the database holds, in the same transaction that restores it: tables of a newer MLflow go, too.
Routines that belong to an extension stay."""


# ---------------------------------------------------------------- backup


def backup(url: str, place: Path | str, file: Path) -> str:
    """Write a backup to `file`, which is there whole or not at all; return a sentence about it."""
    if not has_table(url, "runs"):
        raise InputError(f"database {url}: holds no runs yet; there is nothing to save")
    digests: dict[str, str] = {}
    try:
        _remove_leftovers(file)
        with atomic_file(file) as output, _scratch_beside(file) as scratch:
            os.fchmod(output.fileno(), 0o600)  # the users' hashed passwords are in it
            dump = Path(scratch, DUMP)
            words = [program("pg_dump"), "--format=custom", f"--file={dump}", f"--dbname={url}"]
            require_success(words, subprocess.run(words, capture_output=True))
            with tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                _add(tar, dump, DUMP, digests)
                for path in _files(place):
                    _add(tar, path, FOLDER + str(path.relative_to(place)), digests)
                listed = None if isinstance(place, Path) else list_stored(place)
                manifest = {
                    "format": FORMAT,
                    "program": program_version(),
                    "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                    "artifacts": isinstance(place, Path),
                    "sha256": digests,
                    "listed": listed,
                }
                content = json.dumps(manifest).encode()
                entry = tarfile.TarInfo(MANIFEST)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    except OSError as error:
        raise InputError(f"{why_not_written(file, error)}; free some space, or name another file") from error
    text = f"{file}: {file.stat().st_size / 1e6:.1f} MB, the database"
    if isinstance(place, Path):
        return f"{text} and {len(digests) - 1} artifacts"
    return f"{text}; {describe_listed(place, listed)}"


def _scratch_beside(file: Path) -> tempfile.TemporaryDirectory[str]:
    """Make a folder on the disk of `file`, hidden, of a name that `leftovers` knows."""
    return tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=f".{file.name}.", suffix=".partial")


def _remove_leftovers(file: Path) -> None:
    """Remove what a backup to the same file left that was killed."""
    for path in leftovers(file):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _files(place: Path | str) -> Iterator[Path]:
    """Regular files below a folder, in order."""
    if isinstance(place, Path):
        yield from (path for path in sorted(place.rglob("*")) if path.is_file() and not path.is_symlink())


def _add(tar: tarfile.TarFile, path: Path, name: str, digests: dict[str, str]) -> None:
    """Add a file, and note its digest; one that was deleted meanwhile is left out."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        reader = _Digesting(file)
        entry = tar.gettarinfo(arcname=name, fileobj=file)
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        tar.addfile(entry, reader)
        digests[name] = reader.digest.hexdigest()


class _Digesting:
    """Reader that computes the digest of what passes through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read some bytes."""
        block = self.file.read(size)
        self.digest.update(block)
        return block


# ---------------------------------------------------------------- restore


def restored_folder(place: Path) -> Path:
    """Folder of restored artifacts while the database changes: where it is there, a restore was cut off."""
    return place.with_name(f".{place.name}.restored")


def require_whole(place: Path | str) -> None:
    """Raise InputError where a restore was cut off after its beginning."""
    if isinstance(place, Path) and restored_folder(place).exists():
        raise InputError(
            f"{place}: a restore was cut off, so database and artifacts may be of different times; repeat it: "
            "bash launch/server.sh restore FILE"
        )


def require_idle(url: str) -> None:
    """Raise InputError where another program uses the database."""
    if sessions := ask(url, COUNT_SESSIONS):
        raise InputError(f"database {url}: {sessions} other connections use it; stop the server before a restore")


def present_runs(url: str) -> int:
    """Number of the runs in the database."""
    return int(ask(url, "select count(*) from runs")) if has_table(url, "runs") else 0


def restore(url: str, place: Path | str, file: Path, incomplete: bool = False) -> str:
    """Make database and artifacts those of a backup, in place of what is there; return a sentence about it.

    Everything is read and compared with its digest before anything changes. Artifacts in S3 have to be there, unless
    `incomplete`. The database then changes in one
    transaction, and the folder by its name. A call that is cut off between the two leaves a mark, with which the
    server does not start, and is completed by the same call.
    """
    require_idle(url)
    try:
        with _scratch(place) as scratch:
            content = _unpack(file, scratch)
            if content["artifacts"] != isinstance(place, Path):
                wanted = "a folder" if content["artifacts"] else "the s3:// address that it was made with"
                raise InputError(f"{file}: its artifacts were in another kind of place; set {VARIABLE} to {wanted}")
            if isinstance(place, Path):
                _restore_both(url, place, scratch)
            else:
                about = require_listed(place, content.get("listed"), incomplete)
                _restore_database(url, scratch / DUMP)
    except OSError as error:
        raise InputError(f"{why_not_written(file, error)}; fix this, and repeat the restore") from error
    runs = f"restored {present_runs(url)} runs"
    if isinstance(place, Path):
        return f"{runs} and {len(content['sha256']) - 1} artifacts of {content['time']}"
    return f"{runs} of {content['time']}; {about}"


@contextmanager
def _scratch(place: Path | str) -> Iterator[Path]:
    """Yield an empty folder on the disk of the artifacts; one that was left by a call which was cut off is emptied."""
    folder = place.with_name(f".{place.name}.restore") if isinstance(place, Path) else HOME / ".restore"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _restore_both(url: str, place: Path, scratch: Path) -> None:
    """Replace the database by the unpacked one, and the folder of artifacts by the unpacked one."""
    unpacked, new = scratch / FOLDER, restored_folder(place)
    cut_off = new.exists()  # then the mark stays until a call has succeeded
    unpacked.mkdir(exist_ok=True)
    fsync_tree(unpacked)
    shutil.rmtree(new, ignore_errors=True)
    unpacked.rename(new)
    try:
        _restore_database(url, scratch / DUMP)
    except BaseException:
        if not cut_off:  # all is as before
            shutil.rmtree(new, ignore_errors=True)
        raise
    if place.exists():
        place.rename(scratch / "old")
    new.rename(place)
    fsync(place.parent)


def _unpack(file: Path, scratch: Path) -> dict[str, Any]:
    """Unpack a backup whole, and return its manifest. Raises InputError where anything is missing or has changed."""
    with _readable(file), tarfile.open(file, "r|") as tar:
        found: dict[str, str] = {}
        manifest: dict[str, Any] | None = None
        for entry in tar:
            source = tar.extractfile(entry) if entry.isfile() else None
            parts = Path(entry.name).parts
            if source is None or manifest is not None or ".." in parts or entry.name.startswith("/"):
                raise ValueError(f"{entry.name!r} does not belong there")
            if entry.name == MANIFEST:
                manifest = json.loads(source.read())
                continue
            target = scratch / entry.name
            target.parent.mkdir(parents=True, exist_ok=True)
            reader = _Digesting(source)
            with target.open("wb") as output:
                shutil.copyfileobj(reader, output, BLOCK_BYTES)
            found[entry.name] = reader.digest.hexdigest()
        if manifest is None:
            raise ValueError("its end is missing")
        if manifest["format"] != FORMAT:
            raise ValueError(f"it has format {manifest['format']!r}; restore it with the program that made it")
        saved = manifest["sha256"]
        if changed := sorted(name for name in {*found, *saved} if found.get(name) != saved.get(name)):
            raise ValueError(f"{changed[0]!r} and {len(changed) - 1} more are not what was saved")
        if DUMP not in found:
            raise ValueError("it holds no database")
    return manifest


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{file}: there is no such file") from error
    except (tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not a complete backup ({error}); nothing is changed") from error


def _restore_database(url: str, dump: Path) -> None:
    """Replace the content of the database by a dump, in one transaction."""
    script = dump.with_suffix(".sql")
    words = [program("pg_restore"), "--no-owner", "--no-privileges", f"--file={script}", str(dump)]
    require_success(words, subprocess.run(words, capture_output=True))
    words = [program("psql"), "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"]
    words += ["--set=VERBOSITY=terse", "--output=" + os.devnull, f"--dbname={url}"]
    words += [f"--command={DROP}", f"--file={script}"]
    require_success(words, subprocess.run(words, capture_output=True))
