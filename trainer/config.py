"""Settings of a training run: each with its unit, its default and its reason. The only place with defaults.

Precedence: these defaults, then each `--config FILE` in turn, then `--section.key value` on the command line
(cli.py reads them).
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import yaml

from trainer import IGNORE, InputError, printable, redact_all

REPOSITORY = Path(__file__).resolve().parents[1]
"""Folder that holds this package: the repository, or where pip has installed it."""

INSTALLED = any(REPOSITORY.glob("segtrainer-*.dist-info"))
"""Whether pip has installed the package there, among others. Nothing is written beside its code then."""


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # removed meanwhile; what is opened in it says so
        return Path()


MLRUNS = (_working_folder() if INSTALLED else REPOSITORY) / "mlruns"
"""Folder of everything that runs leave: in the repository, or else in the working directory."""

LONGEST_NAME = 250
"""Characters of the name of a run, an experiment or a model that MLflow's databases take."""

NAME_RULE = f"in one line of at most {LONGEST_NAME} characters"

REFUSED_IN_MODEL_NAMES = "/:%\"'#?&\\"
"""Characters that the address of a model, MLflow's filters or its pages take for something else."""

OTHER, NEAREST = "other", "nearest"
"""Key of data.value_map for all values and colours not named, and the name that maps these to the nearest one."""

