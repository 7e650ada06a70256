"""Course of a trial, by the journal of its run folder: never by a server, which may be away."""

from dataclasses import dataclass, field

from trainer.system.run_folder import RunFolder
from trainer.tracking.journal import read_records


@dataclass
class Course:
    """Scores of one training so far."""

    folder: RunFolder
    offset: int = 0
    """Bytes of the journal that are read."""

    planned_steps: int = 0
    scores: dict[int, float] = field(default_factory=dict)
    """val/miou of each evaluation of the trained network, by per cent of the training that was done, 1 to 100."""

    best_miou: float | None = None
    """Score of the model that the training ended with."""

    seen: int = 0
    """Number of scores when `has_news` was asked last."""

    def read(self) -> None:
        """Take what was recorded meanwhile."""
        try:
            for offset, record in read_records(self.folder.journal, self.offset):
                self.offset = offset
                planned = str(record.get("tags", {}).get("train.steps", ""))
                self.planned_steps = int(planned) if planned.isdecimal() else self.planned_steps
                metrics, step = record.get("metrics", {}), record.get("step", 0)
                if "val/miou" in metrics and step > 0 and self.planned_steps:
                    self.scores[self.per_cent(step)] = metrics["val/miou"]
                self.best_miou = metrics.get("best/miou", self.best_miou)
        except FileNotFoundError:
            return

    def has_news(self) -> bool:
        """Return whether there are scores that were not there when this was asked before."""
        before, self.seen = self.seen, len(self.scores)
        return self.seen > before

    def per_cent(self, step: int) -> int:
        """Share of the training that is done after `step` steps, 1 to 100: trials may differ in their steps."""
        return min(100, max(1, round(100 * step / self.planned_steps)))

    @property
    def share(self) -> int:
        """Per cent of the training that is done at the last evaluation."""
        return max(self.scores, default=0)
