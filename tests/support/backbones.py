"""Folders of Hugging Face models: small networks with random weights, saved as the hub has them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

CARD = "---\nlicense: {}\n---\n# A model\n"

SMALL: dict[str, dict[str, Any]] = {
    "convnext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]},
    "convnextv2": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]},
    "dinov3_convnext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]},
    "swin": {"embed_dim": 8, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 4], "window_size": 4, "image_size": 64},
    "swinv2": {"embed_dim": 8, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 4], "window_size": 4, "image_size": 64},
    "resnet": {"embedding_size": 8, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1], "layer_type": "basic"},
    "bit": {"embedding_size": 8, "hidden_sizes": [32, 32, 64, 64], "depths": [1, 1, 1, 1], "num_groups": 4},
    "pvt_v2": {
        "hidden_sizes": [8, 16, 24, 32],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 2, 2, 4],
        "mlp_ratios": [2, 2, 2, 2],
    },
    "hgnet_v2": {
        "stem_channels": [3, 8, 8],
        "stage_in_channels": [8, 16, 24, 32],
        "stage_mid_channels": [8, 8, 8, 8],
        "stage_out_channels": [16, 24, 32, 40],
        "stage_num_blocks": [1, 1, 1, 1],
        "stage_numb_of_layers": [2, 2, 2, 2],
        "hidden_sizes": [16, 24, 32, 40],
        "depths": [1, 1, 1, 1],
    },
    **{
        family: {
            "hidden_size": 24,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "mlp_ratio": 2,
            "image_size": 56 if family == "dinov2" else 64,
            "patch_size": 14 if family == "dinov2" else 16,
        }
        for family in ("beit", "dinov2", "dinov2_with_registers", "dinov3_vit")
    },
}
"""Settings of a small network of each family."""


@contextmanager
def no_network() -> Iterator[None]:
    """Fail where a block asks for a name or connects, even where the error was caught."""
    asked: list[object] = []

    def refuse(*given: object, **_named: object) -> None:
        asked.append(given)
        raise OSError("no network in this test")

    with patch("socket.getaddrinfo", refuse), patch("socket.socket.connect", refuse):
        yield
    assert not asked


def save_backbone(
    folder: Path, family: str = "convnext", licence: str | None = "apache-2.0", seed: int = 0, **changes: Any
) -> Path:
    """Write a network as its authors do: the whole model, of which the program reads the maps, and a model card."""
    from transformers import CONFIG_MAPPING, AutoBackbone, AutoModel
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    torch.manual_seed(seed)
    kind = CONFIG_MAPPING[family]
    known = {name: value for name, value in SMALL[family].items() if hasattr(kind(), name)}
    config = kind(**(known | changes))
    network = (AutoModel if type(config) in MODEL_MAPPING else AutoBackbone).from_config(config)
    with torch.no_grad():  # layer scales near 0 would hide everything behind the stem
        for name, parameter in network.named_parameters():
            if "layer_scale" in name or "lambda" in name:
                parameter.fill_(0.5)
    network.save_pretrained(folder)
    processor = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.3], "rescale_factor": 1 / 255}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    if licence is not None:
        (folder / "README.md").write_text(CARD.format(licence))
    return folder
