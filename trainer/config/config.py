"""All settings of a run, and what must hold between the sections."""

from dataclasses import dataclass, field

from trainer.config.check import require
from trainer.config.data import DataConfig
from trainer.config.loss import LossConfig
from trainer.config.model import ModelConfig
from trainer.config.optim import OptimConfig
from trainer.config.registry import RegistryConfig
from trainer.config.tracking import TrackingConfig
from trainer.config.train import TrainConfig


@dataclass(frozen=True)
class Config:
    """Start of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    """Images and masks."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """Network."""

    loss: LossConfig = field(default_factory=LossConfig)
    """Loss function."""

    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimizer."""

    train: TrainConfig = field(default_factory=TrainConfig)
    """Length, batch and precision of the training."""

    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Tracking in MLflow."""

    registry: RegistryConfig = field(default_factory=RegistryConfig)
    """Registered model."""

    resume: str = "never"
    """Resume a run that was stopped, was killed or failed. never: start a new one. latest: the newest unfinished
    run, with its own settings; where settings are given, the newest unfinished one of these settings and this data.
    Where there is none, nothing starts. latest-or-new: the same, but then a new run starts, for job scripts that are
    started again. PATH: a run folder, or a checkpoint folder step-N in it, which brings its own settings where there
    is no --config. Of a finished run nothing is left to do. What must be the same: the contents of the data and all
    settings, but for data.workers, train.threads, train.micro_batch_size, train.compile, train.checkpoint_minutes,
    tracking.* and registry.*."""

    def __post_init__(self) -> None:
        self._check_folds()
        teacher = self.data.unlabelled is None or self.train.ema > 0
        require(teacher, "train.ema", self.train.ema, "more than 0, such as 0.99, with data.unlabelled")
        multiple = self.model.stride
        size = self.data.image_size
        near = max(multiple, round(size / multiple) * multiple)
        reason = "2 ** model.depth" if multiple == 2**self.model.depth else f"for model.encoder {self.model.encoder}"
        require(
            size % multiple == 0,
            "data.image_size",
            size,
            f"a multiple of {multiple} ({reason}), such as {near}",
        )

    @property
    def without_validation(self) -> bool:
        """True where all pictures train, as for the model that folds register."""
        return self.train.final == "all" and not self.train.several

    def _check_folds(self) -> None:
        train, data = self.train, self.data
        if not train.several:
            lone = train.final in ("auto", "none") or self.tracking.parent is not None
            require(lone, "train.final", train.final, "train.folds or train.seeds with it")
            return
        require(self.tracking.parent is None, "tracking.parent", self.tracking.parent, "no train.folds or train.seeds")
        if not train.folds:
            return
        wanted = f"it without train.folds; to train that fold alone: --train.only_fold {data.fold}"
        require(data.fold == 0, "data.fold", data.fold, wanted)
        usual = data.val_fraction in (DataConfig.val_fraction, 1 / train.folds)
        require(usual, "data.val_fraction", data.val_fraction, f"it without train.folds {train.folds}, which decide it")
