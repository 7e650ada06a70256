"""Names in the characters that MLflow accepts."""

import hashlib
import re
import uuid


def metric_key(name: str) -> str:
    """Convert a class name for use in a metric key. Different names stay different."""
    return _replace(r"[^\w.\- :]", name)


def image_key(name: str) -> str:
    """Convert a sample's name for use in an image key, which is ASCII. Different names stay different."""
    return _replace(r"[^a-zA-Z0-9_\-./ ]", name)


def _replace(refused: str, name: str) -> str:
    changed = re.sub(refused, "_", name)
    # The digest distinguishes two names that differ in refused characters only.
    return changed if changed == name else f"{changed}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def image_names(key: str, step: int, time_ms: int, uid: str) -> tuple[str, str]:
    """File names of an image and of its thumbnail, by which MLflow's UI finds them under images/.

    `MlflowClient.log_image` puts a random part into these names, so that sending twice would show two images; here the
    same run, key and step always give the same names.
    """
    name = f"{key.replace('/', '~')}+step+{step}+timestamp+{time_ms}+{image_id(key, step, uid)}"
    return f"{name}.png", f"{name}+compressed.webp"


def image_id(key: str, step: int, uid: str) -> str:
    """UUID of an image within its file names, a function of run, key and step."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{uid}/{key}/{step}"))
