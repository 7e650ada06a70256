"""Remains of finished runs and killed processes, and their removal."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from trainer.system.atomic import hidden_name, leftovers
from trainer.system.lock import take_lock
from trainer.system.run_folder import CHECKPOINT_PREFIX, RunFolder, run_folders


@dataclass(frozen=True)
class Remains:
    """Folders and files of one run that nothing needs any more."""

    folder: RunFolder
    paths: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        files = [file for path in self.paths for file in ([path] if not path.is_dir() else path.rglob("*"))]
        return sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file())


def find_remains(work: Path) -> list[Remains]:
    """Find the checkpoints of finished runs, and what killed processes did not finish writing, oldest run first."""
    found = []
    for folder in run_folders(work):
        paths = leftovers(folder.checkpoints / f"{CHECKPOINT_PREFIX}*")
        if folder.finished:
            paths += folder.checkpoints.glob(f"{CHECKPOINT_PREFIX}*")
        if paths:
            found.append(Remains(folder, tuple(sorted(set(paths)))))
    return found


def remove(remains: Remains) -> bool:
    """Remove them; return False, and remove nothing, where a training uses the run folder. Raises OSError."""
    lock = take_lock(remains.folder.lock_file)
    if lock is None:
        return False
    try:
        for path in remains.paths:
            if path.is_dir() and not path.is_symlink():
                if not path.name.startswith("."):  # no half a checkpoint is ever in sight
                    path = path.rename(hidden_name(path))
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    finally:
        lock.release()
    return True
