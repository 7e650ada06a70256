"""Training images of a model by its address, and of one that a training starts from: they have shaped the new one."""

import tempfile
from pathlib import Path

from trainer.model.model_folder import CONTRACT_FILE
from trainer.model.training_images import TRAINING_IMAGES_FILE, TrainingImages, read_training_images
from trainer.system.run_folder import RunFolder, read_object
from trainer.tracking.address import parse_address
from trainer.tracking.errors import store_errors


def with_ancestor(images: TrainingImages, init: str | None, digest: str) -> TrainingImages:
    """Images of a training on data of `digest` that starts from the model `init`, an address, or from none.

    A model of an older program, whose images are not listed, has trained on the same ones where its data are the same.
    Raises InputError where the model or its list cannot be read.
    """
    if init is None:
        return images
    ancestor, their_digest = images_of(init)
    return images if ancestor is None and their_digest == digest else images.after(ancestor)


def training_images_of(address: str) -> set[str] | None:
    """Hashes of all images that trained the model of an address; None where they are not known.

    Raises InputError where the model or its list cannot be read.
    """
    images, _ = images_of(address)
    return images.all() if images is not None and images.complete else None


def images_of(model: str) -> tuple[TrainingImages | None, str]:
    """Training images of the model at an address, None where they are not known; and the digest of its data.

    Raises InputError where the model or its list cannot be read.
    """
    address = parse_address(model)
    if address.folder is not None:
        # A checkpoint step-N has none of its own: its run folder does.
        own = read_training_images(address.folder)
        images = own or read_training_images(RunFolder(address.folder.parent.parent).path)
        return images, _digest(address.folder)
    from trainer.tracking import server
    from trainer.tracking.fetch import fetch, resolve

    client = server.connect()
    with store_errors(), tempfile.TemporaryDirectory() as scratch:
        found, _ = resolve(client, address)
        folder = fetch(found, Path(scratch), [CONTRACT_FILE], [TRAINING_IMAGES_FILE])
        return read_training_images(folder), _digest(folder)


def _digest(folder: Path) -> str:
    return str(read_object(folder / CONTRACT_FILE).get("dataset_digest", ""))
