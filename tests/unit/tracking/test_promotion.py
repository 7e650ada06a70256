"""Choice of the champion in a real registry: by evidence, completed after a kill, whatever the interleaving."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.support.registry import DIGEST, Directed, Killed, add_version, interleave, registered_run, scored
from trainer.model.model_folder import save_segmenter
from trainer.model.score_table import ScoreTable
from trainer.model.segmenter import Segmenter
from trainer.model.training_images import TrainingImages, of_hashes, write_training_images
from trainer.system.atomic import write_json
from trainer.tracking import registry
from trainer.tracking.evidence import Scorers
from trainer.tracking.gate import Rules, better
from trainer.tracking.promotion import Decision, decide

Maker = Callable[..., Segmenter]
NAMES = (f"contest-{number}" for number in itertools.count())


@pytest.fixture
def models(tmp_path: Path, make_segmenter: Maker) -> Callable[..., Path]:
    """Make a model folder whose score is `miou`: it is kept where training writes the commit.

    `trained`: numbers of the images that trained it; None writes no list of them, as an older program.
    """

    def make(
        miou: float | None, trained: TrainingImages | list[int] | None = TRAINED, digest: str = DIGEST, **changes: Any
    ) -> Path:
        folder = tmp_path / f"model {miou} {len(list(tmp_path.iterdir()))}"
        save_segmenter(make_segmenter(commit=f"{miou}", dataset_digest=digest, **changes), folder)
        if trained is not None:
            write_training_images(folder, trained if isinstance(trained, TrainingImages) else of_hashes(trained))
        return folder

    return make


TRAINED = [100, 101, 102]
"""Numbers of images that train; those that validate have the numbers from 0 on."""


def score(segmenter: Segmenter, images: int = 3, first: int = 0) -> ScoreTable:
    """Table of a model of the fixture `models`."""
    contract = segmenter.contract
    iou, pixels = (0.0, 0) if contract.commit == "None" else (float(contract.commit), 10_000)
    foreground = len(contract.class_names) - 1
    return scored(*[(iou,) * foreground] * images, names=contract.class_names, first=first, pixels=pixels)


SCORERS = Scorers(score)


def tags(client: MlflowClient, name: str, version: str) -> dict[str, str]:
    return dict(client.get_model_version(name, version).tags)


def champion(client: MlflowClient, name: str) -> str | None:
    found = registry.champion(client, name)
    return None if found is None else str(found.version)


def add(
    client: MlflowClient,
    name: str,
    top: Path,
    model: Path,
    miou: float | None,
    mode: str = "auto",
    scorers: Scorers | None = SCORERS,
    digest: str = DIGEST,
    rules: Rules = Rules(),  # noqa: B008
) -> Decision:
    """Register a model as a finished training does, and decide about it."""
    version = add_version(client, name, model, miou, dataset_digest=digest)
    return decide(client, registered_run(top / f"{name} {version}", name, version, model), mode, scorers, rules)


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
            nothing = "its validation masks show no class" if miou is None else f"val/miou {miou:.4f}: it finds nothing"
            assert decision.reason.startswith(nothing)
    assert found == HISTORIES[case][1]


def test_the_move_is_written_down_and_the_way_back_is_kept(
    client: MlflowClient, name: str, models: Callable[..., Path], make_segmenter: Maker, tmp_path: Path
) -> None:
    for miou in (0.25, 0.5):
        decision = add(client, name, tmp_path, models(miou), miou)
    written = tags(client, name, "2")
    kept = {key.removeprefix("promotion."): value for key, value in written.items() if key.startswith("promotion.")}
    assert "@" in kept.pop("by")
    assert kept.pop("time")[:2] == "20"
    numbers = "0.250 [0.250, 0.250] mIoU on 3 validation pictures (0.500 against 0.250)"
    reason = f"better than the champion (version 1) by {numbers}"
    expected = {"candidate_miou": "0.5", "champion_miou": "0.25", "champion_version": "1", "images": "3"}
    expected |= {"difference": "0.250 [0.250, 0.250]", "class_iou": '{"class 1": [0.5, 0.25]}'}
    expected |= {"champion_dataset_digest": DIGEST, "evaluation_digest": score(make_segmenter(commit="0.5")).digest}
    move = {"from": "1", "to": "2", "promoted": "True", "reason": reason, "dataset_digest": "0123456789abcdef"}
    assert kept == expected | move
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
    assert "worse than version " in worse.reason
    assert "(0.030 against 0.4" in worse.reason
    assert "no version has the alias 'champion'" in worse.reason
    assert champion(client, name) is None
    assert add(client, name, tmp_path, models(0.45), 0.45).promoted
    assert champion(client, name) == "4"


def test_force_and_never(client: MlflowClient, name: str, models: Callable[..., Path], tmp_path: Path) -> None:
    assert not add(client, name, tmp_path, models(0.5), 0.5, "never").promoted
    assert champion(client, name) is None
    forced = add(client, name, tmp_path, models(0.1), 0.1, "force")
    assert (forced.promoted, champion(client, name)) == (True, "2")
    assert forced.reason.startswith("registry.promote is force; worse than version 1 (the best before it")
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
    assert f"models:/{name}/4/weights.safetensors: not a safetensors file" in again.reason


def test_a_champion_that_trained_on_the_candidates_images_does_not_keep_its_place_by_that(
    client: MlflowClient, name: str, models: Callable[..., Path], tmp_path: Path
) -> None:
    """It knows all but two of them by heart, and is worse on those two."""
    images = 6

    def memorising(segmenter: Segmenter) -> ScoreTable:
        table = score(segmenter, images)
        learnt = segmenter.contract.commit == "0.4"
        better_ones = scored(*[(0.95,)] * (images - 2), (0.4,), (0.4,), names=segmenter.contract.class_names)
        return better_ones if learnt else table

    add(client, name, tmp_path, models(0.4, [*TRAINED, 0, 1, 2, 3], "fold 0"), 0.4, digest="fold 0")
    decision = add(client, name, tmp_path, models(0.6), 0.6, scorers=Scorers(memorising))
    assert decision.promoted
    assert "on 2 of 6 validation pictures, those that trained neither (0.600 against 0.400)" in decision.reason
    assert tags(client, name, "2")["promotion.images"] == "2"


def test_with_too_few_images_left_nothing_moves_unless_a_folder_is_set_apart(
    client: MlflowClient, name: str, models: Callable[..., Path], tmp_path: Path
) -> None:
    add(client, name, tmp_path, models(0.4, [*TRAINED, 0, 1], "fold 0"), 0.4, digest="fold 0")
    refused = add(client, name, tmp_path, models(0.6), 0.6)
    assert (refused.promoted, champion(client, name)) == (False, "1")
    assert "1 of 3 validation pictures trained neither of them, and 2 is the least; give registry.eval_root" in (
        refused.reason
    )
    apart = Scorers(score, lambda segmenter: score(segmenter, 5, first=100))  # the first three have trained both
    promoted = add(client, name, tmp_path, models(0.6), 0.6, scorers=apart)
    assert (promoted.promoted, champion(client, name)) == (True, "3")
    assert "mIoU on 2 of 5 pictures of registry.eval_root (0.600 against 0.400)" in promoted.reason
    assert "; compared there because 1 of 3 validation pictures trained neither" in promoted.reason
    none_left = Scorers(score, lambda segmenter: score(segmenter, 4, first=99 - 97))
    add(client, name, tmp_path, models(0.7, [0, 1, 2, 3, 4, 5]), 0.7, "force")
    refused = add(client, name, tmp_path, models(0.9), 0.9, scorers=none_left)
    assert not refused.promoted
    assert "and 0 of 4 pictures of registry.eval_root" in refused.reason


def test_unlabelled_and_inherited_images_count_as_trained(
    client: MlflowClient, name: str, models: Callable[..., Path], tmp_path: Path
) -> None:
    add(client, name, tmp_path, models(0.4, of_hashes([100], [0, 1]), "other"), 0.4, digest="other")
    assert "1 of 3 validation pictures" in add(client, name, tmp_path, models(0.6), 0.6).reason
    started = of_hashes(TRAINED).after(of_hashes([1, 2]))
    assert "0 of 3 validation pictures" in add(client, name, tmp_path, models(0.6, started), 0.6).reason
    unknown = of_hashes(TRAINED).after(None)
    refused = add(client, name, tmp_path, models(0.6, unknown), 0.6)
    assert "it is not known of this one which pictures trained the model that it started from" in refused.reason
    assert champion(client, name) == "1"


def test_a_champion_of_an_older_program(
    client: MlflowClient, name: str, models: Callable[..., Path], tmp_path: Path
) -> None:
    """Its images are not listed. Of the same data they are the candidate's; of others nobody knows."""
    add(client, name, tmp_path, models(0.4, None), 0.4)
    assert add(client, name, tmp_path, models(0.5), 0.5).promoted
    add(client, name, tmp_path, models(0.4, None, "older"), 0.4, "force", digest="older")
    refused = add(client, name, tmp_path, models(0.9), 0.9)
    assert not refused.promoted
    assert "it is not known which pictures trained it, since an older program made it" in refused.reason
    apart = Scorers(score, lambda segmenter: score(segmenter, 5, first=50))
    assert add(client, name, tmp_path, models(0.9), 0.9, scorers=apart).promoted


