"""compare.py as a person calls it: its outcome, its files, and its one line where something is wrong."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.compared import SETTINGS, run_folder, stored_run, two_tables
from tests.support.data import VocMaker, count_nothing
from tests.support.tables import make_table
from trainer import config
from trainer.compare import main, training_notes
from trainer.config import DataConfig
from trainer.engine.score_folder import open_labelled, score_on
from trainer.inference.model import Model
from trainer.model.model_folder import save_segmenter
from trainer.model.score_table import ScoreTable
from trainer.model.segmenter import Segmenter
from trainer.system.run_folder import RunFolder
from trainer.tracking import evaluation, run_finder, run_reader

OUTPUT = ["--output", "sheet.html", "--json", "out.json"]


@pytest.fixture
def work(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of run folders, in a working directory of the test with a store of its own."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    for module in (config, run_finder, run_reader):
        monkeypatch.setattr(module, "MLRUNS", tmp_path / "mlruns")
    return tmp_path / "mlruns" / "work"


def client(work: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{work.parent.parent / 'mlflow.db'}")


def test_folders_are_compared_without_a_store(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = two_tables()
    settings = (SETTINGS, SETTINGS.replace("0.002", "0.005"))
    folders = [run_folder(work, name, *given) for name, *given in zip(("a", "b"), tables, settings, strict=True)]
    assert main([*map(str, folders), *OUTPUT]) == 0
    out = capsys.readouterr().out
    assert "b is better than a by 0." in out
    assert re.search(r"^   1  b  0\.\d{3} \[.*\]\n   2  a  0\.\d{3} \[", out, re.MULTILINE)
    assert "            1      2\n  optim.lr  0.005  0.002\n" in out, "in the order of the scores above them"
    assert "image_size" not in out, "it does not differ"
    content = json.loads(Path("out.json").read_text())
    assert content["schema_version"] == 1
    assert content["ranked_on"] | {"digest": tables[0].digest, "images": 20} == content["ranked_on"]
    assert [run["rank"] for run in content["runs"]] == [2, 1]
    assert content["pairs"][0]["difference"]["low"] > 0
    assert content["settings"] == {"optim.lr": ["0.002", "0.005"]}
    assert content["verdict"][0] in Path("sheet.html").read_text()
    assert not list(client(work).search_experiments(filter_string="name = 'cats'")), "nothing was made in the store"


def test_the_sheet_is_an_artifact_of_each_run(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = client(work)
    folders = [run_folder(work.parent / "far" / "work", f"run {n}", table) for n, table in enumerate(two_tables())]
    ids = [stored_run(store, folder) for folder in folders]
    assert main([*ids, *OUTPUT]) == 0
    for run_id in ids:
        logged = store.download_artifacts(run_id, "comparison/compare.html")
        assert Path(logged).read_text() == Path("sheet.html").read_text()
        assert store.get_run(run_id).info.status == "FINISHED"
    assert "added to 2 of 2 runs" in capsys.readouterr().out
    Path(logged).unlink()
    assert main([*ids, *OUTPUT, "--no_artifact"]) == 0
    assert not store.list_artifacts(ids[0], "comparison") or not Path(logged).exists()


def test_a_store_that_is_away_costs_the_artifact_alone(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    folders = [run_folder(work, name, make_table(9), store="http://127.0.0.1:9") for name in ("a", "b")]
    for number, folder in enumerate(folders):
        folder.run.write_text(json.dumps(json.loads(folder.run.read_text()) | {"run_id": f"{number}" * 32}))
    assert main(["a", str(folders[1]), *OUTPUT]) == 0
    out = capsys.readouterr().out
    assert "no difference found between b and a: 0.000 [0.000, 0.000] mIoU on 9 images" in out
    assert "a is read from" in out
    assert "warning: not added to 2 of 2 runs in MLflow: tracking server http://127.0.0.1:9: no answer" in out
    assert Path("sheet.html").stat().st_size > 5000


def test_different_validation_images_are_refused_with_the_command(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [run_folder(work, name, make_table(9, first=first)) for name, first in (("a", 0), ("b", 7))]
    assert main([*map(str, folders), *OUTPUT]) == 2
    error = capsys.readouterr().err
    assert error.startswith("compare.py: not ranked: the validation images differ (a has 9, b has 9); 2 images are")
    assert error.rstrip().endswith(f"compare.py {folders[0]} {folders[1]} --data.root DIR")
    assert not Path("sheet.html").exists()


def test_other_classes_are_not_ranked_and_still_shown(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = make_table(9), make_table(9, classes=3)
    folders = [run_folder(work, name, table) for name, table in zip(("a", "b"), tables, strict=True)]
    assert main([*map(str, folders), *OUTPUT]) == 0
    text = "not ranked, since the classes differ: a knows class 1; b knows class 1, class 2"
    assert text in capsys.readouterr().out
    content = json.loads(Path("out.json").read_text())
    assert content["pairs"] == []
    assert content["ranked_on"] is None
    assert ["rank" in run for run in content["runs"]] == [False, False]
    assert content["runs"][1]["miou"]["value"] == pytest.approx(tables[1].scores().miou, abs=1e-6)
    assert list(content["curves"]["val/miou"]) == ["a", "b"]
    html = Path("sheet.html").read_text()
    assert text in html
    assert html.count("<polyline") >= 4


def test_runs_without_a_table_are_shown_beside_the_others(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given: list[tuple[str, ScoreTable | None]] = [("old", None), ("a", make_table(9)), ("b", make_table(9))]
    folders = [run_folder(work, name, table) for name, table in given]
    assert main([*map(str, folders), *OUTPUT]) == 0
    out = capsys.readouterr().out
    assert "no difference found between b and a" in out
    assert "note: old: it has no table of scores" in out
    assert main([str(folders[0]), *OUTPUT]) == 0
    assert "not ranked: it has no table of scores" in capsys.readouterr().out


def test_one_run_alone_shows_its_own_numbers(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_folder(work, "alone", make_table(9))
    assert main([str(folder), str(folder), *OUTPUT]) == 0
    out = capsys.readouterr().out
    assert "alone: 0." in out
    assert "nothing to compare it with" in out
    assert "note: alone is alone again; shown once" in out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "name the runs to compare, or --experiment NAME"),
        (["x"], "compare.py: x: no run of this name, no run id and no run folder; there are none"),
        (["--experiment", "x"], "--experiment x: no such experiment; there are"),
        (["models:/x@champion"], "models:/x@champion: no such model"),
        (["models:/x@"], "models:/x@: the alias is missing"),
        (["f" * 32], f"compare.py: {'f' * 32}: no such run in this store"),
        (["x", "--top", "0"], "--top: 0 is not possible; give 1 to 12"),
        ([f"{number}" for number in range(13)], "13 runs do not fit side by side; name at most 12"),
        (["x", "--output", "."], "--output .: is a folder; give a file, such as compare.html"),
        (["x", "--json", "/no/such/out.json"], "--json /no/such/out.json: cannot be written (No such file or dir"),
        (["x" * 5000], "no run of this name"),
        (["a\0b"], "no run of this name"),
        (["--data.root", "/no/such"], "name the runs to compare"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], text: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(words)
    except SystemExit as end:
        code = int(str(end.code))
    assert code == 2
    error = capsys.readouterr().err
    assert text in error
    assert "Traceback" not in error
    assert not Path("compare.html").exists()


def test_a_folder_that_is_no_run_is_named(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work.mkdir(parents=True)
    assert main([str(work)]) == 2
    assert f"{work}: no run of this name, no run id and no run folder" in capsys.readouterr().err
    folder = RunFolder(run_folder(work, "damaged", make_table(9)).path)
    folder.run.write_text("{")
    folder.journal.write_bytes(b"\xff\n")
    folder.config.unlink()
    assert main([str(folder)]) == 0
    assert "its config.yaml is missing or damaged" in capsys.readouterr().out


def test_models_are_scored_anew_on_a_folder(
    work: Path, make_segmenter: Callable[..., Segmenter], make_voc: VocMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    """Model folders without a run; the images are those of the folder, and no run is opened."""
    for number in range(2):
        save_segmenter(make_segmenter(seed=number), Path(f"model{number}"))
    root = make_voc("a", "b", "c")
    words = ["model0", "model1", "--data.root", str(root), "--data.classes", "class 1", *OUTPUT]
    assert main(words) == 0
    content = json.loads(Path("out.json").read_text())
    assert content["ranked_on"]["folder"] == str(root)
    assert content["ranked_on"]["images"] == 3
    assert {one["image"] for one in content["disagreements"]} <= {"a", "b", "c"}
    assert "is not known of model0, model1" in capsys.readouterr().out
    html = Path("sheet.html").read_text()
    assert html.count('alt="prediction of model0"') == len(content["disagreements"]) > 0
    assert not client(work).search_experiments(filter_string="name != 'Default'")
    save_segmenter(make_segmenter(foreground=2), Path("model2"))
    assert main(["model0", "model2", *words[2:]]) == 0
    assert "not ranked, since the classes differ: model0 knows class 1; model2 knows" in capsys.readouterr().out
    assert main(["model0", *words[2:4], *OUTPUT]) == 2
    assert "none is in both; if they mean the same, give --data.classes" in capsys.readouterr().err
    assert main([str(run_folder(work, "no model")), *words[2:]]) == 2
    assert "--data.root: no model: no model to score" in capsys.readouterr().err
    (Path("model1") / "weights.safetensors").write_bytes(b"x")
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "note: model1 is not scored: model1/weights.safetensors: " in out
    assert "nothing to compare it with" in out
    assert main(words[1:]) == 2
    assert "model1 is not scored: model1/weights.safetensors: " in capsys.readouterr().err


def test_models_that_know_the_images_are_named(
    make_segmenter: Callable[..., Segmenter], make_voc: VocMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {name: Model(make_segmenter(), {"uri": name}) for name in ("fair", "knows", "old")}
    config = DataConfig(root=str(make_voc("a", "b", "c")), classes=["class 1"])
    data = open_labelled(config, models, tmp_path / "cache", count_nothing)
    scored = score_on(data.images, models, lambda: False, lambda: None)
    first = scored.tables["knows"].images[0].image
    known = {"fair": frozenset({"0" * 16}), "knows": frozenset({first, "0" * 16}), "old": None}
    monkeypatch.setattr(
        evaluation, "find_source", lambda origin, _: evaluation.Source(origin, trained_on=known[origin["uri"]])
    )
    assert training_notes(scored) == [
        "knows was trained on 1 of these 3 images: it has an advantage",
        "whether some of these images were trained on is not known of old",
    ]
