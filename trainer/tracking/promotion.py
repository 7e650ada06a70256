"""Choice of the champion: the new version and the present champion, scored on the same images.

MLflow moves an alias without asking what it was, so two runs that decide at the same moment could each overlook the
other. A version therefore announces itself (`promotion.promoted` is `pending`) before it reads the alias. After it has
moved the alias, it looks for versions that announced themselves meanwhile, and leaves the alias on the best of them.
Whoever moved it last has then seen all the others, so that the best one stays, in whatever order the calls arrive.
"""

import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from trainer import InputError
from trainer.model.model_folder import load_segmenter
from trainer.model.segmenter import Segmenter
from trainer.system.atomic import write_json
from trainer.system.provenance import source_tags
from trainer.system.run_folder import RunFolder
from trainer.tracking import registry
from trainer.tracking.errors import excerpt
from trainer.tracking.load import load_uri

Score = Callable[[Segmenter], float | None]
"""Function that gives a model's val/miou on the run's validation set; None where no foreground class is in it."""

LEAST_GAIN = 0.001
"""Least difference of val/miou for which a champion is replaced."""

PROMOTED, PENDING = "promotion.promoted", "pending"
"""Tag of a version with the outcome, True or False; and its value until there is one."""

ROUNDS = 20
"""Most times that the alias is looked at again. Runs with other validation images may never agree on the best."""


@dataclass(frozen=True)
class Decision:
    """Outcome for a new version."""

    version: str
    promoted: bool
    reason: str


def better(one: float | None, other: float | None) -> bool:
    """Return whether a val/miou is better than another by more than nothing; None counts as 0."""
    return round((one or 0.0) - (other or 0.0), 9) >= LEAST_GAIN


def decide(client: MlflowClient, run_folder: RunFolder, mode: str, score: Score | None = None) -> Decision:
    """Make the version that the run registered the champion of its model, if it is better than the present one.

    `mode`: auto, never or force, as registry.promote. `score`: without one, versions are compared by the val/miou that
    was recorded, where that was on the same data. Who decided what, when, why and by which numbers stays on the version
    as tags, written before the alias moves. A repeated call completes a decision that was cut off, or returns it.
    """
    made = run_folder.read_version()
    name, version = made["name"], made["version"]
    own = registry.versions(client, name).get(version)
    if own is None:
        raise InputError(f"models:/{name}/{version}: not there any more; was it deleted?")
    if own.tags.get(PROMOTED) in ("True", "False"):
        decision = Decision(version, own.tags[PROMOTED] == "True", own.tags.get("promotion.reason", ""))
    else:
        decision = _Contest(client, run_folder, own, score).decide(mode)
    write_json(run_folder.version, run_folder.read_version() | {"promoted": decision.promoted})
    return decision


