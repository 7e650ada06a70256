"""Runs found by whatever a person calls them, and read from folders and from a real store."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.compared import run_folder, stored_run, two_tables
from tests.support.tables import make_table
from trainer import InputError
from trainer.system.run_folder import RunFolder
from trainer.tracking import run_finder, run_reader
from trainer.tracking.names import image_key
from trainer.tracking.run_finder import Finder, unique_runs
from trainer.tracking.run_reader import ComparedRun, read_folder


@pytest.fixture
def client(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Client of a store with tables and nothing in it; mlruns/ is a folder of the test."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for module in (run_finder, run_reader):
        monkeypatch.setattr(module, "MLRUNS", tmp_path / "mlruns")
    return MlflowClient(uri)


@pytest.fixture
def finder(client: MlflowClient) -> Finder:
    return Finder(lambda: client)


def refuse() -> MlflowClient:
    raise InputError("tracking server http://x: no answer")


def test_a_folder_is_read_without_a_store(tmp_path: Path) -> None:
    table = make_table(9)
    folder = run_folder(tmp_path, "first run", table, images=2)
    run = Finder(refuse).find(str(folder))
    assert (run.name, run.table, run.run_id) == ("first run", table, "")
    assert run.settings["optim.lr"] == 0.002
    assert run.curves["val/miou"] == [(0, 0.0), (10, 0.1), (20, 0.2)]
    assert run.metrics["best/miou"] == 0.2
    assert run.facts["experiment"] == "cats"
    assert run.facts["state"] == "finished"
    assert run.notes == ("it has no model",)
    (best,) = folder.images.glob("best~image 1+*.png")
    assert run.images["image 1"] == best.read_bytes(), "the best weights', not the last step's"


def test_a_store_gives_what_the_folder_gives(tmp_path: Path, client: MlflowClient, finder: Finder) -> None:
    folder = run_folder(tmp_path / "elsewhere" / "work", 'it\'s "a" <b>', make_table(9), images=1)
    run_id = stored_run(client, folder)
    local = read_folder(folder)
    for text in (run_id, f"runs:/{run_id}/model", 'it\'s "a" <b>', f"http://x/#/experiments/1/runs/{run_id}"):
        run = finder.find(text)
        assert (run.name, run.run_id, run.table, run.settings) == (local.name, run_id, local.table, local.settings)
        assert run.images == local.images
        assert run.curves["val/miou"] == local.curves["val/miou"]
        assert run.notes == ()


def test_a_run_of_this_machine_is_read_from_its_folder(tmp_path: Path, client: MlflowClient, finder: Finder) -> None:
    folder = run_folder(tmp_path / "mlruns" / "work", "old name", make_table(9))
    run_id = stored_run(client, folder, tags={"trainer.uid": folder.path.name})
    client.update_run(run_id, name="new name")
    assert finder.find("new name").table is not None
    info = json.loads(folder.run.read_text())
    folder.run.write_text(json.dumps(info | {"run_id": run_id}))
    shutil.rmtree(tmp_path / "mlruns" / "artifacts")
    run = finder.find("new name")
    assert (run.name, run.run_id, run.table) == ("new name", run_id, make_table(9))


@pytest.mark.parametrize("uid", ["../../x", "20261130-153000-abcdef/..", ""])
def test_a_folder_is_never_found_by_a_path_in_a_tag(
    uid: str, tmp_path: Path, client: MlflowClient, finder: Finder
) -> None:
    folder = run_folder(tmp_path / "x" / "work", "run")
    run_id = stored_run(client, folder, tags={"trainer.uid": uid})
    (tmp_path / "x" / "run.json").write_text(json.dumps({"run_id": run_id, "run_name": "wrong"}))
    (tmp_path / "mlruns" / "work").mkdir(parents=True)
    assert finder.find(run_id).model == f"runs:/{run_id}/model"


def test_unknown_and_ambiguous_names_are_listed(tmp_path: Path, client: MlflowClient, finder: Finder) -> None:
    folder = run_folder(tmp_path / "elsewhere" / "work", "twice")
    ids = [stored_run(client, folder, experiment) for experiment in ("one", "other")]
    with pytest.raises(InputError, match="2 runs have this name; give the id of one") as error:
        finder.find("twice")
    assert all(run_id in str(error.value) for run_id in ids)
    with pytest.raises(InputError, match=r"^thrice: no run of this name.* there are twice"):
        finder.find("thrice")
    with pytest.raises(InputError, match="no such run in this store"):
        finder.find("0" * 32)
    client.delete_run(ids[0])
    assert finder.find("twice").run_id == ids[1]
    with pytest.raises(InputError, match="was deleted in MLflow"):
        finder.find(ids[0])
    with pytest.raises(InputError, match="no such model"):
        finder.find("models:/cats/1")


def test_a_model_stands_for_its_run(tmp_path: Path, client: MlflowClient, finder: Finder) -> None:
    folder = run_folder(tmp_path / "elsewhere" / "work", "trained", make_table(9))
    run_id = stored_run(client, folder)
    client.create_registered_model("cats")
    client.create_model_version("cats", tmp_path.as_uri(), run_id)
    client.create_model_version("cats", tmp_path.as_uri())
    client.set_registered_model_alias("cats", "champion", "1")
    run = finder.find("models:/cats@champion")
    assert (run.name, run.run_id, run.model) == ("cats version 1 (champion)", run_id, "models:/cats/1")
    assert run.table == make_table(9)
    assert run.facts["run"] == "trained"
    bare = finder.find("models:/cats/2")
    assert (bare.name, bare.table, bare.notes) == ("cats version 2", None, ("a model without a run",))
    client.delete_run(run_id)
    assert "was deleted" in finder.find("models:/cats/1").notes[0]


def test_the_best_runs_of_an_experiment(tmp_path: Path, client: MlflowClient, finder: Finder) -> None:
    digest = {"evaluation.digest": "1"}
    made: dict[str, tuple[float, dict[str, str]]] = {
        "other images": (0.99, {"evaluation.digest": "2"}),
        "middle": (0.3, digest),
        "best": (0.9, digest),
        "sweep": (1.0, {"kind": "sweep"}),
        "folds": (0.1, digest | {"kind": "folds"}),
        "old": (0.98, {}),
        "evaluated": (0.97, {"kind": "evaluation", "evaluation.digest": "3"}),
        "fold 1": (0.95, digest | {"mlflow.parentRunId": "folds"}),
        "trial 1": (0.2, digest | {"mlflow.parentRunId": "sweep"}),
    }
    folder = run_folder(tmp_path / "elsewhere" / "work", "any")
    ids = {}
    for name, (score, tags) in made.items():
        parent = {"mlflow.parentRunId": ids[tags["mlflow.parentRunId"]]} if "mlflow.parentRunId" in tags else {}
        ids[name] = stored_run(client, folder, "cats", tags | parent)
        client.update_run(ids[name], name=name)
        client.log_metric(ids[name], "best/miou", score)
    assert [run.name for run in finder.experiment("cats", 5)] == ["best", "middle", "trial 1", "folds"]
    assert finder.warnings == ["3 runs of cats left out, without scores on the same images as those of the newest"]
    assert [run.name for run in finder.experiment("cats", 2)] == ["best", "middle"]
    flattered = "the 2 best of 4 runs of cats: chosen by their scores on these images, which flatters them"
    assert finder.warnings[-1] == flattered
    with pytest.raises(InputError, match="--experiment cts: no such experiment; there are cats"):
        finder.experiment("cts", 2)
    empty = client.create_experiment("empty")
    with pytest.raises(InputError, match="holds no run"):
        finder.experiment("empty", 2)
    client.delete_experiment(empty)
    with pytest.raises(InputError, match=f"deleted in MLflow.* mlflow experiments restore --experiment-id {empty}$"):
        finder.experiment("empty", 2)


def test_what_is_missing_is_said(tmp_path: Path, client: MlflowClient, finder: Finder) -> None:
    old = run_folder(tmp_path / "elsewhere" / "work", "old")
    run_id = stored_run(client, old, tags={"best.step": "20"})
    assert finder.find(run_id).notes == (
        "it has no table of scores (evaluation/scores.json), as runs of older versions",
    )
    folder = run_folder(tmp_path / "elsewhere" / "work", "damaged", make_table(9))
    stored = RunFolder(tmp_path / "elsewhere" / "artifacts" / stored_run(client, folder) / "artifacts")
    (stored.path / "evaluation" / "scores.json").write_text("{")
    (stored.path / "config.yaml").write_text("[")
    notes = finder.find("damaged").notes
    assert notes[0] == "its config.yaml is missing or damaged"
    assert notes[1].startswith("evaluation/scores.json: schema_version None")
    shutil.rmtree(stored.path)
    run = finder.find("damaged")
    assert (run.table, run.settings, run.images) == (None, {}, {})
    assert len(run.notes) == 2


def test_without_the_store_names_are_looked_up_in_the_run_folders(
    tmp_path: Path, client: MlflowClient, make_runs: Callable[..., list[RunFolder]]
) -> None:
    folders = make_runs("a", "b", "b")
    finder = Finder(refuse)
    assert finder.find("a").name == "a"
    assert finder.find(folders[1].path.name).name == "b"
    assert finder.warnings[0].startswith("tracking server http://x: no answer. a is read from ")
    with pytest.raises(InputError, match="2 runs have this name; give the folder of one"):
        finder.find("b")
    with pytest.raises(InputError, match="tracking server http://x: no answer"):
        finder.find("c")


@pytest.fixture
def make_runs(tmp_path: Path) -> Callable[..., list[RunFolder]]:
    return lambda *names: [run_folder(tmp_path / "mlruns" / "work", name) for name in names]


def test_runs_that_are_given_twice_are_shown_once() -> None:
    runs = [ComparedRun("a", "1"), ComparedRun("b", "2"), ComparedRun("a version 1", "1"), ComparedRun("b", "3" * 32)]
    runs += [ComparedRun("b (2)", "4"), ComparedRun("model", model="x/model"), ComparedRun("model", model="y/model")]
    unique, notes = unique_runs(runs)
    assert [run.name for run in unique] == ["a", "b (2)", "b (33333333)", "b (2) (4)", "model (5)", "model (6)"]
    assert notes == ["a version 1 is a again; shown once"]
    (renamed,), _ = unique_runs([ComparedRun("token=geheim123", "5")])
    assert renamed.name == "token=***"


def test_pictures_are_matched_by_contents(tmp_path: Path) -> None:
    from trainer.tracking.comparison import watched_images

    one, other = two_tables(3)
    renamed = type(other)(
        other.class_names, tuple(type(i)("ä" + i.name, i.image, i.mask, 1, 1, i.counts) for i in other.images), {}
    )
    runs = [
        ComparedRun("a", table=one, images={"image 1": b"a"}),
        ComparedRun("b", table=renamed, images={image_key("äimage 1"): b"b"}),
        ComparedRun("c", images={"image 1": b"c", "other": b"d"}),
    ]
    found = watched_images(runs)
    assert found[(one.images[1].image, "image 1")] == {"a": b"a", "b": b"b"}
    assert found[("", "image 1")] == {"c": b"c"}
    assert len(found) == 3
