"""Choice of the champion in a real registry: by evidence, completed after a kill, whatever the interleaving."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.support.registry import DIGEST, Directed, Killed, add_version, interleave, registered_run, scored
from trainer.model.model_folder import save_segmenter
from trainer.model.score_table import ScoreTable
from trainer.model.segmenter import Segmenter
from trainer.tracking import registry
from trainer.tracking.evidence import Scorers
from trainer.tracking.gate import better
from trainer.tracking.promotion import Decision, decide

Maker = Callable[..., Segmenter]
NAMES = (f"model-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[str]:
    """Address of a fresh store, in use during this module."""
    with pytest.MonkeyPatch.context() as patch:
        uri = f"sqlite:///{shutil.copyfile(empty_store, tmp_path_factory.mktemp('store') / 'mlflow.db')}"
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri


@pytest.fixture
def client(store: str) -> MlflowClient:
    return MlflowClient(store)


@pytest.fixture
def name() -> str:
    """Name of a registered model that no other test uses."""
    return next(NAMES)


@pytest.fixture
def models(tmp_path: Path, make_segmenter: Maker) -> Callable[..., Path]:
    """Make a model folder whose score is `miou`: it is kept where training writes the commit."""

    def make(miou: float | None, **changes: Any) -> Path:
        folder = tmp_path / f"model {miou} {len(list(tmp_path.iterdir()))}"
        save_segmenter(make_segmenter(commit=f"{miou}", **changes), folder)
        return folder

    return make


def score(segmenter: Segmenter) -> ScoreTable:
    """Table of a model of the fixture `models` on three images."""
    contract = segmenter.contract
    iou = 0.0 if contract.commit == "None" else float(contract.commit)
    foreground = len(contract.class_names) - 1
    table = scored(*[(iou,) * foreground] * 3, names=contract.class_names)
    if contract.commit != "None":
        return table
    empty = tuple(replace(one, counts=((9, 9, 9), *[(0, 0, 0)] * foreground)) for one in table.images)
    return replace(table, images=empty)


SCORERS = Scorers(score)


def tags(client: MlflowClient, name: str, version: str) -> dict[str, str]:
    return dict(client.get_model_version(name, version).tags)


def champion(client: MlflowClient, name: str) -> str | None:
    found = registry.champion(client, name)
    return None if found is None else str(found.version)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (0.5, 0.4, True),
        (0.4, 0.5, False),
        (0.5, 0.5, False),
        (0.5009, 0.5, False),
        (0.501, 0.5, True),
        (0.001, None, True),
        (0.0, None, False),
        (None, None, False),
        (0.0009, 0.0, False),
    ],
)
def test_better_by_more_than_nothing(one: float | None, other: float | None, expected: bool) -> None:
    assert better(one, other) is expected


def add(client: MlflowClient, name: str, top: Path, model: Path, miou: float | None, mode: str = "auto") -> Decision:
    """Register a model as a finished training does, and decide about it by its images."""
    version = add_version(client, name, model, miou)
    return decide(client, registered_run(top / f"{name} {version}", name, version, model), mode, SCORERS)


HISTORIES: dict[str, tuple[list[float | None], list[str | None]]] = {
    "better": ([0.3, 0.5, 0.4], ["1", "2", "2"]),
    "equal, or nearly": ([0.5, 0.5, 0.5009, 0.4991], ["1", "1", "1", "1"]),
    "finds nothing": ([0.0, None, 0.0005, 0.2, 0.0], [None, None, None, "4", "4"]),
}
"""Scores of the versions in their order -> the champion after each."""


@pytest.mark.parametrize("case", HISTORIES)
def test_the_champion_after_each_version(
    case: str, client: MlflowClient, name: str, models: Callable[..., Path], tmp_path: Path
) -> None:
    found: list[str | None] = []
    for miou in HISTORIES[case][0]:
        decision = add(client, name, tmp_path, models(miou), miou)
        found.append(champion(client, name))
        assert decision.promoted is (found[-1] == decision.version)
        assert tags(client, name, decision.version)["promotion.promoted"] == str(decision.promoted)
        if not better(miou, 0.0):
            assert "finds nothing" in decision.reason or "no class to be scored by" in decision.reason
    assert found == HISTORIES[case][1]


def test_the_move_is_written_down_and_the_way_back_is_kept(
    client: MlflowClient, name: str, models: Callable[..., Path], tmp_path: Path
) -> None:
    for miou in (0.25, 0.5):
        decision = add(client, name, tmp_path, models(miou), miou)
    written = tags(client, name, "2")
    kept = {key.removeprefix("promotion."): value for key, value in written.items() if key.startswith("promotion.")}
    assert "@" in kept.pop("by")
    assert kept.pop("time")[:2] == "20"
    reason = "better than the champion, version 1, by 0.250 [0.250, 0.250] mIoU on 3 validation pictures (0.500 against 0.250)"
    numbers = {"candidate_miou": "0.5", "champion_miou": "0.25", "champion_version": "1", "images": "3"}
    numbers |= {"difference": "0.250 [0.250, 0.250]", "class_iou": '{"class 1": [0.5, 0.25]}'}
    numbers |= {"champion_dataset_digest": DIGEST, "evaluation_digest": kept.pop("evaluation_digest")}
    move = {"from": "1", "to": "2", "promoted": "True", "reason": reason, "dataset_digest": "0123456789abcdef"}
    assert kept == numbers | move
    assert decision == Decision("2", True, reason)
    assert client.get_model_version_by_alias(name, "previous").version in (1, "1")


@pytest.mark.parametrize("gone", ["alias", "version"])
def test_a_registry_without_champion_is_not_empty(
    gone: str, client: MlflowClient, name: str, models: Callable[..., Path], tmp_path: Path
) -> None:
    """The best of the versions that are left competes in the champion's place."""
    for miou in (0.43, 0.44):
        add(client, name, tmp_path, models(miou), miou)
    if gone == "alias":
        client.delete_registered_model_alias(name, "champion")
    else:
        client.delete_model_version(name, "2")
    worse = add(client, name, tmp_path, models(0.03), 0.03)
    assert not worse.promoted
    assert "0.0300 against 0.4" in worse.reason
    assert "no version has the alias 'champion'" in worse.reason
    assert champion(client, name) is None
    assert add(client, name, tmp_path, models(0.45), 0.45).promoted
    assert champion(client, name) == "4"


