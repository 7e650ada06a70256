"""Folder of a run's checkpoints: each is written as a whole, and older ones are removed."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from trainer.engine.checkpoint.format import MANIFEST, POSITION, Checkpoint, write_checkpoint
from trainer.engine.stopping import writing
from trainer.system.atomic import atomic_folder, hidden_name, leftovers, write_json
from trainer.system.run_folder import CHECKPOINT_PREFIX, read_object

NEWEST = 2
"""Number of newest checkpoints that stay."""


class CheckpointFolder:
    """Checkpoints of one run, `folder`/step-N: the newest two stay, and the one that training was resumed from."""

    def __init__(
        self, folder: Path, resumed_from: int | None = None, warn: Callable[[str], None] = lambda _text: None
    ) -> None:
        """`resumed_from`: step of the checkpoint that training continues; `warn` receives errors of removals."""
        self.folder, self.resumed_from, self.warn = folder, resumed_from, warn
        self.warned: set[str] = set()

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write `step-N`, which appears complete and on the disk, then remove older ones; return its path.

        Raises NotWritten where that fails; the existing checkpoints stay as they are then.
        """
        target = self.folder / f"{CHECKPOINT_PREFIX}{checkpoint.state.step}"
        self._remove_hidden()
        # An earlier start of the run may have reached the same step.
        with writing(target), atomic_folder(target, replace=True) as partial:
            write_checkpoint(checkpoint, partial)
        self._hide_older(checkpoint.state.step)
        self._remove_hidden()
        return target

    def clear(self, record: Path) -> None:
        """Remove all checkpoints, of a run that is finished; `record` keeps the last one's digests and its position."""
        if steps := self.steps():
            last = self.folder / f"{CHECKPOINT_PREFIX}{steps[-1]}"
            position = read_object(last / POSITION).get("position")
            write_json(record, {"sha256": read_object(last / MANIFEST), "position": position})
        for step in steps:
            self._hide(step)
        self._remove_hidden()

    def steps(self) -> list[int]:
        """Steps of the existing checkpoints, ascending."""
        names = (path.name.removeprefix(CHECKPOINT_PREFIX) for path in self.folder.glob(f"{CHECKPOINT_PREFIX}*"))
        return sorted(int(name) for name in names if re.fullmatch(r"0|[1-9]\d{0,11}", name, re.ASCII))

    def _hide_older(self, newest: int) -> None:
        older = [step for step in self.steps() if step < newest and step != self.resumed_from]
        for step in older[: -(NEWEST - 1)]:
            self._hide(step)

    def _hide(self, step: int) -> None:
        path = self.folder / f"{CHECKPOINT_PREFIX}{step}"
        try:
            path.rename(hidden_name(path))  # a kill during the removal must not leave an incomplete step-N
        except OSError as error:
            self._warn_once(error)

    def _remove_hidden(self) -> None:
        """Remove hidden checkpoints: replaced or old ones, and those that a killed process did not finish."""
        for leftover in leftovers(self.folder / f"{CHECKPOINT_PREFIX}*"):
            try:
                shutil.rmtree(leftover)
            except OSError as error:
                self._warn_once(error)

    def _warn_once(self, error: OSError) -> None:
        if str(error) not in self.warned:
            self.warned.add(str(error))
            self.warn(f"an old checkpoint stays, since it cannot be removed: {error}")
