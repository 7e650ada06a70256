"""A distributed, experiment-tracking trainer for semantic segmentation.

Shapes, wherever they appear in this package:

    B images in a batch, C channels of the network's output, K classes with the background, H and W pixels.

    image   uint8 RGB in [0, 255]; [H, W, 3] in numpy, [3, H, W] in torch
    mask    uint8 class ids [H, W]; 0 is background, 255 (`IGNORE`) is counted nowhere
    logits  float [B, C, H, W], before sigmoid or softmax; C = 1 for one foreground class, else C = K
"""

IGNORE = 255
"""The mask value of pixels that nobody can or wants to label: outside the loss, outside every metric."""


class InputError(ValueError):
    """Something a user gave is wrong: a file, a value, a flag. The text names it and says how to mend it.

    The entry points print the text without a traceback and exit with code 2.
    """