def test_force_and_never(client: MlflowClient, name: str, models: Callable[..., Path], tmp_path: Path) -> None:
    assert not add(client, name, tmp_path, models(0.5), 0.5, "never").promoted
    assert champion(client, name) is None
    forced = add(client, name, tmp_path, models(0.1), 0.1, "force")
    assert (forced.promoted, champion(client, name)) == (True, "2")
    assert forced.reason.startswith("registry.promote is force; val/miou 0.1000 against 0.5000")
    kept = add(client, name, tmp_path, models(0.5), 0.5, "never")
    assert (kept.promoted, champion(client, name)) == (False, "2")
    assert tags(client, name, "3")["promotion.champion_miou"] == "0.1"


def test_a_champion_that_cannot_be_compared_stays(
    client: MlflowClient, name: str, models: Callable[..., Path], tmp_path: Path
) -> None:
    def fails(segmenter: Segmenter) -> ScoreTable:
        if segmenter.contract.commit == "0.2":
            raise RuntimeError("an odd size")
        return score(segmenter)

    add(client, name, tmp_path, models(0.2), 0.2)
    model = models(0.5)
    version = add_version(client, name, model, 0.5)
    decision = decide(client, registered_run(tmp_path / "run", name, version, model), "auto", Scorers(fails))
    assert (decision.promoted, champion(client, name)) == (False, "1")
    assert "RuntimeError: an odd size" in decision.reason
    other = add(client, name, tmp_path, models(0.5, foreground=2), 0.5)
    assert (other.promoted, champion(client, name)) == (False, "1")
    assert "its classes are class 1" in other.reason
    damaged = models(0.6)
    (damaged / "weights.safetensors").write_bytes(b"not the weights")
    client.set_registered_model_alias(name, "champion", add_version(client, name, damaged, 0.6))
    again = add(client, name, tmp_path, models(0.7), 0.7)
    assert not again.promoted
    assert f"models:/{name}/4/weights.safetensors: no safetensors file" in again.reason


def test_without_the_images_only_scores_of_the_same_data_count(client: MlflowClient, name: str, tmp_path: Path) -> None:
    for number, (miou, digest, promoted) in enumerate(
        [(0.3, "one", True), (0.9, "another", False), (0.4, "one", True), (0.2, "one", False)], 1
    ):
        version = add_version(client, name, tmp_path, miou, dataset_digest=digest)
        decision = decide(client, registered_run(tmp_path / f"run {number}", name, version), "auto")
        assert decision.promoted is promoted, decision
    assert champion(client, name) == "3"


