"""Choice of the encoder."""

import pytest

from trainer.cli import parse
from trainer.model.pretrained import choose_encoder


@pytest.mark.parametrize(
    ("arguments", "size", "encoder", "reason"),
    [
        ("", 64, "efficientnet-lite2", "model.encoder efficientnet-lite2, pretrained"),
        ("", 256, "efficientnet-lite2", "model.encoder efficientnet-lite2, pretrained"),
        ("", 80, "none", "model.encoder none: data.image_size 80 is not a multiple of 32, as 64 is"),
        ("", 48, "none", "model.encoder none: data.image_size 48 is not a multiple of 32, as 64 is"),
        ("", 32, "none", "model.encoder none: data.image_size 32 would be one pixel at its bottom"),
        ("--model.depth 3", 64, "none", "model.encoder none: model.depth 3 is for the plain UNet"),
        ("--model.encoder efficientnet-lite0", 32, "efficientnet-lite0", ""),
        ("--model.encoder none", 128, "none", ""),
    ],
)
def test_encoder_is_the_pretrained_one_where_it_fits(arguments: str, size: int, encoder: str, reason: str) -> None:
    model = parse(["--data.image_size", f"{size}", *arguments.split()]).model
    found, said = choose_encoder(model, size)
    assert found == encoder
    assert said.startswith(reason)
    assert bool(said) == bool(reason)
