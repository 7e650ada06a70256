"""Names as MLflow takes them."""

import hashlib
import re
import uuid


def metric_key(name: str) -> str:
    """A class name as part of a metric key."""
    return _replace(r"[^\w.\- :]", name)


def image_key(name: str) -> str:
    """A sample's name as part of a picture key, which is ASCII."""
    return _replace(r"[^a-zA-Z0-9_\-./ ]", name)


def _replace(refused: str, name: str) -> str:
    changed = re.sub(refused, "_", name)
    # Two names that differ in refused characters only must stay two.
    return changed if changed == name else f"{changed}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def image_names(key: str, step: int, time_ms: int, uid: str) -> tuple[str, str]:
    """File names under images/ by which MLflow's UI finds a picture of `key` at `step`, and its thumbnail.

    `MlflowClient.log_image` makes the same names with a random part, so that sending twice shows two pictures; ours
    are always the same.
    """
    name = f"{key.replace('/', '~')}+step+{step}+timestamp+{time_ms}+{image_id(key, step, uid)}"
    return f"{name}.png", f"{name}+compressed.webp"


def image_id(key: str, step: int, uid: str) -> str:
    """The part of a picture's file names that stands for its run, key and step."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{uid}/{key}/{step}"))
