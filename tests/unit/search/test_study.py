"""Studies with the real Optuna: who begins which trial, and which trials are stopped."""

import multiprocessing
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState

from trainer import InputError
from trainer.search.space import Choice, Range, Space
from trainer.search.study import STARTUP_TRIALS, Study

SPACE = Space({"optim.lr": Range(1e-4, 1e-2, log=True), "model.norm": Choice(("batch", "group"))}, {})
OWNER = {"participant": "me"}


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/a study %20 {{x}} ' ü.db"


def begin(study: Study, most: int = 1000) -> FrozenTrial:
    trial = study.ask(SPACE, most, OWNER)
    assert trial is not None
    return trial


def score(trial: FrozenTrial) -> float:
    return 0.5 - abs(np.log10(trial.params["optim.lr"]) + 3) / 4


@pytest.mark.long
def test_a_study_that_goes_on_tries_what_it_would_have_tried(tmp_path: Path) -> None:
    """Closed on the way or never, beyond the random ones at the start: the same values."""

    def run(name: str, close: bool) -> list[dict[str, float]]:
        study = Study(f"sqlite:///{tmp_path}/{name}.db", "s", seed=3)
        for _ in range(STARTUP_TRIALS + 3):
            trial = begin(study)
            study.complete(trial.number, score(trial))
            if close and trial.number % 3 == 0:
                study.close()
                study = Study(f"sqlite:///{tmp_path}/{name}.db", "s", seed=3)
        return [one.params for one in study.trials()]

    through, often = run("through", close=False), run("often", close=True)
    assert through == often
    assert (
        len({one["optim.lr"] for one in through}) == STARTUP_TRIALS + 3
    )  # a sampler with one seed would repeat itself


def test_it_begins_with_the_settings_in_use_and_ends_with_the_number(address: str) -> None:
    study = Study(address, "s", 0)
    study.begin_with({"optim.lr": 0.002})
    study.begin_with({"optim.lr": 0.003})  # a second start changes nothing
    trials = [begin(study, 3) for _ in range(3)]
    assert [one.number for one in trials] == [0, 1, 2]
    assert trials[0].params["optim.lr"] == 0.002
    assert trials[0].params["model.norm"] in ("batch", "group")
    assert study.ask(SPACE, 3, OWNER) is None  # running ones count, whoever has them
    assert study.ask(SPACE, 4, OWNER) is not None


def test_values_that_a_killed_sweep_had_not_chosen_yet(address: str) -> None:
    study = Study(address, "s", 5)
    expected = begin(study).params
    other = Study(f"{address}2", "s", 5)
    other.optuna.ask()  # killed here
    assert other.trial(0).params == {}
    assert other.complete_values(SPACE, 0).params == expected
    assert other.complete_values(SPACE, 0).params == expected


def test_a_trial_that_nobody_owns_is_taken_over(address: str) -> None:
    study = Study(address, "s", 0)
    begin(study)
    study.optuna.ask()  # killed before it could say whose it is
    study.adopt({"participant": "another"})
    assert [one.user_attrs["owner"]["participant"] for one in study.trials()] == ["me", "another"]


@pytest.mark.long
def test_the_sampler_learns_from_all_brackets(address: str) -> None:
    """Hyperband's own study has a third of the trials, and would choose at random three times as long."""
    study = Study(address, "s", 0)
    study.use_pruner("hyperband")
    for _ in range(STARTUP_TRIALS + 6):
        trial = begin(study)
        study.report(trial.number, {5: score(trial)})
        study.complete(trial.number, score(trial))
    values = [abs(np.log10(one.params["optim.lr"]) + 3) for one in study.trials()]
    assert np.mean(values[STARTUP_TRIALS:]) < 0.6 * np.mean(values[:STARTUP_TRIALS])


def test_trials_end_once_and_the_first_of_the_best_is_best(address: str) -> None:
    study = Study(address, "s", 0)
    assert study.best() is None
    for value in (0.2, 0.7, 0.7):
        study.complete(begin(study).number, value)
    study.fail(begin(study).number, "a reason")
    study.prune(begin(study).number, "after 33 %", 0.2)
    study.complete(1, 0.9)  # after the end, as a second start may try
    study.fail(0, "late")
    best = study.best()
    assert best is not None
    assert (best.number, best.values) == (1, [0.7])
    assert [one.state for one in study.trials()] == [TrialState.COMPLETE] * 3 + [TrialState.FAIL, TrialState.PRUNED]
    assert study.trial(3).user_attrs["reason"] == "a reason"
    assert "reason" not in study.trial(0).user_attrs
    assert study.trial(4).user_attrs["score"] == 0.2


def join(address: str, count: int, results: "multiprocessing.Queue[list[int]]") -> None:
    study = Study(address, "s", 0)
    study.same_for_all("key", multiprocessing.current_process().name)
    numbers = []
    while (trial := study.ask(SPACE, count, OWNER)) is not None:
        study.complete(trial.number, 0.1)
        numbers.append(trial.number)
    results.put(numbers)


