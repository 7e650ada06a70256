"""Settings of the training, train.*: its length, batch and precision; folds and seeds."""

from dataclasses import dataclass
from typing import Literal

from trainer.config.check import require


@dataclass(frozen=True)
class TrainConfig:
    epochs: int | Literal["auto"] = "auto"
    """Times that every training picture is seen. auto: as many as make 1000 steps, with several classes 1500, or 3000
    where nothing is pretrained, but 30 at least; or fewer where train.patience auto ends it before."""

    minutes: float = 0.0
    """Minutes that training may take, with the start of the program and all evaluations: as many steps as fit, planned
    anew on the way by the time that the last ones took, and at most train.epochs. The learning rate falls to 0 within
    them. 0: train.epochs alone decide."""

    progressive: bool = True
    """Train on images of 5/8 of the side in the first half of the steps, which then cost less than half as much; with a
    pretrained encoder of 128 pixels at least."""

    ema: float = 0.99
    """Decay of the moving average of the weights, 0 to 1: the averaged weights are evaluated and saved, and score well
    earlier. 0: none, the weights themselves."""

    batch_size: int = 8
    """Pictures per optimizer step, over all processes and accumulation together."""

    micro_batch_size: int | Literal["auto"] = "auto"
    """Pictures that one process sends through the network at once; the rest of its share of the batch is accumulated.
    auto: the whole share, or on a GPU the most that fits; the batch stays what it is."""

    seed: int = 0
    """Seed of the weights, the order of the pictures and the augmentation."""

    mixed_precision: Literal["auto", "no", "bf16", "fp16"] | bool = "auto"
    """Number format inside the network. auto: bf16 where the hardware computes in it, else no (float32)."""

    compile: Literal["auto", "on", "off"] | bool = "auto"
    """torch.compile: half a minute or more of compiling, then faster steps on a GPU. auto: there, where the run is long
    enough to win that time back, and there is a C++ compiler."""

    eval_every: int | Literal["auto"] = "auto"
    """Epochs between evaluations; the untrained network and the last step are always evaluated. auto: 1, or as many as
    make 50 steps, where these are more; 25 where train.patience is curve."""

    patience: int | Literal["auto", "curve"] = "auto"
    """Evaluations without a better val/miou after which training stops; 0 never. curve: once a curve fitted to val/miou
    says that half as many steps again would bring less than 0.005, the learning rate falls to 0 in a third as many, and
    training ends. auto: curve, but 0 where train.epochs or train.minutes are given, or all weights are random at the
    start: then each step pays."""

    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints, from which a killed run resumes; 0: as often as the disk allows."""

    threads: int | Literal["auto"] = "auto"
    """CPU threads per process. auto: the number with the fastest step, up to the CPUs that may be used (by affinity and
    quota) divided by the processes; measured at the start, and again at evaluations where steps became much slower, or
    more threads may help. Beside other programs fewer are often many times as fast. The last bits of the results depend
    on the number; a resumed run goes on with its own. OMP_NUM_THREADS in the environment is a number given. 0: always
    all those CPUs."""

    folds: int = 0
    """Parts that the pictures are cut into, 2 or more, for k-fold cross-validation: as many models are trained one
    after another, each validated on the part that it has not seen, so that every picture is scored once; 0: one model,
    validated on data.val_fraction. The trainings are child runs of one run, which has the score over all pictures, its
    interval, mean and spread, and registers one model (train.final)."""

    seeds: int = 1
    """Times that all of this is trained, with train.seed and the numbers after it: how much a score owes to chance."""

    only_fold: int | None = None
    """With train.folds, the one fold to train now, 0 the first, as one of several jobs that share the folder mlruns/:
    the first of them begins the common run, and the others join it; on several machines a network disk is needed for
    that, one MLflow server is not enough. Once all are done, the same command without this key, and with --resume
    latest, closes it: it trains what is missing, and the final model."""

    final: Literal["auto", "all", "none", "best"] = "auto"
    """Model that folds and seeds register. all: one trained on all pictures, as long as the folds were on average, and
    calibrated as they were; what it is worth is the folds' score. best: the one that validated best. none: nothing.
    auto: all, but best where there are seeds alone."""

    timeout_minutes: float = 10.0
    """Minutes that processes wait for one that gives no sign of life before all end; longer than compiling takes."""

    def __post_init__(self) -> None:
        # A bare `no`, `off` or `on` in a YAML file is a boolean.
        if isinstance(self.mixed_precision, bool):
            require(not self.mixed_precision, "train.mixed_precision", True, "auto, no, bf16 or fp16")
            object.__setattr__(self, "mixed_precision", "no")
        if isinstance(self.compile, bool):
            object.__setattr__(self, "compile", "on" if self.compile else "off")
        for key in ("epochs", "batch_size", "eval_every", "micro_batch_size"):
            value = getattr(self, key)
            alternative = "" if key == "batch_size" else ", or auto"
            require(value == "auto" or value >= 1, f"train.{key}", value, f"1 or more{alternative}")
        require(self.minutes >= 0, "train.minutes", self.minutes, "0 or more")
        require(0 <= self.ema < 1, "train.ema", self.ema, "0 or more and less than 1, such as 0.99")
        require(self.timeout_minutes > 0, "train.timeout_minutes", self.timeout_minutes, "more than 0 minutes")
        named = isinstance(self.patience, str)
        require(named or int(self.patience) >= 0, "train.patience", self.patience, "0 or more, auto or curve")
        require(self.threads == "auto" or self.threads >= 0, "train.threads", self.threads, "0 or more, or auto")
        for key in ("seed", "checkpoint_minutes"):
            require(getattr(self, key) >= 0, f"train.{key}", getattr(self, key), "0 or more")
        require(self.folds == 0 or self.folds >= 2, "train.folds", self.folds, "2 or more, or 0 for none")
        require(self.seeds >= 1, "train.seeds", self.seeds, "1 or more")
        if self.only_fold is not None:
            wanted = f"0 to {self.folds - 1} for train.folds {self.folds}" if self.folds else "train.folds with it"
            require(0 <= self.only_fold < self.folds, "train.only_fold", self.only_fold, wanted)

    @property
    def several(self) -> bool:
        """True where folds or seeds make several trainings of it."""
        return self.folds > 0 or self.seeds > 1
