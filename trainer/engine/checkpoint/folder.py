"""The checkpoints of one run in its folder: saved whole, older ones removed."""

import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from trainer.engine.checkpoint.format import Checkpoint, write_checkpoint
from trainer.engine.stopping import NotWritten
from trainer.system.atomic import atomic_folder, hidden_name, leftovers

KEPT = 2


class CheckpointFolder:
    """The checkpoints of one run, `folder`/step-N; keeps the newest two, and the one that training was resumed from."""

    def __init__(
        self, folder: Path, resumed_from: int | None = None, warn: Callable[[str], None] = lambda _text: None
    ) -> None:
        self.folder, self.resumed_from, self.warn = folder, resumed_from, warn
        self.warned: set[str] = set()

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write `step-N` so that it is complete when its name appears; then remove older ones.

        The write goes to a hidden folder, is forced to the disk, and the folder is renamed. Raises NotWritten; what
        was there before is untouched then.
        """
        target = self.folder / f"step-{checkpoint.state.step}"
        self._sweep()
        try:
            # An earlier start of the run may have reached the same step.
            with atomic_folder(target, replace=True) as partial:
                write_checkpoint(checkpoint, partial)
        except (OSError, SafetensorError) as error:
            raise NotWritten(target, error) from error
        self._forget_older(checkpoint.state.step)
        self._sweep()
        return target

    def steps(self) -> list[int]:
        """Steps of the checkpoints there are, ascending."""
        names = (path.name.removeprefix("step-") for path in self.folder.glob("step-*"))
        return sorted(int(name) for name in names if name.isdecimal())

    def _forget_older(self, newest: int) -> None:
        older = [step for step in self.steps() if step < newest and step != self.resumed_from]
        for step in older[: -(KEPT - 1)]:
            path = self.folder / f"step-{step}"
            try:
                path.rename(hidden_name(path))  # out of sight first: a kill in the middle must leave no half a step-N
            except OSError as error:
                self._warn_once(error)

    def _sweep(self) -> None:
        """Remove what is out of sight: replaced or old checkpoints, and those that a killed process began."""
        for leftover in leftovers(self.folder / "step-*"):
            try:
                shutil.rmtree(leftover)
            except OSError as error:
                self._warn_once(error)

    def _warn_once(self, error: OSError) -> None:
        if str(error) not in self.warned:
            self.warned.add(str(error))
            self.warn(f"an old checkpoint stays, for it cannot be removed: {error}")