class _Contest:
    """One new version against the champion, and against versions that are decided about at the same moment."""

    def __init__(self, client: MlflowClient, run_folder: RunFolder, own: ModelVersion, score: Score | None) -> None:
        self.client, self.run_folder, self.name = client, run_folder, own.name
        self.own, self.version = own, str(own.version)
        self.scores = _Scores(own, run_folder, score)
        self.old: str | None = None

    def decide(self, mode: str) -> Decision:
        """Announce, compare, move the alias where that is due, and record the outcome."""
        self._tag(
            {
                "promotion.candidate_miou": self.scores.own,
                "promotion.dataset_digest": self.own.tags.get("dataset_digest", ""),
                "promotion.by": f"{source_tags()['mlflow.user']}@{socket.gethostname()}",
                "promotion.time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                PROMOTED: "False" if mode == "never" else PENDING,
            }
        )
        known = registry.versions(self.client, self.name)
        settled = {key for key, one in known.items() if one.tags.get(PROMOTED) in ("True", "False")}
        champion = registry.champion(self.client, self.name)
        if champion is not None and str(champion.version) == self.version:  # an earlier start has moved the alias
            promoted, reason = True, self.own.tags.get("promotion.reason", "the better one of two at the same time")
        else:
            write_json(self.run_folder.version, self.run_folder.read_version() | {"settled": sorted(settled)})
            promoted, reason = self._compare(champion, known)
            if mode != "auto":
                promoted, reason = mode == "force", f"registry.promote is {mode}; {reason}"
            if promoted:
                self._move(champion, reason)
        if promoted and mode == "auto":
            best = self._settle(set(self.run_folder.read_version().get("settled", ())))
            if best != self.version:
                promoted, numbers = False, f"{self.scores.own or 0:.4f} against {self.scores.known[best] or 0:.4f}"
                reason = f"val/miou {numbers} of version {best}, which was decided at the same time"
        elif champion is None:
            reason += f"; no version has the alias {registry.CHAMPION!r}, which MLflow's pages can give to one"
        self._tag({"promotion.reason": reason, PROMOTED: promoted})
        return Decision(self.version, promoted, reason)

    def _compare(self, champion: ModelVersion | None, known: Mapping[str, ModelVersion]) -> tuple[bool, str]:
        """Return whether the new version is better than the champion, or than the best one before it, and the reason.

        `known`: all versions.
        """
        miou = self.scores.own
        if not better(miou, 0.0):
            nothing = "it finds nothing" if miou is not None else "its validation masks show no class to be scored by"
            return False, f"val/miou {miou or 0:.4f}: {nothing}"
        opponent = champion or self._best_recorded(known)
        if opponent is None:
            return True, "the first version" if len(known) == 1 else "the first version that finds something"
        title = f"the champion, version {opponent.version}"
        if champion is None:
            title = f"version {opponent.version}, the best before it, for there is no champion"
        try:
            other = self.scores(opponent)
        except InputError as error:
            return False, f"it cannot be compared with {title}: {error}"
        if champion is not None:
            self._tag({"promotion.champion_version": opponent.version, "promotion.champion_miou": other})
        # Where no version is champion, none has a place to keep: an equal one will do.
        wins = better(miou, other) if champion is not None else not better(other, miou)
        return wins, f"val/miou {miou:.4f} against {other or 0:.4f} of {title}"

    def _move(self, champion: ModelVersion | None, reason: str) -> None:
        """Write down what is about to happen, and move the alias."""
        self.old = str(champion.version) if champion else None
        self._tag({"promotion.from": self.old, "promotion.to": self.version, "promotion.reason": reason})
        registry.set_champion(self.client, self.name, self.version, self.old)

    def _settle(self, settled: set[str]) -> str:
        """Leave the alias on the best of the versions that compete for it; return that version.

        `settled`: versions that were decided about when this one announced itself, so that the alias it found shows
        what came of them.
        """
        best = self.version
        for _ in range(ROUNDS):
            holder = registry.champion(self.client, self.name)
            known = registry.versions(self.client, self.name)
            rivals = {key: one for key, one in known.items() if key not in settled | {self.version} and _competes(one)}
            best = self._best(rivals.values())
            now = None if holder is None else str(holder.version)
            if now == best or now not in {self.version, *rivals}:  # else a person has moved it meanwhile
                break
            registry.set_champion(self.client, self.name, best, self.old)
        return best

    def _best(self, rivals: Iterable[ModelVersion]) -> str:
        """Version of the best of `rivals` and the own one; of equals the oldest. Those without a score are left out."""
        ranked = [(self.scores.own or 0.0, -int(self.version))]
        for rival in rivals:
            try:
                ranked.append((self.scores(rival) or 0.0, -int(rival.version)))
            except InputError:
                continue
        return str(-max(ranked)[1])

    def _best_recorded(self, known: Mapping[str, ModelVersion]) -> ModelVersion | None:
        """The other version with the best recorded val/miou; without those that find nothing, or are decided now."""
        others = [one for key, one in known.items() if key != self.version and one.tags.get(PROMOTED) != PENDING]
        found = [one for one in others if better(recorded_miou(one), 0.0)]
        return max(found, key=lambda one: (recorded_miou(one) or 0.0, int(one.version)), default=None)

    def _tag(self, tags: dict[str, Any]) -> None:
        registry.set_version_tags(self.client, self.name, self.version, tags)


class _Scores:
    """Scores of the versions of a model on the same images, each made once."""

    def __init__(self, own: ModelVersion, run_folder: RunFolder, score: Score | None) -> None:
        self.score, self.digest = score, own.tags.get("dataset_digest")
        self.candidate = load_segmenter(run_folder.model) if score else None
        self.own = score(self.candidate) if score and self.candidate else recorded_miou(own)
        self.known = {str(own.version): self.own}

    def __call__(self, version: ModelVersion) -> float | None:
        """Score of a version. Raises InputError where it cannot be compared with the own one."""
        key = str(version.version)
        if key not in self.known:
            try:
                self.known[key] = self._recorded(version) if self.score is None else self.score(self._load(version))
            except InputError:
                raise
            except Exception as error:  # a model that loads, and fails on an image
                raise InputError(f"{type(error).__name__}: {excerpt(f'{error}')}") from error
        return self.known[key]

    def _load(self, version: ModelVersion) -> Segmenter:
        address = f"models:/{version.name}/{version.version}"
        segmenter = load_uri(address, address)
        assert self.candidate is not None
        if segmenter.contract.class_names != self.candidate.contract.class_names:
            raise InputError(f"its classes are {', '.join(segmenter.contract.class_names[1:])}")
        return segmenter

    def _recorded(self, version: ModelVersion) -> float | None:
        if not self.digest or version.tags.get("dataset_digest") != self.digest:
            raise InputError("its val/miou is of other data, and scoring it here takes the pictures of this run")
        return recorded_miou(version)


def recorded_miou(version: ModelVersion) -> float | None:
    """val/miou that training recorded for a version; None where there is none."""
    try:
        return float(version.tags.get("val/miou", ""))
    except ValueError:
        return None


def _competes(version: ModelVersion) -> bool:
    """Return whether a version may have moved the alias: it is being decided about, or was promoted."""
    return version.tags.get(PROMOTED) in (PENDING, "True")
