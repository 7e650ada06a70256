"""Settings of the loss function, loss.*."""

from dataclasses import dataclass
from typing import Literal

from trainer.config.check import require


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
        require(self.cross_entropy >= 0, "loss.cross_entropy", self.cross_entropy, "0 or more")
        weights = self.class_weights if isinstance(self.class_weights, list) else [1.0]
        usable = min(weights, default=0) >= 0 and max(weights, default=0) > 0
        wanted = "a weight of 0 or more for each class, or auto, balanced or none"
        require(usable, "loss.class_weights", self.class_weights, wanted)
        if self.class_weights == "none":
            object.__setattr__(self, "class_weights", None)
        require(self.smooth > 0, "loss.smooth", self.smooth, "more than 0 pixels")
