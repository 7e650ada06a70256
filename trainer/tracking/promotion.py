"""Who is champion: the new version and the present one, scored on the same pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient

from trainer import InputError
from trainer.model.model_folder import load_segmenter
from trainer.model.segmenter import Segmenter
from trainer.system.run_folder import RunFolder
from trainer.tracking import registry
from trainer.tracking.load import open_version

Score = Callable[[Segmenter], float | None]
"""val/miou of a model on the run's validation set; None where no class is there to be scored."""


@dataclass(frozen=True)
class Decision:
    """What became of a new version, and why."""

    version: str
    promoted: bool
    reason: str


def decide(client: MlflowClient, run_folder: RunFolder, name: str, mode: str, score: Score) -> Decision:
    """Make the version that the run registered champion of the model `name`, if it is the better one.

    `mode` auto, never or force, as registry.promote. The numbers stay on the version as tags.
    """
    version = run_folder.read_version()["version"]
    new = load_segmenter(run_folder.model)
    ours, present = score(new), registry.champion(client, name)
    evidence: dict[str, Any] = {
        "promotion.candidate_miou": ours,
        "promotion.dataset_digest": new.contract.dataset_digest,
    }
    reason, better = "the first version", True
    if present is not None and str(present.version) == version:  # an earlier start got as far as this
        reason = "the champion"
    elif present is not None:
        try:
            other = open_version(present)
            if other.contract.class_names != new.contract.class_names:
                raise InputError(f"its classes are {', '.join(other.contract.class_names[1:])}")
            theirs = score(other)
            better = (ours or 0.0) > (theirs or 0.0)
            evidence |= {"promotion.champion_version": present.version, "promotion.champion_miou": theirs}
            reason = f"val/miou {ours or 0:.4f} against {theirs or 0:.4f} of the champion, version {present.version}"
        except InputError as error:
            reason, better = f"version {present.version}, the champion, cannot be compared: {error}", False
    promoted = {"auto": better, "never": False, "force": True}[mode]
    if promoted:
        registry.promote(client, name, version)
    registry.note(client, name, version, evidence | {"promotion.promoted": promoted, "promotion.reason": reason})
    return Decision(version, promoted, reason)