ENCODERS = ("auto", "none", "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
"""Values of model.encoder."""

HUB = "hf:"
"""Beginning of a value of model.encoder that names a model of the package transformers."""

ENCODER_STRIDE = 32
"""Multiple that a pretrained encoder wants data.image_size to be."""

MOST_CHANNELS = 16
"""Most bands of a picture."""

NAN = "nan"
"""Key of data.value_map for values that are not finite."""


def install_command(extra: str) -> str:
    """Command of a shell that installs an extra of this program, such as hf."""
    if INSTALLED:
        return f"pip install 'segtrainer[{extra}]'"
    return f"pip install -c launch/constraints.txt -e '.[{extra}]'"


def _require(holds: bool, key: str, value: object, wanted: str) -> None:
    if not holds:
        raise InputError(f"{key}: {value!r} is not possible; give {wanted}")


def _is_name(name: str) -> bool:
    """Return whether MLflow takes the name, and a terminal can show it as it is."""
    return name.strip() != "" and printable(name) == name and "\n" not in name and len(name) <= LONGEST_NAME


def _existing(folder: str) -> Path:
    """Path of a folder; bytes that are no UTF-8 may be written as \\xNN, as messages and `to_yaml` have them."""
    if os.path.exists(folder):
        return Path(folder)
    as_bytes = re.sub(r"\\x([89a-fA-F][0-9a-fA-F])", lambda match: chr(0xDC00 + int(match[1], 16)), folder)
    return Path(as_bytes if os.path.exists(as_bytes) else folder)


def parse_key(key: int | str) -> range | int | None:
    """Values that a key of data.value_map stands for, as a range, or its colour as 0xRRGGBB; None for OTHER and NAN."""
    text = str(key).strip()
    if text in (OTHER, NAN):
        return None
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return int(text[1:], 16)
    numbers = re.fullmatch(r"(-?\d{1,10})(?:\s*-\s*(-?\d{1,10}))?", text)
    if numbers:
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if first <= last:
            return range(first, last + 1)
    raise InputError(
        f"data.value_map: {key!r} is no mask value; give 0 to 255 (or 65535, -9999, in masks of more bits), a range "
        "such as 128-255, a colour such as '#ff0000', `nan`, or `other`"
    )


@dataclass(frozen=True)
class DataConfig:
    root: list[str] | str | None = None
    """Folder with the labelled pictures, or several as "[a,b]". Unset: cats that the program draws itself."""

    classes: list[str] | None = None
    """Names of the foreground classes, the one with id 1 first. Unset: class_names.txt in the data, or else the ids
    found in the masks."""

    layout: Literal[
        "auto", "pets", "coco", "nnunet", "drive", "class_masks", "folders", "voc", "labelme", "csv",
        "roboflow_masks", "coco_file", "via", "label_studio", "label_studio_json", "yolo", "supervisely",
        "cityscapes", "loveda", "isic", "carvana",
    ] = "auto"  # fmt: skip
    """Layout of the folder; auto finds out. folders = images/ and masks/; csv = a list with columns image and
    mask; the others are forms of tools and datasets."""

    unlabelled: str | None = None
    """Folder with pictures without labels, which train too: what the averaged model is sure of in one is the target
    for a changed form of it. auto: those among the pictures of data.root that are not labelled yet. Unset: none."""

    value_map: dict[int | str, str] | None = None
    """Meaning of the values in the mask files, where they are not class ids: "{0: background, 255: cat}". Ranges
    ('128-255') and colours ('#ff0000', of palettes too) are values too, `nan` is what is not finite, and `other` is all
    that is not named. The name `ignore` leaves pixels out; "other: nearest" takes the nearest value that is named."""

    val_fraction: float = 0.2
    """Share of the samples, 0 to 0.5, that validates and never trains. Folders that have
    ImageSets/Segmentation/train.txt and val.txt are split by those instead."""

    fold: int = 0
    """Part of round(1 / val_fraction) parts that validates, 0 the first: for k-fold cross-validation."""

    image_size: int = 256
    """Side in pixels of the square that the network sees; a multiple of 32, or of 2 ** model.depth without a
    pretrained encoder. Masks are predicted and scored at the picture's own size whatever this is."""

    channels: int | Literal["auto"] = "auto"
    """Bands of the pictures, 1 to 16, which all must have. 3: red, green and blue, to which pictures of all kinds are
    converted. Other numbers are read as they are, from TIFFs of as many, greys (1) and RGBA or CMYK (4), and each band
    is scaled by a range of its own. auto: 3, but where the pictures are TIFFs of other bands, as many as these have."""

    view: Literal["auto", "whole", "tiles"] = "auto"
    """whole: each picture is resized to that square. tiles: pictures keep their own pixels, training sees random parts
    of them, as large as the square, and prediction goes over them part by part, for things that would become too thin
    in a squeezed picture. auto: tiles where resizing there and back leaves the masks an IoU below 0.85."""

    scale: float | Literal["auto"] = "auto"
    """With data.view tiles, the share of their side that pictures are shown at, 0.01 to 1: less shows more around each
    pixel, and costs less. auto: so that the thinnest labelled things stay at least 3 pixels wide."""

    keep_aspect: bool | Literal["auto"] = "auto"
    """With data.view whole, fill a picture up to a square before it is resized, instead of squeezing it; what is filled
    counts nowhere. auto: where the longer side of most pictures is more than 1.5 times the shorter one."""

    crop_foreground: float = 0.5
    """With data.view tiles, the share of the training parts, 0 to 1, that are centred near a labelled pixel: of a
    class chosen at random, a rare one more often."""

    augment: Literal["off", "light", "strong"] = "strong"
    """Random changes to training pictures: light = flip, small shifts and colours; strong = also larger turns and
    zooms, blur."""

    copy_paste: float = 0.0
    """Share of the training pictures, 0 to 1, into which labelled objects of another one are pasted, others in each
    epoch. Only with data.augment."""

    sampling: Literal["auto", "even", "foreground"] = "auto"
    """even: each training picture once an epoch. foreground: as many pictures an epoch, but those with a rare class,
    or with any class where most are empty, more often than the others. auto: foreground where a class is in less than
    a tenth of the training pictures."""

    drop_last: bool = False
    """Leave out each epoch's last batch where it is short and not the only one. By default it trains with the weight
    of its true size."""

    workers: int = 2
    """Threads per process that read pictures ahead of the training step; 0 reads them in the training thread."""

    generated_images: int = 200
    """Number of cats that are drawn where data.root is unset."""

    def __post_init__(self) -> None:
        _require(0 <= self.val_fraction <= 0.5, "data.val_fraction", self.val_fraction, "a share from 0 to 0.5")
        folds = round(1 / self.val_fraction) if self.val_fraction else 1
        _require(0 <= self.fold < folds, "data.fold", self.fold, f"0 to {folds - 1} for this data.val_fraction")
        _require(8 <= self.image_size <= 8192, "data.image_size", self.image_size, "8 to 8192 pixels")
        usable = self.channels == "auto" or 1 <= self.channels <= MOST_CHANNELS
        _require(usable, "data.channels", self.channels, f"1 to {MOST_CHANNELS}, or auto")
        usable = self.scale == "auto" or (0.01 <= self.scale <= 1 and round(1000 * self.scale) == 1000 * self.scale)
        _require(usable, "data.scale", self.scale, "0.01 to 1 in thousandths, or auto")
        _require(0 <= self.crop_foreground <= 1, "data.crop_foreground", self.crop_foreground, "a share from 0 to 1")
        _require(0 <= self.copy_paste <= 1, "data.copy_paste", self.copy_paste, "a share from 0 to 1")
        _require(self.workers >= 0, "data.workers", self.workers, "0 or more")
        _require(self.generated_images >= 2, "data.generated_images", self.generated_images, "2 or more")
        for key in self.value_map or ():
            parse_key(key)
        roots = [self.root] if isinstance(self.root, str) else self.root
        named = roots is None or (len(roots) > 0 and "" not in roots)
        _require(self.unlabelled != "", "data.unlabelled", "", "a folder, auto, or leave it out")
        _require(named, "data.root", self.root, "a folder, or leave it out")
        if self.classes is not None:
            unique = len(set(self.classes)) == len(self.classes)
            _require(0 < len(self.classes) < IGNORE - 1 and unique, "data.classes", self.classes, "different names")

    @property
    def roots(self) -> list[Path]:
        """Data folders; empty where cats are generated."""
        if self.root is None:
            return []
        return [_existing(root) for root in ([self.root] if isinstance(self.root, str) else self.root)]

    @property
    def unlabelled_folder(self) -> Path | None:
        """Folder of data.unlabelled; None where it is unset or auto."""
        return None if self.unlabelled in (None, "auto") else _existing(str(self.unlabelled))


@dataclass(frozen=True)
class ModelConfig:
    width: int | Literal["auto"] = "auto"
    """Channels of the UNet's first level; each level down has twice as many. Cost grows with its square. auto: that of
    model.init, or else 16 above a pretrained encoder; without one 32, but 16 where fewer than 200 pictures train: they
    gain more by more steps."""

    depth: int = 4
    """Number of times that the UNet halves the image."""

    norm: Literal["batch", "group"] = "batch"
    """Normalisation after each convolution: batch, or group (8 channels a group; independent of the batch size)."""

    encoder: str = "auto"
    """Way down of the UNet. none: the plain one, of model.depth, which learns from nothing; efficientnet-lite0, -lite1
    or -lite2: pretrained on ImageNet, for a data.image_size that is a multiple of 32. hf:FOLDER or hf:ID: a model of
    Hugging Face in safetensors, such as DINOv2, DINOv3, ConvNeXt, Swin or ResNet, from a folder or the hub cache, where
    `hf download ID` puts it; for the same sizes, by the extra `hf`. Large ones learn best with a small
    optim.encoder_lr, or with model.freeze. auto: that of model.init, or else efficientnet-lite2 where data.image_size
    and model.depth allow it."""

    freeze: bool = False
    """Keep the weights of the pretrained encoder as they are, and train the way up alone."""

    init: str | None = None
    """Start from the weights of another model of the same shape: a registry URI such as models:/cat-unet@champion, or a
    model folder. Of a model of other classes, all but the last layer. Unset: random."""

    def __post_init__(self) -> None:
        usable = self.width == "auto" or (self.width > 0 and self.width % 8 == 0)
        _require(usable, "model.width", self.width, "a multiple of 8, or auto")
        _require(1 <= self.depth <= 7, "model.depth", self.depth, "1 to 7")
        usable = self.encoder in ENCODERS or self.encoder.removeprefix(HUB) not in ("", self.encoder)
        wanted = f"one of {', '.join(ENCODERS)}, or {HUB} and a folder or an ID, such as {HUB}facebook/dinov2-small"
        _require(usable, "model.encoder", self.encoder, wanted)

    @property
    def stride(self) -> int:
        """Pixels of which data.image_size must be a multiple."""
        return ENCODER_STRIDE if self.encoder.startswith(("efficientnet", HUB)) else 2**self.depth


@dataclass(frozen=True)
class LossConfig:
    reduction: Literal["image", "batch"] = "image"
    """Soft Dice per image and class, averaged (image), or of the pixels of the whole batch together (batch)."""

    cross_entropy: float = 0.5
    """Weight of the cross-entropy that is added to Dice loss; 0 for Dice alone."""

    class_weights: list[float] | Literal["auto", "balanced", "none"] | None = "auto"
    """Weights of the classes in the cross-entropy, the background's first. balanced: 1 / sqrt(share of the pixels).
    none: all alike; Dice counts each class alike anyway. auto: balanced where there are several classes, and one has
    less than 1 % of the pixels."""

    smooth: float = 1.0
    """Pixels added to both sides of the Dice ratio, so that an empty mask has a defined loss."""

    def __post_init__(self) -> None:
        _require(self.cross_entropy >= 0, "loss.cross_entropy", self.cross_entropy, "0 or more")
        weights = self.class_weights if isinstance(self.class_weights, list) else [1.0]
        usable = min(weights, default=0) >= 0 and max(weights, default=0) > 0
        wanted = "a weight of 0 or more for each class, or auto, balanced or none"
        _require(usable, "loss.class_weights", self.class_weights, wanted)
        if self.class_weights == "none":
            object.__setattr__(self, "class_weights", None)
        _require(self.smooth > 0, "loss.smooth", self.smooth, "more than 0 pixels")


@dataclass(frozen=True)
class OptimConfig:
    lr: float = 2e-3
    """Peak learning rate of AdamW, reached after the warm-up, then falling to 0 along a cosine."""

    encoder_lr: float = 0.1
    """Learning rate of a pretrained encoder, as a share of optim.lr, 0 to 1."""

    warmup: float = 0.05
    """Share of all steps over which the learning rate rises from 0, from 0 to 1."""

    weight_decay: float = 0.01
    """AdamW's weight decay, per unit of learning rate; on convolution kernels only."""

    clip_norm: float = 1.0
    """Largest norm of the gradient; longer ones are scaled down to it. 0 leaves them as they are."""

    def __post_init__(self) -> None:
        _require(0 < self.lr < 10, "optim.lr", self.lr, "more than 0, usually 0.0001 to 0.003")
        _require(0 <= self.encoder_lr <= 1, "optim.encoder_lr", self.encoder_lr, "a share from 0 to 1")
        _require(0 <= self.warmup <= 1, "optim.warmup", self.warmup, "a share from 0 to 1")
        _require(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "0 or more")
        _require(self.clip_norm >= 0, "optim.clip_norm", self.clip_norm, "0 or more")


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
    the first of them begins the common run, and the others join it. Once all are done, the same command without this
    key, and with --resume latest, closes it: it trains what is missing, and the final model."""

    final: Literal["auto", "all", "none", "best"] = "auto"
    """Model that folds and seeds register. all: one trained on all pictures, as long as the folds were in the mean, and
    calibrated as they were; what it is worth is the folds' score. best: the one that validated best. none: nothing.
    auto: all, but best where there are seeds alone."""

    timeout_minutes: float = 10.0
    """Minutes that processes wait for one that gives no sign of life before all end; longer than compiling takes."""

    def __post_init__(self) -> None:
        # A bare `no`, `off` or `on` in a YAML file is a boolean.
        if isinstance(self.mixed_precision, bool):
            _require(not self.mixed_precision, "train.mixed_precision", True, "auto, no, bf16 or fp16")
            object.__setattr__(self, "mixed_precision", "no")
        if isinstance(self.compile, bool):
            object.__setattr__(self, "compile", "on" if self.compile else "off")
        for key in ("epochs", "batch_size", "eval_every", "micro_batch_size"):
            value = getattr(self, key)
            alternative = "" if key == "batch_size" else ", or auto"
            _require(value == "auto" or value >= 1, f"train.{key}", value, f"1 or more{alternative}")
        _require(self.minutes >= 0, "train.minutes", self.minutes, "0 or more")
        _require(0 <= self.ema < 1, "train.ema", self.ema, "0 or more and less than 1, such as 0.99")
        _require(self.timeout_minutes > 0, "train.timeout_minutes", self.timeout_minutes, "more than 0 minutes")
        named = isinstance(self.patience, str)
        _require(named or int(self.patience) >= 0, "train.patience", self.patience, "0 or more, auto or curve")
        _require(self.threads == "auto" or self.threads >= 0, "train.threads", self.threads, "0 or more, or auto")
        for key in ("seed", "checkpoint_minutes"):
            _require(getattr(self, key) >= 0, f"train.{key}", getattr(self, key), "0 or more")
        _require(self.folds == 0 or self.folds >= 2, "train.folds", self.folds, "2 or more, or 0 for none")
        _require(self.seeds >= 1, "train.seeds", self.seeds, "1 or more")
        if self.only_fold is not None:
            wanted = f"0 to {self.folds - 1} for train.folds {self.folds}" if self.folds else "train.folds with it"
            _require(0 <= self.only_fold < self.folds, "train.only_fold", self.only_fold, wanted)

    @property
    def several(self) -> bool:
        """True where folds or seeds make several trainings of it."""
        return self.folds > 0 or self.seeds > 1


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
            _require(name is None or _is_name(name), f"tracking.{key}", name, f"a name, {NAME_RULE}")
        _require(self.watch >= 0, "tracking.watch", self.watch, "0 or more")
        usable = self.parent is None or re.fullmatch(r"[\w.-]{1,100}", Path(self.parent).name)
        _require(bool(usable), "tracking.parent", self.parent, "the uid or the run folder of a run")

    @property
    def usage(self) -> bool:
        """True where it is recorded what the machines use."""
        return self.enabled and self.system_metrics


@dataclass(frozen=True)
class RegistryConfig:
    name: str | None = "auto"
    """Registered model that the result becomes a version of; null registers nothing. auto: the name of the data
    folder."""

    promote: Literal["auto", "never", "force"] = "auto"
    """Promotion of the new version to `champion`: auto, if it scores better than the present one on those of this
    run's validation pictures that trained neither of them; force, in any case; never."""

    margin: float = 0.0
    """Least gain of mIoU over the champion for which it is replaced. Below 0.001 it is that: an equal model replaces
    none."""

    max_class_drop: float = 0.05
    """Most that the IoU of a class may fall by, compared with the champion's, for it to be replaced."""

    eval_root: str | None = None
    """Folder with labelled pictures that train no model: models are compared on them where fewer than 2 of the
    validation pictures are left, because one of the models has trained on the others, or where it is not known which
    pictures have trained it. Unset: such models are not compared, and the champion stays."""

    def __post_init__(self) -> None:
        _require(0 <= self.margin < 1, "registry.margin", self.margin, "0 or more, and less than 1")
        _require(0 <= self.max_class_drop <= 1, "registry.max_class_drop", self.max_class_drop, "0 to 1")
        name = "model" if self.name is None else self.name
        usable = _is_name(name) and not set(name) & set(REFUSED_IN_MODEL_NAMES) and name == name.strip(". ")
        wanted = f"a name without / or : or one of {REFUSED_IN_MODEL_NAMES[2:]}, {NAME_RULE}"
        _require(usable, "registry.name", self.name, wanted)


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
        _require(teacher, "train.ema", self.train.ema, "more than 0, such as 0.99, with data.unlabelled")
        multiple = self.model.stride
        size = self.data.image_size
        near = max(multiple, round(size / multiple) * multiple)
        reason = "2 ** model.depth" if multiple == 2**self.model.depth else f"for model.encoder {self.model.encoder}"
        _require(
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
            _require(lone, "train.final", train.final, "train.folds or train.seeds with it")
            return
        _require(self.tracking.parent is None, "tracking.parent", self.tracking.parent, "no train.folds or train.seeds")
        if not train.folds:
            return
        wanted = f"it without train.folds; to train that fold alone: --train.only_fold {data.fold}"
        _require(data.fold == 0, "data.fold", data.fold, wanted)
        usual = data.val_fraction in (DataConfig.val_fraction, 1 / train.folds)
        _require(
            usual, "data.val_fraction", data.val_fraction, f"it without train.folds {train.folds}, which decide it"
        )


def data_config(**keys: Any) -> DataConfig:
    """Make the settings of the data alone, checked as those of train.py are; value_map may be YAML text."""
    value_map = keys.get("value_map")
    if isinstance(value_map, str):
        try:
            keys["value_map"] = yaml.safe_load(value_map)
        except yaml.YAMLError:
            keys["value_map"] = None
        entries = keys["value_map"]
        named = isinstance(entries, dict) and all(isinstance(name, str) for name in entries.values())
        _require(named, "data.value_map", value_map, "values and names, such as {0: background, 255: cat}")
    classes = keys.get("classes")
    if classes and len(classes) == 1 and classes[0].startswith("["):  # written as in training
        with suppress(yaml.YAMLError):
            keys["classes"] = [f"{name}" for name in yaml.safe_load(classes[0])]
    layouts = get_args(get_type_hints(DataConfig)["layout"])
    _require(keys.get("layout", "auto") in layouts, "data.layout", keys.get("layout"), f"one of {', '.join(layouts)}")
    return DataConfig(**keys)


def flatten(config: Config) -> dict[str, Any]:
    """Settings by dotted keys: {"resume": ..., "data.root": ..., "train.epochs": ...}."""
    return dotted(dataclasses.asdict(config))


def dotted(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted keys, from the sections of a YAML file."""
    flat: dict[str, Any] = {}
    for name, part in sections.items():
        flat |= {f"{name}.{key}": value for key, value in part.items()} if isinstance(part, Mapping) else {name: part}
    return flat


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of a YAML file, from values by dotted keys: the reverse of `dotted`."""
    sections: dict[str, Any] = {}
    for name, value in flat.items():
        section, separator, key = name.partition(".")
        if separator:
            sections.setdefault(section, {})[key] = value
        else:
            sections[name] = value
    return sections


def to_yaml(config: Config) -> str:
    """All settings as YAML without secrets, for a new run: `--config` reads the same settings from it."""
    settings = dataclasses.asdict(dataclasses.replace(config, resume="never"))
    text = yaml.safe_dump(redact_all(settings), sort_keys=False)
    return re.sub(
        r"(?<!\\)\\uDC([89A-F][0-9A-F])", r"\\\\x\1", text
    )  # a byte that is no UTF-8, nor YAML; see _existing
