"""Study of a sweep: what Optuna knows of its trials, in an sqlite file or a PostgreSQL database.

Optuna advises against sqlite for several processes, and three of four that open a new file at once do crash; a lock
beside the file lets one process at a time open it or begin a trial. Trials of one sweep ask from one process anyway.
"""

import random
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, WilcoxonPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from trainer import InputError, redact
from trainer.config import install_command
from trainer.search.space import Scalar, Space

optuna.logging.set_verbosity(optuna.logging.ERROR)

STORAGE_ERRORS = (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, sqlite3.Error)
"""Errors of a database that is away, full or damaged."""

LOCKED_SECONDS = 60.0
"""Longest wait for another process at the database, in seconds."""

CONNECT_SECONDS = 10
"""Longest wait for a database server, in seconds."""

ADVISORY_LOCK = 0x5E67
"""Number of PostgreSQL's lock for making tables and beginning a trial."""

FIRST_RUNG, LAST_RUNG, REDUCTION = 11, 100, 3
"""Hyperband's smallest and largest resource, in per cent of a training, and the factor between its rungs: at 11, 33
and 99 % one trial of three goes on."""

PRUNED_UNTIL = 90
"""Per cent of a training from which it is finished rather than pruned."""

P_VALUE = 0.1
"""Probability below which the Wilcoxon test calls a trial worse than the best one."""

STARTUP_TRIALS = 10
"""Trials with random settings, before the sampler learns from them."""

LEAST_FOR_IMPORTANCE = 4
"""Different scores from which importance is computed."""


def open_storage(address: str) -> RDBStorage:
    """Open a database, and make its tables: sqlite:///FILE, or postgresql://... Raises InputError."""
    file = sqlite_file(address)
    try:
        if file is None:
            return _open_postgresql(address)
        file.parent.mkdir(parents=True, exist_ok=True)

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(file, timeout=LOCKED_SECONDS)

        with FileLock(_lock_file(file)):
            # By a function, since an address would be decoded, and cannot hold every name of a file.
            return RDBStorage("sqlite://", {"creator": connect, "poolclass": sqlalchemy.NullPool})
    except ImportError as error:
        raise InputError(f"--storage: the package psycopg2 is missing: {install_command('server')}") from error
    except (*STORAGE_ERRORS, RuntimeError, OSError) as error:
        text = redact(str(error).strip().splitlines()[0])
        raise InputError(f"--storage {redact(address)}: cannot be used ({text})") from error


def _open_postgresql(address: str) -> RDBStorage:
    address = address.replace("postgresql:", "postgresql+psycopg2:", 1)  # else SQLAlchemy's own choice, psycopg 3
    options = {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_SECONDS}}
    engine = sqlalchemy.create_engine(address, **options)
    with _advisory_lock(engine):
        storage = RDBStorage(address.replace("{", "{{").replace("}", "}}"), options)
    engine.dispose()
    return storage


@contextmanager
def _advisory_lock(engine: sqlalchemy.Engine) -> Iterator[None]:
    """Hold PostgreSQL's lock of the one process that makes tables or begins a trial."""
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"SELECT pg_advisory_lock({ADVISORY_LOCK})"))
        try:
            yield
        finally:
            connection.execute(sqlalchemy.text(f"SELECT pg_advisory_unlock({ADVISORY_LOCK})"))


def sqlite_file(address: str) -> Path | None:
    """File of an sqlite address; None for a PostgreSQL one. Raises InputError for others."""
    if address.startswith("sqlite:///") and len(address) > len("sqlite:///"):
        return Path(address.removeprefix("sqlite:///"))
    if address.startswith("postgresql"):
        return None
    raise InputError(f"--storage: {redact(address)!r} is not possible; give postgresql://... or sqlite:///FILE")


def _lock_file(file: Path) -> Path:
    return file.with_name(f".{file.name}.lock")


def make_pruner(name: str) -> BasePruner:
    """Make the pruner of that name: hyperband, wilcoxon or none."""
    if name == "hyperband":
        return HyperbandPruner(FIRST_RUNG, LAST_RUNG, REDUCTION)
    if name != "wilcoxon":
        return NopPruner()
    with warnings.catch_warnings():  # it calls itself experimental
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return WilcoxonPruner(p_threshold=P_VALUE)


