"""Settings of the tracking in MLflow, tracking.*."""

import re
from dataclasses import dataclass
from pathlib import Path

from trainer.config.check import NAME_RULE, is_name, require


@dataclass(frozen=True)
class TrackingConfig:
    enabled: bool = True
    """Record the run in MLflow. False never loads MLflow; the model is left in the run folder only."""

    experiment: str = "auto"
    """MLflow experiment; runs in one experiment are compared with each other. auto: the name of the data folder."""

    run_name: str | None = None
    """Name of the run in the MLflow UI. Unset: made from the data, the size and the time, different for each run."""

    required: bool = True
    """Refuse to start while the tracking server cannot be reached."""

    watch: int = 8
    """Number of validation pictures that are drawn as training goes on."""

    parent: str | None = None
    """Run that this one belongs to, as a fold or a trial does: its uid, or its run folder. Whatever trains several
    models sets it; MLflow shows the run below its parent then."""

    system_metrics: bool = True
    """Record what a run of more than a minute uses: CPU, memory, disk and GPUs of each machine."""

    def __post_init__(self) -> None:
        for key, name in (("experiment", self.experiment), ("run_name", self.run_name)):
            require(name is None or is_name(name), f"tracking.{key}", name, f"a name, {NAME_RULE}")
        require(self.watch >= 0, "tracking.watch", self.watch, "0 or more")
        usable = self.parent is None or re.fullmatch(r"[\w.-]{1,100}", Path(self.parent).name)
        require(bool(usable), "tracking.parent", self.parent, "the uid or the run folder of a run")

    @property
    def usage(self) -> bool:
        """True where it is recorded what the machines use."""
        return self.enabled and self.system_metrics
