"""Settings of a training run: each with its unit, its default and its reason. The only place with defaults.

Section `x.*` of the keys is in the file `x.py`. Precedence: these defaults, then each `--config FILE` in turn, then
`--section.key value` on the command line (cli.py reads them).
"""

from trainer.config.check import LONGEST_NAME
from trainer.config.config import Config
from trainer.config.data import MOST_CHANNELS, NAN, NEAREST, OTHER, DataConfig, data_config, parse_key
from trainer.config.keys import dotted, flatten, nested, to_yaml
from trainer.config.loss import LossConfig
from trainer.config.model import ENCODER_STRIDE, ENCODERS, HUB, ModelConfig
from trainer.config.optim import OptimConfig
from trainer.config.places import INSTALLED, MLRUNS, REPOSITORY, install_command
from trainer.config.registry import REFUSED_IN_MODEL_NAMES, RegistryConfig
from trainer.config.tracking import TrackingConfig
from trainer.config.train import TrainConfig

__all__ = [
    "ENCODERS",
    "ENCODER_STRIDE",
    "HUB",
    "INSTALLED",
    "LONGEST_NAME",
    "MLRUNS",
    "MOST_CHANNELS",
    "NAN",
    "NEAREST",
    "OTHER",
    "REFUSED_IN_MODEL_NAMES",
    "REPOSITORY",
    "Config",
    "DataConfig",
    "LossConfig",
    "ModelConfig",
    "OptimConfig",
    "RegistryConfig",
    "TrackingConfig",
    "TrainConfig",
    "data_config",
    "dotted",
    "flatten",
    "install_command",
    "nested",
    "parse_key",
    "to_yaml",
]
