"""Model that training starts with: new, or from the weights of another one."""

from typing import Any

import torch

from trainer import InputError
from trainer.config import HUB, ModelConfig
from trainer.data.bands import BandLevels
from trainer.data.image_io import AnyLevels
from trainer.data.levels import Levels
from trainer.data.view import View
from trainer.drawing.palette import palette
from trainer.model import hub_folder, huggingface
from trainer.model.contract import check_contract
from trainer.model.encoders import IMAGENET_MEAN, IMAGENET_STD, EfficientNetLite, adapt_channels
from trainer.model.hub_geometry import encoder_settings
from trainer.model.hub_settings import with_bands
from trainer.model.pretrained import find_weights
from trainer.model.segmenter import Contract, Segmenter
from trainer.model.unet import EncoderUNet, set_class_prior


def make_contract(
    model: ModelConfig,
    view: View,
    names: tuple[str, ...],
    digest: str,
    commit: str,
    levels: AnyLevels | None = None,
    init: Contract | None = None,
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> Contract:
    """Contract of a new model for K class `names`.

    `digest`, `levels` and, of other bands than RGB, `normalisation` of the dataset and `commit` of the program go into
    it. `init`: contract of the model of model.init, which brings the settings of its own encoder of hf:. Raises
    InputError where no program would read it back: before training, not after.
    """
    assert model.width != "auto"  # resolved once the data are known
    assert model.encoder != "auto"
    fields = _encoder_fields(model.encoder, init, view.channels)
    if normalisation is not None:  # no network was trained with these bands
        fields |= {"mean": normalisation[0], "std": normalisation[1]}
    contract = Contract(
        class_names=names,
        colours=tuple((int(r), int(g), int(b)) for r, g, b in palette()[: len(names)]),
        image_size=view.size,
        view="tiles" if view.tiles else "whole",
        scale=view.scale,
        keep_aspect=view.keep_aspect,
        width=model.width,
        depth=model.depth,
        norm=model.norm,
        **fields,
        input_channels=view.channels,
        levels=(levels.low, levels.high) if isinstance(levels, Levels) else None,
        band_levels=tuple((one.low, one.high) for one in levels.bands) if isinstance(levels, BandLevels) else None,
        dataset_digest=digest,
        commit=commit,
    )
    check_contract(contract)
    return contract


def _encoder_fields(encoder: str, init: Contract | None, channels: int) -> dict[str, Any]:
    """Fields of the contract that a value of model.encoder decides, for images of so many bands."""
    if encoder == "none":
        return {"encoder": encoder}
    if not encoder.startswith(HUB):
        return {"encoder": encoder, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    names = ("encoder", "encoder_config", "encoder_library", "encoder_licence", "mean", "std")
    if init is not None and init.encoder == encoder:
        fields = {name: getattr(init, name) for name in names}
        return fields | {"encoder_config": with_bands(init.encoder_config, channels)}
    folder = hub_folder.find_folder(encoder)
    mean, std = hub_folder.read_normalisation(folder)
    return {
        "encoder": HUB + folder.name,
        "encoder_config": encoder_settings(folder.path / "config.json", hub_folder.read_config(folder), channels),
        "encoder_library": huggingface.library(),
        "encoder_licence": hub_folder.read_licence(folder),
        "mean": mean,
        "std": std,
    }


def make_segmenter(
    contract: Contract,
    shares: list[float],
    seed: int,
    init: Segmenter | None = None,
    init_name: str | None = None,
    encoder: str | None = None,
) -> Segmenter:
    """Make a model with random weights of `seed`, or with those of `init`, which `init_name` names in errors.

    A pretrained encoder has its own weights, one of hf: those of the folder that `encoder`, the value of model.encoder,
    names.

    Of a model of other classes all but the last layer is taken; of one for other bands the layers that read the image
    are adapted. `shares`: share of each class in the labelled pixels that train. Raises InputError where `init` is of
    another shape.
    """
    torch.manual_seed(seed)
    segmenter = Segmenter(contract)
    if init is None:
        if isinstance(segmenter.network, EncoderUNet):
            _load_pretrained(segmenter.network.encoder, encoder or contract.encoder)
        set_class_prior(segmenter.network, shares)
        return segmenter
    their_config = with_bands(init.contract.encoder_config, contract.input_channels)
    if their_config != contract.encoder_config and init.contract.encoder == contract.encoder:
        raise InputError(f"model.init: {init_name} has another {contract.encoder}; give --model.encoder auto to use it")
    same_network = contract.encoder_config != "" and their_config == contract.encoder_config
    for name in ("width", "norm") if same_network else ("encoder", "width", "depth", "norm"):
        theirs, ours = getattr(init.contract, name), getattr(contract, name)
        if theirs != ours:
            raise InputError(f"model.init: {init_name} has {name} {theirs}, this run {ours}; make them the same")
    weights = init.state_dict()
    for name, value in (
        segmenter.state_dict().items() if init.contract.input_channels != contract.input_channels else ()
    ):
        if value.ndim == 4 and value.shape[1] != weights[name].shape[1]:
            weights[name] = adapt_channels(weights[name], init.contract.input_channels, contract.input_channels)
    if init.contract.class_names != contract.class_names:
        set_class_prior(segmenter.network, shares)  # the last layer is about the classes, the others about images
        weights |= {name: value for name, value in segmenter.state_dict().items() if name.startswith("network.last.")}
    segmenter.load_state_dict(weights)
    return segmenter


def _load_pretrained(encoder: EfficientNetLite | huggingface.HubEncoder, setting: str) -> None:
    if isinstance(encoder, EfficientNetLite):
        encoder.load_pretrained(find_weights(setting))
    else:
        encoder.load_pretrained(hub_folder.find_folder(setting).path)
