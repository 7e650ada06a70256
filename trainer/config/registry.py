"""Settings of the registered model, registry.*."""

from dataclasses import dataclass
from typing import Literal

from trainer.config.check import NAME_RULE, is_name, require

REFUSED_IN_MODEL_NAMES = "/:%\"'#?&\\"
"""Characters that the address of a model, MLflow's filters or its pages take for something else."""


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
        require(0 <= self.margin < 1, "registry.margin", self.margin, "0 or more, and less than 1")
        require(0 <= self.max_class_drop <= 1, "registry.max_class_drop", self.max_class_drop, "0 to 1")
        name = "model" if self.name is None else self.name
        usable = is_name(name) and not set(name) & set(REFUSED_IN_MODEL_NAMES) and name == name.strip(". ")
        wanted = f"a name without / or : or one of {REFUSED_IN_MODEL_NAMES[2:]}, {NAME_RULE}"
        require(usable, "registry.name", self.name, wanted)