def test_relabelled_data_are_compared_by_the_new_masks(
    client: MlflowClient, name: str, models: Callable[..., Path], tmp_path: Path
) -> None:
    add(client, name, tmp_path, models(0.8, digest="old masks"), 0.8, digest="old masks")

    def by_new_masks(segmenter: Segmenter) -> ScoreTable:
        return scored(
            *[(0.5 if segmenter.contract.commit == "0.8" else 0.6,)] * 3, names=segmenter.contract.class_names
        )

    decision = add(client, name, tmp_path, models(0.6), 0.6, scorers=Scorers(by_new_masks))
    assert decision.promoted
    assert "(0.600 against 0.500)" in decision.reason
    written = tags(client, name, "2")
    digests = written["promotion.dataset_digest"], written["promotion.champion_dataset_digest"]
    assert digests == (DIGEST, "old masks")


def test_one_class_worse_and_a_margin(
    client: MlflowClient, name: str, models: Callable[..., Path], tmp_path: Path
) -> None:
    def two_classes(segmenter: Segmenter) -> ScoreTable:
        iou = {"0.6": (0.6, 0.6), "0.7": (0.85, 0.5), "0.65": (0.7, 0.6)}[segmenter.contract.commit]
        return scored(*[iou] * 3, names=segmenter.contract.class_names)

    scorers = Scorers(two_classes)
    add(client, name, tmp_path, models(0.6, foreground=2), 0.6, scorers=scorers)
    fallen = add(client, name, tmp_path, models(0.7, foreground=2), 0.7, scorers=scorers)
    assert not fallen.promoted
    assert "but class 2 falls by 0.100, more than registry.max_class_drop 0.05" in fallen.reason
    small = add(client, name, tmp_path, models(0.65, foreground=2), 0.65, scorers=scorers, rules=Rules(margin=0.2))
    assert not small.promoted
    assert "less than registry.margin 0.2" in small.reason
    assert champion(client, name) == "1"
    assert add(client, name, tmp_path, models(0.65, foreground=2), 0.65, scorers=scorers).promoted


