"""Floating point operations of a network."""

import torch
from torch import Tensor, nn

from trainer.model.unet import EncoderUNet, UNet


@torch.no_grad()
def training_flop(network: UNet | EncoderUNet, side: int) -> int:
    """Count the floating point operations of the forward and backward pass of one image of side x side pixels.

    Counted on the smallest image that the network takes, and scaled by the number of pixels: torch's own counter needs
    a second before it counts anything.
    """
    counted = 0

    def count(layer: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        nonlocal counted
        assert isinstance(layer.weight, Tensor)
        # Each weight meets each pixel of the result once, or of the input where a transposed convolution spreads it.
        if isinstance(layer, nn.Linear):
            pixels = result.numel() // len(layer.weight)
        else:
            pixels = (given[0] if isinstance(layer, nn.ConvTranspose2d) else result)[0, 0].numel()
        counted += 2 * layer.weight.numel() * pixels  # a multiplication and an addition

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    training, smallest = network.training, network.stride
    network.eval()(torch.zeros(1, network.input_channels, smallest, smallest, device=layers[0].weight.device))
    network.train(training)
    for hook in hooks:
        hook.remove()
    pixels = (side // smallest) ** 2
    return int(3 * counted * pixels)  # the backward pass is two products where the forward pass is one
