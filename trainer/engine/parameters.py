"""Parameters of a network in the order and the groups of the optimizer."""

from torch import nn

from trainer.model.unet import EncoderUNet, UNet

DECAYS = (True, False)
"""Whether the parameters of a group decay: convolution kernels do, biases and norms do not; two groups of each part."""


def parameter_groups(network: UNet | EncoderUNet) -> list[list[nn.Parameter]]:
    """Groups of parameters, two by two as DECAYS says; those of a pretrained encoder come last.

    Frozen parameters are in no group.
    """
    encoder = set(network.encoder.parameters()) if isinstance(network, EncoderUNet) else set[nn.Parameter]()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    parts = [[one for one in trained if (one in encoder) == inside] for inside in (False, True)]
    return [[one for one in part if (one.ndim > 1) == decays] for part in parts if part for decays in DECAYS]


def freeze_encoder(network: UNet | EncoderUNet, frozen: bool) -> None:
    """Take the weights of a pretrained encoder out of training where `frozen`; the plain UNet has none."""
    if frozen and isinstance(network, EncoderUNet):
        network.encoder.requires_grad_(False)