def test_other_classes_are_champion_only_by_force(
    client: MlflowClient, name: str, models: Callable[..., Path], tmp_path: Path
) -> None:
    add(client, name, tmp_path, models(0.5), 0.5)
    other = add(client, name, tmp_path, models(0.9, foreground=2), 0.9)
    assert (other.promoted, champion(client, name)) == (False, "1")
    assert "its classes are class 1, and those of this one class 1, class 2" in other.reason
    assert add(client, name, tmp_path, models(0.9, foreground=2), 0.9, "force").promoted
    assert champion(client, name) == "3"


def test_the_decision_is_a_file_of_the_run(
    client: MlflowClient, name: str, models: Callable[..., Path], tmp_path: Path
) -> None:
    add(client, name, tmp_path, models(0.4), 0.4)
    version, model = "2", models(0.5)
    assert add_version(client, name, model, 0.5) == version
    run = registered_run(tmp_path / "run", name, version, model)
    experiment = client.create_experiment(name, artifact_location=(tmp_path / "artifacts").as_uri())
    run_id = client.create_run(experiment).info.run_id
    content = {"uid": "u", "experiment": name, "run_name": "r", "time": 0, "tracked": True, "run_id": run_id}
    write_json(run.run, content)
    decision = decide(client, run, "auto", SCORERS)
    assert decision.promoted
    sent = json.loads(Path(client.download_artifacts(run_id, "promotion.json", str(tmp_path))).read_text())
    assert sent["reason"] == decision.reason
    assert (sent["promoted"], sent["version"], sent["champion"]) == (True, "2", "1")
    assert sent["comparison"]["interval"] == pytest.approx([0.1, 0.1])
    assert sent["comparison"]["classes"]["class 1"]["candidate"] == pytest.approx(0.5)