# ------------------------------------------------------------------------------------------- at the same time


def contest(client: MlflowClient, name: str, top: Path, scores: list[float]) -> dict[str, Any]:
    """Registered runs with these scores: version -> its folder."""
    found = {}
    for miou in scores:
        version = add_version(client, name, top, miou)
        found[version] = registered_run(top / f"{name} {version}", name, version)
    return found


def check_outcome(client: MlflowClient, name: str, best: str, decisions: dict[str, Decision]) -> None:
    assert champion(client, name) == best
    for version, decision in decisions.items():
        assert tags(client, name, version)["promotion.promoted"] == str(decision.promoted)
    assert decisions[best].promoted
    assert sum(one.reason == "the first version" for one in decisions.values()) <= 1


def check_interleavings(client: MlflowClient, top: Path, seeds: range) -> set[tuple[bool, ...]]:
    """Let runs decide at once, in orders of their calls that follow from the seeds; return the outcomes seen."""
    seen = set()
    for seed in seeds:
        name = next(NAMES)
        scores = [0.6, 0.4, 0.5][: 2 + seed % 2]
        if seed % 3 == 0:
            scores.reverse()
        if seed % 5 == 0:  # over a champion that is there already
            add_champion(client, name, top)
        runs = contest(client, name, top, scores)
        works = {
            version: lambda before, run=run: decide(Directed(client, before), run, "auto")  # type: ignore[arg-type]
            for version, run in runs.items()
        }
        decisions = interleave(works, seed)
        best = max(runs, key=lambda version: scores[list(runs).index(version)])
        check_outcome(client, name, best, decisions)
        seen.add(tuple(one.promoted for one in decisions.values()))
    return seen


def add_champion(client: MlflowClient, name: str, top: Path) -> None:
    (run,) = contest(client, name, top, [0.2]).values()
    assert decide(client, run, "auto").promoted


def test_the_best_of_several_at_once_is_champion(client: MlflowClient, tmp_path: Path) -> None:
    assert len(check_interleavings(client, tmp_path, range(6))) > 1


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_best_of_several_at_once_is_champion_in_200_orders(client: MlflowClient, tmp_path: Path) -> None:
    assert len(check_interleavings(client, tmp_path, range(6, 206))) > 1


def kill_at(count: int) -> Callable[[int], None]:
    """End a process before its call number `count`."""

    def before(call: int) -> None:
        if call == count:
            raise Killed

    return before


@pytest.mark.parametrize("start", [7, pytest.param(1, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_a_decision_killed_at_each_call_is_completed(start: int, client: MlflowClient, tmp_path: Path) -> None:
    """Before call 7 the version has only announced itself; the alias moves afterwards."""
    for count in itertools.count(start):
        name = next(NAMES)
        add_champion(client, name, tmp_path)
        ((version, run),) = contest(client, name, tmp_path, [0.5]).items()
        directed = Directed(client, kill_at(count))
        try:
            decide(directed, run, "auto")  # type: ignore[arg-type]
        except Killed:
            assert run.read_version()["promoted"] is None
            decision = decide(client, run, "auto")
            assert decision == decide(client, run, "auto")
            assert decision.reason == "val/miou 0.5000 against 0.2000 of the champion, version 1"
            check_outcome(client, name, version, {version: decision})
            assert client.get_model_version_by_alias(name, "previous").version in (1, "1")
            assert run.read_version()["promoted"] is True
        else:
            break
    assert directed.calls > 10


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_kill_in_a_crowd(client: MlflowClient, tmp_path: Path) -> None:
    """One of two at once is killed at each of its calls in turn, and completed when the other has ended."""
    for seed, count in itertools.product(range(6), range(1, 18)):
        name = next(NAMES)
        scores = [0.6, 0.4] if seed % 2 else [0.4, 0.6]
        runs = contest(client, name, tmp_path, scores)

        def work(before: Callable[[int], None], version: str, runs: Any = runs, count: int = count) -> Decision | None:
            kill = kill_at(count if version == "1" else 0)

            def both(call: int) -> None:
                before(call)
                kill(call)

            try:
                return decide(Directed(client, both), runs[version], "auto")  # type: ignore[arg-type]
            except Killed:
                return None

        decisions = interleave({v: lambda before, v=v: work(before, v) for v in runs}, seed)  # type: ignore[misc]
        decisions["1"] = decisions["1"] or decide(client, runs["1"], "auto")
        check_outcome(client, name, "1" if seed % 2 else "2", decisions)
