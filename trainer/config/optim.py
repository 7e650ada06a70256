"""Settings of the optimizer, optim.*."""

from dataclasses import dataclass

from trainer.config.check import require


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
        require(0 < self.lr < 10, "optim.lr", self.lr, "more than 0, usually 0.0001 to 0.003")
        require(0 <= self.encoder_lr <= 1, "optim.encoder_lr", self.encoder_lr, "a share from 0 to 1")
        require(0 <= self.warmup <= 1, "optim.warmup", self.warmup, "a share from 0 to 1")
        require(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "0 or more")
        require(self.clip_norm >= 0, "optim.clip_norm", self.clip_norm, "0 or more")
