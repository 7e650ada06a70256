"""Model that training starts with: new, or from the weights of another one."""

import torch

from trainer import InputError
from trainer.config import ModelConfig
from trainer.data.levels import Levels
from trainer.drawing.palette import palette
from trainer.model.contract import check_contract
from trainer.model.encoders import IMAGENET_MEAN, IMAGENET_STD
from trainer.model.segmenter import Contract, Segmenter
from trainer.model.unet import EncoderUNet, set_class_prior


def make_contract(
    model: ModelConfig,
    image_size: int,
    names: tuple[str, ...],
    digest: str,
    commit: str,
    levels: Levels | None = None,
) -> Contract:
    """Contract of a new model for K class `names`.

    `digest` and `levels` of the dataset and `commit` of the program go into it. Raises InputError where no program
    would read it back: before training, not after.
    """
    assert model.width != "auto"  # resolved once the data are known
    assert model.encoder != "auto"
    plain = model.encoder == "none"
    contract = Contract(
        class_names=names,
        colours=tuple((int(r), int(g), int(b)) for r, g, b in palette()[: len(names)]),
        image_size=image_size,
        width=model.width,
        depth=model.depth,
        norm=model.norm,
        encoder=model.encoder,
        mean=Contract.mean if plain else IMAGENET_MEAN,
        std=Contract.std if plain else IMAGENET_STD,
        levels=None if levels is None else (levels.low, levels.high),
        dataset_digest=digest,
        commit=commit,
    )
    check_contract(contract)
    return contract


def make_segmenter(
    contract: Contract, shares: list[float], seed: int, init: Segmenter | None = None, init_name: str | None = None
) -> Segmenter:
    """Make a model with random weights of `seed`, or with those of `init`, which `init_name` names in errors.

    A pretrained encoder has its own weights.

    Of a model of other classes all but the last layer is taken. `shares`: share of each class in the labelled pixels
    that train. Raises InputError where `init` is of another shape.
    """
    torch.manual_seed(seed)
    segmenter = Segmenter(contract)
    if init is None:
        if isinstance(segmenter.network, EncoderUNet):
            segmenter.network.encoder.load_pretrained(contract.encoder)
        set_class_prior(segmenter.network, shares)
        return segmenter
    for name in ("encoder", "width", "depth", "norm"):
        theirs, ours = getattr(init.contract, name), getattr(contract, name)
        if theirs != ours:
            raise InputError(f"model.init: {init_name} has {name} {theirs}, this run {ours}; make them the same")
    weights = init.state_dict()
    if init.contract.class_names != contract.class_names:
        set_class_prior(segmenter.network, shares)  # the last layer is about the classes, the others about images
        weights |= {name: value for name, value in segmenter.state_dict().items() if name.startswith("network.last.")}
    segmenter.load_state_dict(weights)
    return segmenter
