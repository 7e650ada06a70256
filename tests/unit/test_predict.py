"""Options of predict.py, and what is left in an output folder by earlier calls."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.support.images import smooth_image
from tests.support.program import REPOSITORY
from trainer.inference.closing import earlier_results
from trainer.model.model_folder import save_segmenter
from trainer.model.segmenter import Segmenter
from trainer.predict import main

REFUSED = {
    "--threshold 1.5": "1.5 is not possible; give a number from 0 to 1",
    "--threshold -0.1": "-0.1 is not possible; give a number from 0 to 1",
    "--threshold nan": "nan is not possible; give a number from 0 to 1",
    "--threshold much": "much is not possible; give a number from 0 to 1",
    "--min_area -1": "-1 is not possible; give 0 or more",
    "--min_area 2.5": "2.5 is not possible; give 0 or more",
    "--batch_size 0": "0 is not possible; give 1 or more",
    "--overlay nice": "invalid choice: 'nice' (choose from",
    "--probabilities jpg": "invalid choice: 'jpg' (choose from",
    "--labelme boxes": "invalid choice: 'boxes' (choose from",
    "--coco file.json": "unrecognized arguments: file.json",
    "--model typo": "typo: no such folder; give models:/",
    "--model typo --export onnx file.onnx --output o": "nothing is predicted with it",
}
"""Option -> part of the message."""

EACH = """
import contextlib, io, json, sys
from trainer.predict import main
ends = {}
for given in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as error:
        try:
            code = main(["--model", "m", "--input", "nothing.png", "--output", "o", *given.split()])
        except SystemExit as end:
            code = end.code
    ends[given] = code, error.getvalue()
assert not {"torch", "numpy", "mlflow"} & set(sys.modules)
print(json.dumps(ends))
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Exit code and message for each of REFUSED; nothing heavy is imported before."""
    command = [sys.executable, "-c", EACH, json.dumps(list(REFUSED))]
    environment = {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "300"}
    folder = tmp_path_factory.mktemp("nothing")
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("given", list(REFUSED))
def test_impossible_options_are_refused(given: str, refusals: dict[str, tuple[int, str]]) -> None:
    code, error = refusals[given]
    assert code == 2
    assert REFUSED[given] in error


@pytest.mark.parametrize(
    ("foreground", "given", "said"),
    [
        (1, "--min_area auto", "--min_area auto: the model does not say how large"),
        (3, "--threshold 0.4", "--threshold: the model has 3 classes"),
    ],
)
def test_options_that_a_model_cannot_do_are_refused(
    foreground: int,
    given: str,
    said: str,
    make_segmenter: Callable[..., Segmenter],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, image = tmp_path / "model", tmp_path / "x.png"
    save_segmenter(make_segmenter(foreground), model)
    Image.fromarray(smooth_image(20, 30)).save(image)
    words = ["--model", str(model), "--input", str(image), "--output", str(tmp_path / "out"), *given.split()]
    assert main(words) == 2
    assert said in capsys.readouterr().err


@pytest.fixture
def pictures(make_segmenter: Callable[..., Segmenter], tmp_path: Path) -> Path:
    """Folder of two images beside a folder `model`."""
    save_segmenter(make_segmenter(1), tmp_path / "model")
    folder = tmp_path / "in"
    folder.mkdir()
    for number, name in enumerate(("a.png", "b.bmp")):
        Image.fromarray(smooth_image(20, 30, number)).save(folder / name)
    return folder


def predict(pictures: Path, *more: str) -> int:
    top = pictures.parent
    return main(["--model", str(top / "model"), "--input", str(pictures), "--output", str(top / "out"), *more])


def test_a_picture_that_is_gone_from_beside_its_prediction_is_put_there_again(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures.parent / "out" / "labelme"
    words = ("--labelme", "masks", "--skip_existing")
    assert predict(pictures, *words) == 0
    for gone in ("a.png", "b.png"):
        (folder / gone).unlink()
        capsys.readouterr()
        assert predict(pictures, *words) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "1 picture done before, and skipped" in said
        assert "1 lack a file of their results" in said
        assert (folder / gone).exists()
    record = json.loads((folder / "a.json").read_text())
    record["flags"]["predicted"] = False  # accepted, and moved to other pictures: never made anew
    (folder / "a.json").write_text(json.dumps(record | {"imagePath": "../pics/a.png"}))
    (folder / "a.png").unlink()
    capsys.readouterr()
    assert predict(pictures, *words) == 0
    assert "2 pictures done before, and skipped" in " ".join(capsys.readouterr().out.split())


def test_tables_that_are_not_made_again_are_named(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*more: str) -> str:
        assert predict(pictures, *more) == 0
        return " ".join(capsys.readouterr().out.split())

    assert "earlier call" not in said("--coco", "--objects")
    assert "of an earlier call, perhaps of another model: give --coco and --objects to write them anew" in said()
    text = said("--coco")
    assert "coco.json" not in text
    assert "is of an earlier call, perhaps of another model: give --objects to write it anew, or remove it" in text
    out = pictures.parent / "out"
    (out / "objects.csv").unlink()
    (out / "coco.json").write_text('{"images": []}')  # a person's
    assert "earlier call" not in said()


def test_pictures_that_are_skipped_count_in_the_warnings(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*more: str) -> str:
        assert predict(pictures, "--threshold", "1", *more) == 0
        return " ".join(capsys.readouterr().out.split())

    said()
    text = said("--skip_existing")
    assert "2 pictures done before, and skipped" in text
    assert "warning: nothing is found in all 2 pictures" in text
    Image.fromarray(smooth_image(20, 30, 5)).save(pictures / "c.png")
    assert "warning: nothing is found in all 3 pictures" in said("--skip_existing")


def test_results_of_other_pictures_are_found(tmp_path: Path) -> None:
    names = ["masks/a.png", "masks/b.1.png", "masks/below/a.png", "overlays/a.jpg", "overlays/below/c.jpg"]
    for name in [*names, "masks/notes.txt", "report.json"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(*done: str) -> list[str]:
        return [str(path.relative_to(tmp_path)) for path in earlier_results(tmp_path, set(map(Path, done)))]

    assert found() == names
    assert found("a", "b.1") == ["masks/below/a.png", "overlays/below/c.jpg"]
    assert found("a", "b.1", "below/a", "below/c") == []
    assert earlier_results(tmp_path / "new", set()) == []
