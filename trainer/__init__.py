"""A distributed, experiment-tracking trainer for semantic segmentation.

    from trainer import load_model

    model = load_model("models:/cat-unet@champion")
    result = model.predict("photograph.jpg")
    result.mask, result.overlay()

Shapes, wherever they appear in this package:

    B images in a batch, C channels of the network's output, K classes with the background, H and W pixels.

    image   uint8 RGB in [0, 255]; [H, W, 3] in numpy, [3, H, W] in torch
    mask    uint8 class ids [H, W]; 0 is background, 255 (`IGNORE`) is counted nowhere
    logits  float [B, C, H, W], before sigmoid or softmax; C = 1 for one foreground class, else C = K
"""

import importlib
import os
import re
from typing import Any

IGNORE = 255
"""Mask value of pixels that are left out of the loss and of every metric."""

EXIT_INPUT = 2
"""Exit code for wrong usage, settings or data, found before any work."""

SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""Environment variables whose values are never shown."""


class InputError(ValueError):
    """Invalid input of a user: a file, a value or a flag. The text names it and gives the fix.

    The entry points print the text without a traceback and exit with code 2.
    """

    def __init__(self, text: str) -> None:
        super().__init__(redact(text))


def load_model(uri: str) -> Any:
    """Load a model to predict with: models:/name@alias, models:/name/3, runs:/ID/model, or a local folder.

    Returns a `trainer.inference.model.Model`. Raises InputError where it cannot be loaded.
    """
    # By name, since this package lies below all its rooms: `import trainer` must load none of them.
    return importlib.import_module("trainer.tracking.load").load_model(str(uri))


def redact(text: str) -> str:
    """Remove passwords and tokens from a text that is shown, stored or sent.

    Removed are the `user:password@` of addresses, their `token=` and the like, and the values of SECRET_VARIABLES.
    """
    # One slash too: an address passed through Path has lost the other. models:/name@alias is no address of a host.
    text = re.sub(r"\b(?!models:)([a-zA-Z][\w+.-]*:/{1,3})[^/\s'\"]*@", r"\1", text)
    text = re.sub(r"(?i)\b((?:\w*token|password|secret|sig|signature)=)[^&\s'\"]+", r"\1***", text)
    for name in SECRET_VARIABLES:
        secret = os.environ.get(name, "")
        if len(secret) >= 6:  # replacing a shorter one would garble the text, and no server should accept it
            text = text.replace(secret, "***")
    return text
