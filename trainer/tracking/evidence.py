"""Evidence for a comparison: what two models counted on the same images, none of which trained either of them.

The images are the candidate's validation images. Where too few of them are left, because the other model has trained on
them, it is a fixed folder, `registry.eval_root`. Without the images, as in sync.py, it is the tables that both runs
have kept, or the scores that both recorded on the same data.
"""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from trainer import InputError
from trainer.model.model_folder import load_segmenter
from trainer.model.score_table import OF_SEEDS, OUT_OF_FOLD, ScoreTable, common_images, read_table
from trainer.model.segmenter import Segmenter
from trainer.model.training_images import TRAINING_IMAGES_FILE, read_training_images
from trainer.system.run_folder import RunFolder
from trainer.system.text import count_of
from trainer.tracking.errors import excerpt
from trainer.tracking.fetch import fetch
from trainer.tracking.gate import LEAST_IMAGES, Rules, Verdict, judge, judge_recorded

Score = Callable[[Segmenter], ScoreTable]
"""Function that counts what a model predicts for each image of one set."""

SCORES = "evaluation/scores.json"
"""Table that a run has kept, in its artifacts."""

HOLDOUT = "registry.eval_root"
"""Setting with a folder of images that train no model."""

OLDER = "which pictures trained it, since an older program made it"
"""What is not known of a model without a list of its images."""


@dataclass(frozen=True)
class Scorers:
    """Ways to score a model by images that are at hand."""

    validation: Score
    """On the validation images of the candidate's run."""

    holdout: Score | None = None
    """On the images of registry.eval_root; None where that is not set."""


@dataclass(frozen=True)
class Scored:
    """A model, and what is known of its images and scores."""

    segmenter: Segmenter | None
    digest: str
    """Digest of the data that it was trained with."""

    trained: set[str] = field(default_factory=set)
    """Hashes of the images that trained it, as far as they are known."""

    unknown: str = ""
    """What is not known of them, in words; empty where all are."""

    inherited: set[str] = field(default_factory=set)
    """Those of them that trained the model it started from."""

    tables: dict[str, ScoreTable] = field(default_factory=dict)
    """Tables that were made of it, by the set of images."""