def test_without_the_images_the_tables_of_both_runs_count(
    client: MlflowClient, name: str, models: Callable[..., Path], tmp_path: Path
) -> None:
    """Two of the images are in both tables and trained neither."""
    experiment = client.create_experiment(name, artifact_location=(tmp_path / "artifacts").as_uri())
    for version, (iou, first, digest) in {"1": (0.4, 0, "one"), "2": (0.6, 2, "another")}.items():
        model = models(iou, digest=digest)
        run_id = client.create_run(experiment).info.run_id
        if version == "1":
            client.create_registered_model(name)
        tag = {"val/miou": f"{iou}", "dataset_digest": digest}
        client.create_model_version(name, model.as_uri(), run_id, tag)
        run = registered_run(tmp_path / f"run {version}", name, version, model)
        run.evaluation.mkdir()
        scored(*[(iou,)] * 4, first=first).write(run.scores)
        client.log_artifact(run_id, str(run.scores), "evaluation")
        decision = decide(client, run, "auto")
        assert decision.promoted
    assert "on the 2 pictures that validated both, as their runs have counted them (0.600 against 0.400)" in (
        decision.reason
    )


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
    assert len(check_interleavings(client, tmp_path, range(3))) > 1


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_best_of_several_at_once_is_champion_in_200_orders(client: MlflowClient, tmp_path: Path) -> None:
    assert len(check_interleavings(client, tmp_path, range(3, 203))) > 1


def kill_at(count: int) -> Callable[[int], None]:
    """End a process before its call number `count`."""

    def before(call: int) -> None:
        if call == count:
            raise Killed

    return before


@pytest.mark.parametrize(
    ("start", "step"), [(12, 6), pytest.param(1, 1, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
)
def test_a_decision_killed_at_each_call_is_completed(
    start: int, step: int, client: MlflowClient, tmp_path: Path
) -> None:
    """First the version announces itself; then the record of the move is written, and the alias moves."""
    for count in itertools.count(start, step):
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
            assert decision.reason == "val/miou 0.5000 against 0.2000 of the champion (version 1)"
            check_outcome(client, name, version, {version: decision})
            assert client.get_model_version_by_alias(name, "previous").version in (1, "1")
            assert run.read_version()["promoted"] is True
        else:
            break
    assert directed.calls > 10


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_kill_in_a_crowd(client: MlflowClient, tmp_path: Path) -> None:
    """One of two at once is killed at each of its calls in turn, and completed when the other has ended."""
    for seed, count in itertools.product(range(6), range(1, 48, 3)):
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
