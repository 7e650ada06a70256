"""Features by which images are compared: what the network's lowest level says about the whole image."""

import torch
from torch import Tensor

from trainer.model.segmenter import Segmenter
from trainer.model.unet import EncoderUNet, UNet


@torch.inference_mode()
def pooled_features(segmenter: Segmenter, images: Tensor) -> Tensor:
    """Mean features of images, float32 [B, F] on the CPU, from levels [B, input_channels, S, S] in 0..255."""
    levels = images.to(segmenter.mean.device)
    return _lowest(segmenter.network, segmenter.normalise(levels)).float().mean(dim=(2, 3)).cpu()


def _lowest(network: UNet | EncoderUNet, images: Tensor) -> Tensor:
    """Features [B, F, h, w] of the lowest level of a network's encoder."""
    if isinstance(network, EncoderUNet):
        maps: list[Tensor] = network.encoder(images)
        return maps[-1]
    features: Tensor = network.first(images)
    for down in network.down:
        features = down(features)
    return features