class Evidence:
    """The candidate of a run, and the comparison of it with other versions; each model is loaded and scored once."""

    def __init__(
        self, client: MlflowClient, own: ModelVersion, run_folder: RunFolder, rules: Rules, scorers: Scorers | None
    ) -> None:
        self.client, self.run_folder, self.rules, self.scorers = client, run_folder, rules, scorers
        digest = own.tags.get("dataset_digest", "")
        segmenter = load_segmenter(run_folder.model) if scorers else None
        # Its own training images, listed or not, are none of its validation images.
        images = _training_images(run_folder.model, "")
        self.candidate = Scored(segmenter, digest, *images, _inherited_images(run_folder.model))
        self.others: dict[str, Scored] = {}
        self.verdicts: dict[str, Verdict] = {}
        table = self._own_table()
        self.miou = recorded_miou(own) if table is None else table.scores().miou

    def _own_table(self) -> ScoreTable | None:
        """Table of the candidate on its validation images: as it was kept, or made now; None without the images."""
        tables = self.candidate.tables
        if "validation" not in tables:
            with suppress(InputError):  # a damaged one
                if self.run_folder.scores.is_file() and (table := _of_one_model(read_table(self.run_folder.scores))):
                    tables["validation"] = table
        return tables.get("validation") or (self._table("validation", self.candidate) if self.scorers else None)

    def compare(self, other: ModelVersion, title: str) -> Verdict:
        """Compare the candidate with another version, which `title` names.

        Raises InputError where that is not possible: classes that differ, too few images, a model that fails.
        """
        key = str(other.version)
        if key not in self.verdicts:
            try:
                self.verdicts[key] = self._verdict(other, title)
            except (InputError, MlflowException):
                raise
            except Exception as error:  # a model that loads, and fails on an image
                raise InputError(f"{type(error).__name__}: {excerpt(f'{error}')}") from error
        return self.verdicts[key]

    def _verdict(self, other: ModelVersion, title: str) -> Verdict:
        if self.scorers is None:
            return self._compare_stored(other, title)
        # What was counted out of fold cannot be counted anew: the registered model has seen those images.
        if any(table and OUT_OF_FOLD in table.model for table in (self._own_table(), self._stored_table(other))):
            with suppress(InputError):
                return self._compare_stored(other, title)
        return self._compare_scored(self._load(other), title)

    def _load(self, version: ModelVersion) -> Scored:
        key = str(version.version)
        if key not in self.others:
            segmenter, trained, unknown = load_version(version, self.candidate.digest)
            names, ours = segmenter.contract.class_names, self._segmenter().contract
            if names != ours.class_names:
                own = ", ".join(ours.class_names[1:])
                raise InputError(f"its classes are {', '.join(names[1:])}, and those of this one {own}")
            if segmenter.contract.range_of_levels != ours.range_of_levels:
                unknown = "which pictures trained it, since it scales their levels in another way"
            self.others[key] = Scored(segmenter, segmenter.contract.dataset_digest, trained, unknown)
        return self.others[key]

    def _segmenter(self) -> Segmenter:
        assert self.candidate.segmenter is not None
        return self.candidate.segmenter

    def _table(self, where: str, model: Scored) -> ScoreTable:
        """Table of a model on a set of images, `validation` or `holdout`."""
        if where not in model.tables:
            assert self.scorers is not None
            assert model.segmenter is not None
            score = self.scorers.validation if where == "validation" else self.scorers.holdout
            assert score is not None
            model.tables[where] = score(model.segmenter)
        return model.tables[where]

    def _compare_scored(self, other: Scored, title: str) -> Verdict:
        table = self._own_table()
        assert table is not None
        total = count_of(len(table.images), "validation picture")
        trained, unknown = _union(self.candidate, other)
        clean = untrained(table, trained)
        if not unknown and len(clean) >= LEAST_IMAGES:
            left_out = len(table.images) - len(clean)
            where = f"{len(clean)} of {total}, those that trained neither" if left_out else total
            return self._judge("validation", other, clean, title, where)
        why = unknown or f"{len(clean)} of {total} trained neither of them, and {LEAST_IMAGES} is the least"
        if self.scorers is None or self.scorers.holdout is None:
            raise InputError(f"{why}; give {HOLDOUT} a folder of labelled pictures that train no model")
        table = self._table("holdout", self.candidate)
        clean = untrained(table, trained)
        total = f"{count_of(len(table.images), 'picture')} of {HOLDOUT}"
        if len(clean) < LEAST_IMAGES:
            raise InputError(f"{why}; and {len(clean)} of {total}")
        where = f"{len(clean)} of {total}" if len(clean) < len(table.images) else total
        verdict = self._judge("holdout", other, clean, title, where)
        return replace(verdict, reason=f"{verdict.reason}; compared there because {why}")

    def _judge(self, images: str, other: Scored, clean: list[tuple[str, str]], title: str, where: str) -> Verdict:
        ours, theirs = (self._table(images, model).restrict(clean) for model in (self.candidate, other))
        return judge(ours, theirs, self.rules, title, where)

    def _compare_stored(self, other: ModelVersion, title: str) -> Verdict:
        """Compare by the tables that both runs have stored, or by recorded scores on the same data."""
        same_data = bool(self.candidate.digest) and other.tags.get("dataset_digest") == self.candidate.digest
        ours, theirs = self._own_table(), self._stored_table(other)
        trained, unknown = _union(_as_counted(self.candidate, ours), _as_counted(self._training_of(other), theirs))
        if ours is not None and theirs is not None and ours.class_names == theirs.class_names and not unknown:
            shared = set(common_images(ours, theirs))
            clean = [key for key in untrained(ours, trained) if key in shared]
            if len(clean) >= LEAST_IMAGES:
                where = f"the {count_of(len(clean), 'picture')} that validated both, as their runs have counted them"
                return judge(ours.restrict(clean), theirs.restrict(clean), self.rules, title, where)
        if not same_data:
            raise InputError("its val/miou is of other data, and scoring it here takes the pictures of this run")
        if unknown or (ours is not None and len(untrained(ours, trained)) < len(ours.images)):
            raise InputError(unknown or "some of the validation pictures have trained one of them")
        return judge_recorded(self.miou or 0.0, recorded_miou(other), self.rules, title)

    def _stored_table(self, version: ModelVersion) -> ScoreTable | None:
        """Table in the artifacts of a version's run; None where there is none that can be read."""
        if not version.run_id:
            return None
        with tempfile.TemporaryDirectory() as scratch:
            try:
                return _of_one_model(read_table(Path(self.client.download_artifacts(version.run_id, SCORES, scratch))))
            except Exception:  # an older program kept none, or the run was deleted
                return None

    def _training_of(self, version: ModelVersion) -> Scored:
        digest = version.tags.get("dataset_digest", "")
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            with suppress(InputError):  # the version's files are gone: what is recorded of it is not
                fetch(_address(version), folder, (), [TRAINING_IMAGES_FILE])
            older = "" if digest == self.candidate.digest else OLDER
            return Scored(None, digest, *_training_images(folder, older), _inherited_images(folder))


