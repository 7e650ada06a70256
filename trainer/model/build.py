"""The model that training starts with."""

import torch

from trainer import InputError
from trainer.config import Config
from trainer.drawing.palette import palette
from trainer.model.segmenter import Contract, Segmenter
from trainer.model.unet import start_from_shares


def make_segmenter(
    config: Config,
    names: tuple[str, ...],
    shares: list[float],
    digest: str,
    commit: str,
    init: Segmenter | None = None,
) -> Segmenter:
    """A new model for classes `names`, or one that starts from the weights of `init`.

    Of a model of other classes all but the last layer is taken.

    `shares`: of each class in the labelled pixels that train; `digest` and `commit` go into its contract. Raises
    InputError where `init` is of another shape.
    """
    assert config.model.width != "auto"  # settled once the data are known
    torch.manual_seed(config.train.seed)
    contract = Contract(
        class_names=names,
        colours=tuple((int(r), int(g), int(b)) for r, g, b in palette()[: len(names)]),
        image_size=config.data.image_size,
        width=config.model.width,
        depth=config.model.depth,
        norm=config.model.norm,
        dataset_digest=digest,
        commit=commit,
    )
    segmenter = Segmenter(contract)
    if init is None:
        start_from_shares(segmenter.network, shares)
        return segmenter
    for name in ("width", "depth", "norm"):
        theirs, ours = getattr(init.contract, name), getattr(contract, name)
        if theirs != ours:
            raise InputError(
                f"model.init: {config.model.init} has {name} {theirs}, this run {ours}; make them the same"
            )
    weights = init.state_dict()
    if init.contract.class_names != contract.class_names:
        start_from_shares(segmenter.network, shares)  # the last layer is about the classes, the others about pictures
        weights |= {name: value for name, value in segmenter.state_dict().items() if name.startswith("network.last.")}
    segmenter.load_state_dict(weights)
    return segmenter