def fill(address: str, trials: int) -> None:
    """Have three processes open one new study at the same moment, and fill it."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=join, args=(address, trials, results)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [results.get(timeout=250) for _ in processes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert sorted(number for numbers in found for number in numbers) == list(range(trials))


@pytest.mark.long
def test_several_processes_open_and_fill_one_new_study(address: str) -> None:
    """Optuna by itself fails here: three of four processes that open a new sqlite file at once crash."""
    fill(address, 12)


@pytest.mark.long
def test_several_processes_on_postgresql() -> None:
    server = pytest.importorskip("tests.support.shared_server")
    if reason := server.missing():
        pytest.skip(reason)
    with server.postgres() as database:
        fill(database.url, 12)
        study = Study(database.url, "another", 0)
        trial = begin(study)
        assert not study.report(trial.number, {2**31 - 2: 0.5})  # the largest number of a picture
        study.complete(trial.number, 0.5)
        study.close()


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("mysql://host/db", "give postgresql://... or sqlite:///FILE"),
        ("study.db", "give postgresql://... or sqlite:///FILE"),
        ("sqlite:///", "give postgresql://... or sqlite:///FILE"),
        ("sqlite:////proc/no/study.db", "cannot be used"),
        pytest.param(
            *("postgresql://user:secret@127.0.0.1:1/none", "cannot be used"),
            marks=pytest.mark.skipif(not find_spec("psycopg2"), reason="psycopg2 is not installed"),
        ),
    ],
)
def test_databases_that_cannot_be_used(address: str, error: str) -> None:
    with pytest.raises(InputError) as caught:
        Study(address, "s", 0)
    assert error in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database at all, but long enough to be looked at" * 40)
    with pytest.raises(InputError, match="file is not a database"):
        Study(f"sqlite:///{tmp_path}/x.db", "s", 0)


# ------------------------------------------------------------------------------------------------ pruning


def pruned_at(study: Study, curve: Callable[[int], float], steps: tuple[int, ...] = (5, 15, 35, 100)) -> int | None:
    """Report a trial's curve until it is to be pruned; return the step of that."""
    number = begin(study).number
    known: dict[int, float] = {}
    for step in steps:
        known[step] = curve(step)
        if study.report(number, known):
            study.prune(number, "early", 0.1)
            return step
    study.complete(number, curve(100))
    return None


@pytest.mark.long
def test_hyperband_stops_the_worse_at_its_rungs(address: str) -> None:
    """Optuna deals the trials out to three brackets by the study's name: these are 1, 0, 0, 0, 2, 0, 1, 1, 0, ..."""
    study = Study(address, "sweep", 0)
    study.use_pruner("hyperband")
    for quality, count in ((0.9, 5), (0.95, 3)):
        ends = [pruned_at(study, lambda step, quality=quality: quality * step / 100) for _ in range(count)]
        assert ends == [None] * count
    bad = [pruned_at(study, lambda step: 0.05 * step / 100) for _ in range(6)]  # brackets 0, 0, 0, 1, 2, 1
    assert bad == [15, 15, 15, 35, 100, 35]  # the first evaluation after 11, 33 and 99 %


def test_hyperband_never_stops_the_first(address: str) -> None:
    study = Study(address, "s", 0)
    study.use_pruner("hyperband")
    assert pruned_at(study, lambda step: 0.01) is None


def test_without_a_pruner_nothing_is_stopped(address: str) -> None:
    study = Study(address, "s", 0)
    study.use_pruner("none")
    assert [pruned_at(study, lambda step, of=of: of) for of in (0.9, 0.1, 0.0)] == [None] * 3


@pytest.mark.long
def test_a_wilcoxon_test_over_pictures_stops_what_is_worse_on_most(address: str) -> None:
    """Pictures differ far more than models do; the test is paired, so that this does not matter."""
    pictures = np.random.default_rng(0).uniform(0.2, 0.9, 20)
    steps = range(20)
    study = Study(address, "s", 0)
    study.use_pruner("wilcoxon")

    def end(values: np.ndarray) -> int | None:
        number = begin(study).number
        for count in range(5, 21, 5):  # a fold has five of them
            if study.report(number, {step: float(values[step]) for step in steps[:count]}):
                study.prune(number, "early", 0.1)
                return count
        study.complete(number, float(values.mean()))
        return None

    assert end(pictures) is None
    noise = np.random.default_rng(1).normal(0, 0.02, 20)
    assert end(pictures + 0.05 + noise) is None  # better
    assert end(pictures + 0.05 + noise[::-1]) is None  # alike
    assert end(pictures + noise) in (5, 10, 15)  # worse by 0.05
    assert study.best() is not None


def test_importance_finds_the_setting_that_matters(address: str) -> None:
    study = Study(address, "s", 0)
    for _ in range(3):
        trial = begin(study)
        study.complete(trial.number, score(trial))
    assert study.importance() == {}  # too few to tell
    for _ in range(6):
        trial = begin(study)
        study.complete(trial.number, score(trial))
    shares = study.importance()
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["optim.lr"] > 0.6