def load_version(version: ModelVersion, digest: str) -> tuple[Segmenter, set[str], str]:
    """Load the model of a version, and the hashes of the images that trained it, as far as they are known.

    Returns also what is not known of these. A model of an older program lists none: of the same data, of `digest`, they
    are those of the candidate, for the digest covers the split. Raises InputError, with the version's address, where
    the model cannot be read.
    """
    address = _address(version)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            folder = fetch(address, Path(scratch), also=[TRAINING_IMAGES_FILE])
            segmenter = load_segmenter(folder)
        except InputError as error:
            raise InputError(str(error).replace(scratch, address)) from error
        older = "" if segmenter.contract.dataset_digest == digest else OLDER
        return segmenter, *_training_images(folder, older)


def _training_images(folder: Path, without: str) -> tuple[set[str], str]:
    """Hashes of the images that trained the model in a folder, and what is not known of them; `without` a list."""
    try:
        images = read_training_images(folder)
    except InputError:
        return set(), "which pictures trained it, since their list is damaged"
    if images is None:
        return set(), without
    return images.all(), "" if images.complete else "which pictures trained the model that it started from"


def _inherited_images(folder: Path) -> set[str]:
    """Hashes of the images that trained the model which the one in a folder started from, as far as they are known."""
    with suppress(InputError):
        if images := read_training_images(folder):
            return set(images.inherited)
    return set()


def _of_one_model(table: ScoreTable) -> ScoreTable | None:
    """Table that a run has kept, or None where it is the mean of several seeds: the registered model is one."""
    return None if OF_SEEDS in table.model else table


def _as_counted(model: Scored, table: ScoreTable | None) -> Scored:
    """Model by which a kept table was counted: out of fold, none of its images has trained it."""
    if table is None or OUT_OF_FOLD not in table.model:
        return model
    return replace(model, trained=model.inherited)


def _union(candidate: Scored, other: Scored) -> tuple[set[str], str]:
    """Hashes of the images that trained one of two models, and a sentence on what is not known of them, or nothing."""
    unknown = candidate.unknown and f"it is not known of this one {candidate.unknown}"
    unknown = unknown or (other.unknown and f"it is not known {other.unknown}")
    return candidate.trained | other.trained, unknown


def untrained(table: ScoreTable, trained: set[str]) -> list[tuple[str, str]]:
    """Keys of the images of a table that are not among `trained`, each once, sorted as `ScoreTable.in_order` does."""
    return sorted(key for key in set(table.keys()) if key[0] not in trained)


def recorded_miou(version: ModelVersion) -> float | None:
    """val/miou that training recorded for a version; None where there is none."""
    try:
        return float(version.tags.get("val/miou", ""))
    except ValueError:
        return None


def _address(version: ModelVersion) -> str:
    return f"models:/{version.name}/{version.version}"
