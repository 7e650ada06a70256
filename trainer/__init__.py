"""A distributed, experiment-tracking trainer for semantic segmentation.

Shapes, wherever they appear in this package:

    B images in a batch, C channels of the network's output, K classes with the background, H and W pixels.

    image   uint8 RGB in [0, 255]; [H, W, 3] in numpy, [3, H, W] in torch
    mask    uint8 class ids [H, W]; 0 is background, 255 (`IGNORE`) is counted nowhere
    logits  float [B, C, H, W], before sigmoid or softmax; C = 1 for one foreground class, else C = K
"""

import os
import re

IGNORE = 255
"""The mask value of pixels that nobody can or wants to label: outside the loss, outside every metric."""

EXIT_INPUT = 2
"""Exit code for wrong usage, settings or data, found before any work."""

SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


class InputError(ValueError):
    """Something a user gave is wrong: a file, a value, a flag. The text names it and says how to mend it.

    The entry points print the text without a traceback and exit with code 2.
    """

    def __init__(self, text: str) -> None:
        super().__init__(redact(text))


def redact(text: str) -> str:
    """The text without passwords and tokens: for whatever is shown, kept or sent.

    Left out are the `user:password@` of addresses, their `token=` and the like, and the values of SECRET_VARIABLES.
    """
    # One slash too: that is what is left of an address that was taken for a path. models:/name@alias is none.
    text = re.sub(r"\b(?!models:)([a-zA-Z][\w+.-]*:/{1,3})[^/\s'\"]*@", r"\1", text)
    text = re.sub(r"(?i)\b((?:\w*token|password|secret|sig|signature)=)[^&\s'\"]+", r"\1***", text)
    for name in SECRET_VARIABLES:
        secret = os.environ.get(name, "")
        if len(secret) >= 6:  # a shorter one would take half of the text with it, and no server should accept it
            text = text.replace(secret, "***")
    return text
