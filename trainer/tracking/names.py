"""Names in the characters and the length that MLflow, its databases and filesystems accept.

They are made acceptable where a record is written: one that is refused would stay unsent, with all after it.
"""

import re
import uuid

from trainer import redact
from trainer.system.text import digest, one_line, shorten, valid

NOTE = "mlflow.note.content"
"""Tag with the description of a run, in Markdown; of a version it is a field of its own."""

USE = "python trainer/predict.py --model {model} --input PICTURES --output OUT"
"""Command of a description, which predicts with the run's own model."""

LONGEST_KEY = 200
"""Bytes of a class name in a metric key; MLflow takes 250 characters, and `val/iou/` precedes it."""

LONGEST_IMAGE = 120
"""Characters of a sample's name in an image key: the names of its files, at most 255 bytes, hold more than that."""

LONGEST_NAME = 200
"""Bytes of the name of a run or a dataset; MLflow's databases take 250 characters."""


def metric_key(name: str) -> str:
    """Convert a class name for use in a metric key. Different names stay different."""
    # `.` and `..` would be a step within the path that MLflow takes a key for.
    return shorten(_replace(r"[^\w.\- :]|^\.{1,2}$|^$", name), LONGEST_KEY)


def image_key(name: str) -> str:
    """Convert a sample's name for use in an image key, which is ASCII. Different names stay different."""
    return shorten(_replace(r"[^a-zA-Z0-9_\-./ ]", name), LONGEST_IMAGE)


def model_name(name: str) -> str:
    """Convert a name for a model in MLflow, registered or not. Different names stay different."""
    return shorten(_replace(r"[/:.%\"'#?\\\x00-\x1f\x7f]", valid(name).strip() or "model"), LONGEST_NAME)


def run_name(name: str) -> str:
    """Convert a name for a run or a dataset: without secrets, printable, not too long."""
    return shorten(one_line(redact(name)), LONGEST_NAME)


def name_run_in_note(note: str, run_id: str) -> str:
    """Put `run_id` into the command of a run's description: a store that is sent the run later has an id of its own."""
    before = re.escape(USE.partition("{model}")[0])
    return re.sub(rf"({before}runs:/)\w+", rf"\g<1>{run_id}", note)


def _replace(refused: str, name: str) -> str:
    changed = re.sub(refused, "_", name)
    # The digest distinguishes two names that differ in refused characters only.
    return changed if changed == name else f"{changed}-{digest(name)}"


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
