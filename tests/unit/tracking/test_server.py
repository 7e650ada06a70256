"""Sending of run folders to a real sqlite store: everything arrives once, whatever was lost in between."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from tests.support.runs import create_store, histories, journal_points
from trainer import InputError
from trainer.model.model_folder import WEIGHTS_FILE
from trainer.system.atomic import write_json
from trainer.system.run_folder import RunFolder, new_run_folder
from trainer.tracking.description import how_to_use
from trainer.tracking.names import NOTE
from trainer.tracking.run import Run
from trainer.tracking.server import BATCH_RECORDS, UID_TAG, connect_run, send_records
from trainer.tracking.store import OtherStoreError

EXPERIMENT = "cats"


@pytest.fixture(autouse=True)
def _restore_environment() -> Iterator[None]:
    """`connect_run` sets MLflow's address for the process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def new_store(tmp_path: Path, empty_store: Path) -> Callable[[str], Path]:
    """Return a function that creates a store and puts it into use."""

    def make(name: str) -> Path:
        file = create_store(empty_store, tmp_path / f"{name}.db", EXPERIMENT)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{file}"
        return file

    return make


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Folder of a finished run, of which nothing is sent."""
    result = new_run_folder(tmp_path / "work", EXPERIMENT, "a run", tracked=False)
    run = Run(result, None, tracked=False)
    run.params({"optim.lr": 0.1})
    run.params({"data.root": "https://someone:secret@host/data"})
    for context in ("training", "validation"):
        run.dataset("discs", "0123456789abcdef", context, {"samples": 3})
    for step in range(BATCH_RECORDS + 100):
        run.metrics({"train/loss": 1 / (step + 1), "train/lr": 0.1}, step)
    run.image("watch/disc", np.zeros((40, 60, 3), np.uint8), 5)
    run.end("FINISHED")
    run.close()
    return result


def only_run(store: Path) -> Any:
    client = MlflowClient(f"sqlite:///{store}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
    return run


def check_complete(store: Path, folder: RunFolder) -> None:
    run = only_run(store)
    points = histories(store)
    assert {key: found for (_, key), found in points.items()} == journal_points(folder.path)
    assert {owner for owner, _ in points} == {run.info.run_id}
    assert run.data.tags[UID_TAG] == folder.read_run()["uid"]
    assert run.data.params == {"optim.lr": "0.1", "data.root": "https://host/data"}
    assert sorted(one.tags[0].value for one in run.inputs.dataset_inputs) == ["training", "validation"]
    assert run.info.status == "FINISHED"
    assert folder.unsent_records() == 0
    images = store.parent / f"{store.stem} artifacts" / run.info.run_id / "artifacts" / "images"
    sent, local = ({path.name: path.read_bytes() for path in place.iterdir()} for place in (images, folder.images))
    assert sent == local
    assert len(sent) == 2


def test_everything_arrives_once_whatever_state_is_lost(new_store: Callable[[str], Path], folder: RunFolder) -> None:
    store = new_store("store")
    send_records(connect_run(folder), folder)
    check_complete(store, folder)
    info = folder.read_run()
    send_records(connect_run(folder), folder)
    check_complete(store, folder)
    folder.sent.unlink()  # as after a power cut
    send_records(connect_run(folder), folder)
    check_complete(store, folder)
    write_json(folder.run, {key: value for key, value in info.items() if key != "run_id"})  # as after a lost answer
    send_records(connect_run(folder), folder)
    check_complete(store, folder)
    assert folder.read_run() == info


def test_another_store_is_sent_everything(new_store: Callable[[str], Path], folder: RunFolder) -> None:
    for name in ("first", "second"):
        store = new_store(name)
        send_records(connect_run(folder, anywhere=True), folder)
        check_complete(store, folder)


def test_a_description_names_the_run_that_it_stands_at(new_store: Callable[[str], Path], folder: RunFolder) -> None:
    """The description was written with the id that the first store gave; other addresses in it stay."""
    stores = [new_store("first")]
    first = connect_run(folder).get_run(folder.read_run()["run_id"]).info.run_id
    note = f"**Model** `runs:/{first}/model`\n\n{how_to_use('cats', first)}"
    run = Run(folder, None, tracked=False)
    run.tags({NOTE: note})
    folder.model.mkdir()
    (folder.model / WEIGHTS_FILE).write_text("weights")
    run.register("cats", {NOTE: note})
    run.close()
    send_records(connect_run(folder), folder)
    stores.append(new_store("second"))
    send_records(connect_run(folder, anywhere=True), folder)
    for store in stores:
        run_id = only_run(store).info.run_id
        expected = f"**Model** `runs:/{first}/model`\n\n{how_to_use('cats', run_id)}"
        assert f"--model runs:/{run_id}/model --input" in expected
        assert only_run(store).data.tags[NOTE] == expected
        assert MlflowClient(f"sqlite:///{store}").get_model_version("cats", "1").description == expected
    assert run_id != first


def test_an_error_does_not_undo_what_was_sent(new_store: Callable[[str], Path], folder: RunFolder) -> None:
    """A model that cannot be registered delays nothing else, not even the status of the run."""
    store = new_store("store")
    journal = folder.journal
    lines = journal.read_text().splitlines(keepends=True)
    model = json.dumps({"time": 1, "model": "cat-unet", "model_tags": {}}) + "\n"
    journal.write_text("".join([*lines[:-1], model, lines[-1]]))
    for _ in range(2):
        with pytest.raises(InputError, match="the run's model is not there"):
            send_records(connect_run(folder), folder)
        # Counted from the last file before the model: the tag of the image, the model, and the end of the run.
        assert folder.unsent_records() == 3
        assert only_run(store).info.status == "FINISHED"
        assert {key: found for (_, key), found in histories(store).items()} == journal_points(folder.path)
    journal.write_text("".join(lines))
    write_json(folder.sent, {"bytes": 0})
    send_records(connect_run(folder), folder)
    check_complete(store, folder)


def test_a_deleted_image_delays_nothing(new_store: Callable[[str], Path], folder: RunFolder) -> None:
    store = new_store("store")
    shutil.rmtree(folder.images)
    send_records(connect_run(folder), folder)
    assert only_run(store).info.status == "FINISHED"
    assert folder.unsent_records() == 0


def test_a_run_deleted_in_mlflow_is_not_written_to(new_store: Callable[[str], Path], folder: RunFolder) -> None:
    store = new_store("store")
    send_records(connect_run(folder), folder)
    MlflowClient(f"sqlite:///{store}").delete_run(only_run(store).info.run_id)
    with pytest.raises(InputError, match="deleted in MLflow; restore it"):
        connect_run(folder)
    assert only_run(store).info.lifecycle_stage == "deleted"


REFUSED = ("val/iou/a[b]", "..", "x" * 300)


def test_what_the_store_refuses_is_set_aside_and_the_rest_arrives(
    new_store: Callable[[str], Path], folder: RunFolder
) -> None:
    store = new_store("store")
    lines = folder.journal.read_text().splitlines(keepends=True)
    bad = [{"metrics": {key: float(step), f"fine/{step}": 1.0}, "step": step} for step in (3, 4) for key in REFUSED]
    bad += [{"params": {"pa[ram": "1"}}, {"tags": {"ta//g": "1"}}]
    bad += [
        {"dataset": {"name": "n" * 501, "digest": "d", "source_type": "local", "source": "s"}, "context": "training"}
    ]
    refused_file = ".artifact.uploading.x"
    (folder.path / refused_file).touch()
    bad += [{"artifact": refused_file, "to": ""}]
    extra = [json.dumps({"time": 1} | record) + "\n" for record in bad]
    folder.journal.write_text("".join([*extra, *lines[:300], *extra, *lines[300:]]))
    for _ in range(2):
        send_records(connect_run(folder), folder)
        run = only_run(store)
        points = {key: found for (_, key), found in histories(store).items()}
        expected = {key: found for key, found in journal_points(folder.path).items() if key not in REFUSED}
        assert points == {key: sorted(set(found)) for key, found in expected.items()}
        assert "fine/3" in points
        assert run.info.status == "FINISHED"
        assert run.data.params == {"optim.lr": "0.1", "data.root": "https://host/data"}
        assert len(run.inputs.dataset_inputs) == 2
        assert folder.unsent_records() == 0
        refused = folder.read_refused()
        assert {kind: sorted(names) for kind, names in refused.items()} == {
            "metrics": sorted(REFUSED),
            "params": ["pa[ram"],
            "tags": ["ta//g"],
            "datasets": ["n" * 501],
            "files": [refused_file],
        }
        assert all(reason for names in refused.values() for reason in names.values())
        assert "and 2 more; the reasons are in" in folder.describe_refused()
        folder.sent.unlink()


def test_of_a_deleted_run_nothing_is_set_aside(new_store: Callable[[str], Path], folder: RunFolder) -> None:
    store = new_store("store")
    client = connect_run(folder)
    MlflowClient(f"sqlite:///{store}").delete_run(only_run(store).info.run_id)
    with pytest.raises(InputError, match="was deleted in MLflow"):
        send_records(client, folder)
    assert folder.read_refused() == {}


def test_values_do_not_wait_for_files(
    new_store: Callable[[str], Path], folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place of the artifacts cannot be written to: all metrics and the end of the run arrive all the same."""
    store = new_store("store")
    client = connect_run(folder)
    (store.parent / f"{store.stem} artifacts").write_text("a file in the place of the folder")
    with pytest.raises(OSError, match="artifacts"):
        send_records(client, folder)
    assert {key: found for (_, key), found in histories(store).items()} == journal_points(folder.path)
    assert only_run(store).info.status == "FINISHED"
    assert folder.unsent_records() > 0
    (store.parent / f"{store.stem} artifacts").unlink()
    send_records(client, folder)
    check_complete(store, folder)


def test_a_run_goes_on_in_its_own_store_only(new_store: Callable[[str], Path], folder: RunFolder) -> None:
    first = new_store("first")
    send_records(connect_run(folder), folder)
    info = folder.read_run()
    assert info["store"] == f"sqlite:///{first}"
    second = new_store("second")
    for unnamed in (False, True):
        if unnamed:  # as earlier versions wrote it
            write_json(folder.run, {key: value for key, value in info.items() if key != "store"})
        with pytest.raises(OtherStoreError, match="a store that its files do not name" if unnamed else str(first)):
            connect_run(folder)
        assert histories(second) == {}
    shutil.copyfile(first, second)  # another name of the same store
    assert connect_run(folder) is not None
    assert folder.unsent_records() == 0