class Study:
    """Trials of a sweep, of all machines that take part in it."""

    def __init__(self, address: str, name: str, seed: int) -> None:
        """Open the study `name`, or make it. Raises InputError where its database cannot be used."""
        self.storage, self.file = open_storage(address), sqlite_file(address)
        self.seed = seed
        with self._alone():
            self.optuna = optuna.create_study(
                storage=self.storage,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                pruner=NopPruner(),
                sampler=TPESampler(),
            )

    def use_pruner(self, name: str) -> None:
        """Stop trials by the pruner of that name."""
        self.optuna.pruner = make_pruner(name)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock of the one process that opens the study or begins a trial in it."""
        if self.file is not None:
            with FileLock(_lock_file(self.file)):
                yield
        else:
            with _advisory_lock(self.storage.engine):
                yield

    def fact(self, key: str) -> Any:
        """Fact about the sweep; None where it is not known."""
        return self.optuna.user_attrs.get(key)

    def same_for_all(self, key: str, value: Any) -> Any:
        """Keep a fact where there is none of that key yet; return the one that is kept."""
        with self._alone():
            if key not in self.optuna.user_attrs:
                self.optuna.set_user_attr(key, value)
        return self.optuna.user_attrs[key]

    def begin_with(self, stored: Mapping[str, Scalar]) -> None:
        """Have the first trial use these values; those of other settings are chosen."""
        with self._alone():
            if not self.optuna.get_trials(deepcopy=False):
                self.optuna.enqueue_trial(dict(stored))

    def trials(self) -> list[FrozenTrial]:
        """All trials that were begun, by their numbers."""
        waiting = TrialState.WAITING
        return [one for one in self.optuna.get_trials(deepcopy=False) if one.state != waiting or one.params]

    def trial(self, number: int) -> FrozenTrial:
        """The trial of that number, as it is now."""
        return self.optuna.get_trials(deepcopy=False)[number]

    def best(self) -> FrozenTrial | None:
        """Complete trial with the best score, the first of equals; None where there is none yet."""
        complete = [one for one in self.trials() if one.state == TrialState.COMPLETE]
        return max(complete, key=lambda one: (one.values[0], -one.number), default=None)

    def adopt(self, owner: Mapping[str, Any]) -> None:
        """Take over trials that nobody owns: who began them was killed before it could say so."""
        with self._alone():
            for one in self.trials():
                if one.state == TrialState.RUNNING and "owner" not in one.user_attrs:
                    self._handle(one.number).set_user_attr("owner", dict(owner))

    def ask(self, space: Space, most: int, owner: Mapping[str, Any]) -> FrozenTrial | None:
        """Begin a trial for the `owner`, facts about this sweep's process; None where `most` were begun.

        Its values depend on the trials so far and on the seed alone, so that a sweep that goes on does as one that was
        never stopped.
        """
        with self._alone():
            begun = sum(one.state != TrialState.WAITING for one in self.optuna.get_trials(deepcopy=False))
            if begun >= most:
                return None
            with self._sampling(begun):
                trial = self.optuna.ask()
                trial.set_user_attr("owner", dict(owner))
                space.suggest(trial)
        return self.trial(trial.number)

    def complete_values(self, space: Space, number: int) -> FrozenTrial:
        """Choose the values that a trial lacks, since its sweep was killed while it asked for them."""
        with self._sampling(number):
            space.suggest(self._handle(number))
        return self.trial(number)

    @contextmanager
    def _sampling(self, begun: int) -> Iterator[None]:
        """Have values chosen for trial number `begun` in a block.

        Without the pruner: with Hyperband's, the sampler would learn from the trials of one bracket alone.
        """
        pruner, seed = self.optuna.pruner, random.Random(f"{self.seed} {begun}").getrandbits(32)
        self.optuna.sampler = TPESampler(n_startup_trials=STARTUP_TRIALS, seed=seed)
        self.optuna.pruner = NopPruner()
        yield
        self.optuna.pruner = pruner

    def _handle(self, number: int) -> optuna.Trial:
        return optuna.Trial(self.optuna, self.trial(number)._trial_id)

    def report(self, number: int, values: Mapping[int, float]) -> bool:
        """Record scores of a trial by step; return whether it is to be pruned."""
        trial = self._handle(number)
        known = self.trial(number).intermediate_values
        new = {step: value for step, value in values.items() if step not in known}
        for step, value in sorted(new.items()):
            trial.report(value, step)
        return bool(new) and trial.should_prune()

    def complete(self, number: int, score: float) -> None:
        """End a trial with its score."""
        self.optuna.tell(number, score, skip_if_finished=True)

    def prune(self, number: int, stopped: str, score: float) -> None:
        """End a trial that was `stopped` after some of its training, with its score so far."""
        self._note(number, "stopped", stopped)
        self._note(number, "score", score)
        self.optuna.tell(number, state=TrialState.PRUNED, skip_if_finished=True)

    def fail(self, number: int, reason: str) -> None:
        """End a trial that failed."""
        self._note(number, "reason", reason)
        self.optuna.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _note(self, number: int, key: str, value: Any) -> None:
        if not self.trial(number).state.is_finished():
            self._handle(number).set_user_attr(key, value)

    def importance(self) -> dict[str, float]:
        """Share of each setting in what makes a trial one of the better ones (PED-ANOVA); empty for too few trials."""
        complete = [one for one in self.trials() if one.state == TrialState.COMPLETE]
        if len({one.values[0] for one in complete}) < LEAST_FOR_IMPORTANCE:
            return {}
        return optuna.importance.get_param_importances(self.optuna)

    def close(self) -> None:
        """Close the database."""
        self.storage.remove_session()
        self.storage.engine.dispose()
