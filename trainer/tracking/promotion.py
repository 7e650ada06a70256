"""Choice of the champion: the new version against the present champion, by evidence, and then the move.

Where the store is not a file, nothing keeps two runs that decide at the same moment from overlooking each other. A
version therefore announces itself (`promotion.promoted` is `pending`) before it reads the alias. After it has moved the
alias, it looks for versions that announced themselves meanwhile, and leaves the alias on the best of them. Whoever
moved it last has then seen all the others, so that the best one stays, in whatever order the calls arrive; unless a
person has chosen one meanwhile, which stays then.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from trainer import InputError
from trainer.system.atomic import write_json
from trainer.system.run_folder import RunFolder
from trainer.tracking import history, registry
from trainer.tracking.evidence import Evidence, Scorers, recorded_miou
from trainer.tracking.gate import LONGEST_TAG, Rules, Verdict, better
from trainer.tracking.history import Record
from trainer.tracking.moves import ROUNDS, by, keep_choice, last_choice, move

PROMOTED, PENDING = "promotion.promoted", "pending"
"""Tag of a version with the outcome, True or False; and its value until there is one."""


@dataclass(frozen=True)
class Decision:
    """Outcome for a new version."""

    version: str
    promoted: bool
    reason: str


def decide(
    client: MlflowClient,
    run_folder: RunFolder,
    mode: str,
    scorers: Scorers | None = None,
    rules: Rules = Rules(),  # noqa: B008
) -> Decision:
    """Make the version that the run registered the champion of its model, if it is better than the present one.

    `mode`: auto, never or force, as registry.promote. `scorers`: without any, versions are compared by what their runs
    have kept. Who decided what, when, why and by which numbers stays on the version as tags, in the run's
    promotion.json and, of a move, in the model's history, written before the alias moves. A repeated call completes a
    decision that was cut off, or returns it.
    """
    made = run_folder.read_version()
    name, version = made["name"], made["version"]
    own = registry.versions(client, name).get(version)
    if own is None:
        raise InputError(f"models:/{name}/{version}: not there any more; was it deleted?")
    if own.tags.get(PROMOTED) in ("True", "False"):
        decision = Decision(version, own.tags[PROMOTED] == "True", own.tags.get("promotion.reason", ""))
    else:
        decision = _Contest(client, own, run_folder, Evidence(client, own, run_folder, rules, scorers)).decide(mode)
    write_json(run_folder.version, run_folder.read_version() | {"promoted": decision.promoted})
    return decision


@dataclass(frozen=True)
class _Assessment:
    """Verdict on a version as champion, its reason, and the comparison behind it where there was one."""

    promoted: bool
    reason: str
    verdict: Verdict | None = None


class _Contest:
    """One new version against the champion, and against versions that are decided about at the same moment."""

    def __init__(self, client: MlflowClient, own: ModelVersion, run_folder: RunFolder, evidence: Evidence) -> None:
        self.client, self.run_folder, self.name = client, run_folder, own.name
        self.own, self.version, self.evidence = own, str(own.version), evidence
        self.known_key = ""
        """Key of the last move in the history that had happened when this one was made, or found to be made."""

    def decide(self, mode: str) -> Decision:
        """Announce, compare, move the alias where that is due, and record the outcome."""
        self._tag(
            {
                "candidate_miou": self.evidence.miou,
                "dataset_digest": self.evidence.candidate.digest,
                "by": by(),
                "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "promoted": "False" if mode == "never" else PENDING,
            }
        )
        for _ in range(ROUNDS):
            known = registry.versions(self.client, self.name)
            state = history.read(self.client, self.name)
            self.known_key = state.done_key
            champion = known.get(state.champion or "")
            if state.champion == self.version:
                return self._conclude(self._arrived(state.records), champion, mode)
            settled = {key for key, one in known.items() if one.tags.get(PROMOTED) in ("True", "False")}
            write_json(self.run_folder.version, self.run_folder.read_version() | {"settled": sorted(settled)})
            assessment = self._compare(champion, known)
            if mode != "auto":
                assessment = _Assessment(
                    mode == "force", f"registry.promote is {mode}; {assessment.reason}", assessment.verdict
                )
            if not assessment.promoted or self._move(champion, assessment, mode):
                return self._conclude(assessment, champion, mode)
        reason = f"the champion changed {ROUNDS} times meanwhile; promote.py decides by hand"
        return self._conclude(_Assessment(False, reason), champion, mode)

    def _arrived(self, records: Iterable[Record]) -> _Assessment:
        """Assessment of a version that has the alias already: an earlier start has moved it, or a person."""
        last = next((one for one in reversed(list(records)) if one.to == self.version), None)
        if last is not None and last.done is None:
            history.finish(self.client, self.name, last.key)
        if last is not None and last.kind in (history.TO, history.ROLLBACK):
            return _Assessment(True, f"chosen by {last.who}: {last.why}")
        return _Assessment(True, self.own.tags.get("promotion.reason", "the better one of two at the same time"))

    def _compare(self, champion: ModelVersion | None, known: Mapping[str, ModelVersion]) -> _Assessment:
        """Compare the new version with the champion, or with the best one before it. `known`: all versions."""
        miou = self.evidence.miou
        if not better(miou, 0.0):
            unscored = "its validation masks show no class to be scored by"
            return _Assessment(False, unscored if miou is None else f"val/miou {miou:.4f}: it finds nothing")
        opponent = champion or self._best_recorded(known)
        if opponent is None:
            return _Assessment(
                True, "the first version" if len(known) == 1 else "the first version that finds something"
            )
        title = f"the champion (version {opponent.version})"
        if champion is None:
            title = f"version {opponent.version} (the best before it, since there is no champion)"
        try:
            verdict = self.evidence.compare(opponent, title)
        except InputError as error:
            return _Assessment(False, f"it cannot be compared with {title}: {error}")
        if champion is None:  # no version has a place to keep: an equal one will do
            return _Assessment(not better(verdict.other, verdict.candidate), verdict.reason, verdict)
        return _Assessment(verdict.passes, verdict.reason, verdict)

    def _move(self, champion: ModelVersion | None, assessment: _Assessment, mode: str) -> bool:
        """Write down what is about to happen, and move the alias; return False where it is elsewhere by now."""
        old = str(champion.version) if champion else None
        self._tag(self._numbers(assessment, champion) | {"from": old, "to": self.version, "reason": assessment.reason})
        kind = history.FORCE if mode == "force" else history.GATE
        numbers = self._numbers(assessment, champion)
        run = self.own.run_id or ""
        record = move(self.client, self.name, self.version, kind, assessment.reason, old, run, numbers)
        if record is None:
            return False
        self.known_key = record.after
        return True

    def _conclude(self, assessment: _Assessment, champion: ModelVersion | None, mode: str) -> Decision:
        """Leave the alias where it belongs, and record the outcome."""
        promoted, reason = assessment.promoted, assessment.reason
        if promoted:
            holder = self._resolve_rivals() if mode == "auto" else self._keep_forced()
            if holder != self.version:
                promoted, reason = False, self._why_not(holder)
        elif champion is None:
            reason += f"; no version has the alias {registry.CHAMPION!r}, which promote.py can give to one"
        self._keep(promoted, reason, assessment, champion)
        self._tag(self._numbers(assessment, champion) | {"reason": reason, "promoted": promoted})
        return Decision(self.version, promoted, reason)

    def _why_not(self, holder: str) -> str:
        state = history.read(self.client, self.name)
        choice = last_choice(state, self.known_key)
        if choice is not None and choice.to == holder:
            return f"{choice.who} has chosen version {holder} at the same time: {choice.why}"
        verdict = self.evidence.verdicts.get(holder)
        numbers = f" (val/miou {verdict.candidate:.4f} against {verdict.other:.4f})" if verdict else ""
        return f"version {holder}, which was decided at the same time, is better{numbers}"

    def _resolve_rivals(self) -> str:
        """Leave the alias on the best of the versions that compete for it, or on a person's choice; return that one.

        Versions that were decided about when this one announced itself do not compete: the alias that it found shows
        what came of them.
        """
        settled = set(self.run_folder.read_version().get("settled", ()))
        best = self.version
        for _ in range(ROUNDS):
            state = history.read(self.client, self.name)
            choice = last_choice(state, self.known_key)
            if choice is not None:
                return keep_choice(self.client, self.name, choice).to
            known = registry.versions(self.client, self.name)
            rivals = {key: one for key, one in known.items() if key not in settled | {self.version} and _competes(one)}
            best = self._best(rivals.values())
            last = state.records[-1].to if state.records else None
            if state.champion not in {self.version, *rivals}:  # moved from elsewhere meanwhile
                break
            if state.champion == best and last in (None, best):
                break
            why = "the best of several that were decided at the same time"
            move(self.client, self.name, best, history.SETTLE, why, state.champion, self.own.run_id or "", again=True)
        return best

    def _keep_forced(self) -> str:
        """See to it that a forced move holds against those made at the same time; return the version that does."""
        state = history.read(self.client, self.name)
        own = next((one for one in reversed(state.records) if one.to == self.version and one.by_hand), None)
        return self.version if own is None else keep_choice(self.client, self.name, own).to

    def _best(self, rivals: Iterable[ModelVersion]) -> str:
        """Version of the best of `rivals` and the own one; of equals the oldest. Those not comparable are left out."""
        ranked = [(0.0, -int(self.version))]
        for rival in rivals:
            try:
                gain = self.evidence.compare(rival, f"version {rival.version}").gain
                ranked.append((-gain, -int(rival.version)))
            except InputError:
                continue
        return str(-max(ranked)[1])

    def _best_recorded(self, known: Mapping[str, ModelVersion]) -> ModelVersion | None:
        """The other version with the best recorded val/miou; without those that find nothing, or are decided now."""
        others = [one for key, one in known.items() if key != self.version and one.tags.get(PROMOTED) != PENDING]
        found = [one for one in others if better(recorded_miou(one), 0.0)]
        return max(found, key=lambda one: (recorded_miou(one) or 0.0, int(one.version)), default=None)

    def _numbers(self, assessment: _Assessment, champion: ModelVersion | None) -> dict[str, Any]:
        """Numbers and digests of the comparison with the champion, for tags and for the history."""
        verdict = assessment.verdict
        if verdict is None:
            return {}
        found: dict[str, Any] = {"candidate_miou": verdict.candidate, **verdict.tags()}
        if champion is not None:
            digest = champion.tags.get("dataset_digest", "")
            found |= {"champion_version": str(champion.version), "champion_miou": verdict.other}
            found |= {"champion_dataset_digest": digest} if digest else {}
        return found

    def _keep(self, promoted: bool, reason: str, assessment: _Assessment, champion: ModelVersion | None) -> None:
        """Write the decision and its numbers into the run folder, and send the file to the run's artifacts."""
        if not self.run_folder.run.exists():
            return
        content: dict[str, Any] = {
            "model": self.name,
            "version": self.version,
            "promoted": promoted,
            "reason": reason,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "by": by(),
            "champion": str(champion.version) if champion else None,
            "candidate_dataset_digest": self.evidence.candidate.digest,
            "champion_dataset_digest": champion.tags.get("dataset_digest", "") if champion else None,
        }
        content |= {"comparison": assessment.verdict.to_json()} if assessment.verdict else {}
        write_json(self.run_folder.promotion, content)
        run_id = self.run_folder.read_run().get("run_id")
        if run_id:
            self.client.log_artifact(run_id, str(self.run_folder.promotion))

    def _tag(self, tags: Mapping[str, Any]) -> None:
        texts = {f"promotion.{key}": f"{value}"[:LONGEST_TAG] for key, value in tags.items()}
        registry.set_version_tags(self.client, self.name, self.version, texts)


def _competes(version: ModelVersion) -> bool:
    """Return whether a version may have moved the alias: it is being decided about, or was promoted."""
    return version.tags.get(PROMOTED) in (PENDING, "True")
