"""Choice of the champion: the new version and the present champion, scored on the same images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from trainer import InputError
from trainer.model.model_folder import load_segmenter
from trainer.model.segmenter import Segmenter
from trainer.system.run_folder import RunFolder
from trainer.tracking import registry
from trainer.tracking.load import load_version

Score = Callable[[Segmenter], float | None]
"""Function that gives a model's val/miou on the run's validation set; None where no foreground class is in it."""


@dataclass(frozen=True)
class Decision:
    """Outcome for a new version."""

    version: str
    promoted: bool
    reason: str


def decide(client: MlflowClient, run_folder: RunFolder, name: str, mode: str, score: Score) -> Decision:
    """Make the version that the run registered the champion of the model `name`, if it is better than the present one.

    `mode`: auto, never or force, as registry.promote. The scores are stored as tags of the version.
    """
    version = run_folder.read_version()["version"]
    candidate = load_segmenter(run_folder.model)
    candidate_miou, champion = score(candidate), registry.champion(client, name)
    evidence: dict[str, Any] = {
        "promotion.candidate_miou": candidate_miou,
        "promotion.dataset_digest": candidate.contract.dataset_digest,
    }
    reason, better = "the first version", True
    if champion is not None and str(champion.version) == version:  # an earlier start of the run has promoted it
        reason = "the champion"
    elif champion is not None:
        try:
            champion_miou = score(_load_comparable(champion, candidate))
            better = (candidate_miou or 0.0) > (champion_miou or 0.0)
            evidence |= {"promotion.champion_version": champion.version, "promotion.champion_miou": champion_miou}
            numbers = f"{candidate_miou or 0:.4f} against {champion_miou or 0:.4f}"
            reason = f"val/miou {numbers} of the champion, version {champion.version}"
        except InputError as error:
            reason, better = f"version {champion.version}, the champion, cannot be compared: {error}", False
    promoted = {"auto": better, "never": False, "force": True}[mode]
    if promoted:
        registry.set_champion(client, name, version)
    evidence |= {"promotion.promoted": promoted, "promotion.reason": reason}
    registry.set_version_tags(client, name, version, evidence)
    return Decision(version, promoted, reason)


def _load_comparable(champion: ModelVersion, candidate: Segmenter) -> Segmenter:
    """Load the champion. Raises InputError where its classes are not those of the candidate."""
    segmenter = load_version(champion)
    if segmenter.contract.class_names != candidate.contract.class_names:
        raise InputError(f"its classes are {', '.join(segmenter.contract.class_names[1:])}")
    return segmenter
