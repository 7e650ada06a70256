"""Closing words of predict.py: which pictures they count."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from trainer.data.account import Account
from trainer.data.files import FORMAT
from trainer.drawing import fonts
from trainer.inference import closing
from trainer.inference.doubt import Doubts
from trainer.inference.model import Model
from trainer.inference.options import Options
from trainer.inference.report import Report
from trainer.model.segmenter import Contract, Segmenter


class Screen:
    """Display that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def log(self, text: str, _style: str = "") -> None:
        self.said.append(text)


def report_of(folder: Path, rows: dict[str, dict[str, object]]) -> Report:
    report = Report(folder, {"classes": ["_background_", "cat"]}, list(rows), [])
    report.rows = {name: {"file": f"in/{name}.jpg", **row} for name, row in rows.items()}
    return report


@pytest.fixture
def model() -> Model:
    return Model(Segmenter(Contract(("_background_", "cat"), ((0, 0, 0), (0, 128, 0)), 32, width=8)), {"uri": "m"})


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"unsure": True}, {"unsure": False}, {"error": "damaged"}], "unsure of 1 of 2 pictures"),
        ([{"unsure": True}, {"unsure": True}, {"error": "damaged"}], "unsure of all 2 pictures"),
    ],
)
def test_failed_pictures_are_none_that_the_model_could_be_sure_of(
    rows: list[dict[str, object]], expected: str, model: Model, tmp_path: Path
) -> None:
    screen, report = Screen(), report_of(tmp_path, {f"{number}": row for number, row in enumerate(rows)})
    closing.warn_doubts(screen, Doubts(model.segmenter.contract), report, model, "")
    assert expected in screen.said[0]
    assert "in/0.jpg" in screen.said[0]


def test_the_run_is_shown_where_it_is(model: Model, tmp_path: Path) -> None:
    screen, report = Screen(), report_of(tmp_path, {"a": {"mask": "masks/a.png"}})
    doubts = SimpleNamespace(warnings=lambda: ["nothing is found"])
    known = Model(model.segmenter, {"uri": "m", "run_id": "r"})
    closing.warn_doubts(screen, doubts, report, known, "http://mlflow.lab:5000")  # type: ignore[arg-type]
    assert screen.said == [
        "warning: nothing is found",
        "the pictures of its run show what it was trained on:  http://mlflow.lab:5000",
    ]


def test_kept_labels_are_named(tmp_path: Path) -> None:
    screen = Screen()
    kept = {"labelme": "labelme/a.json", "labels_kept": True}
    closing.warn_labels_kept(screen, report_of(tmp_path, {"a": kept, "b": {"labelme": "labelme/b.json"}, "c": kept}))
    assert screen.said[0].startswith("labelme/a.json and 1 more: labels that a person")


def test_a_stopped_call_says_how_it_goes_on(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, stop = (
        report_of(tmp_path, {"a": {"mask": "masks/a.png"}}),
        SimpleNamespace(requested=lambda: True, number=2),
    )
    for images, goes_on in ((["a", "b"], True), (["a"], False)):
        paths = [Path(name) for name in images]
        code = closing.conclude(Screen(), tmp_path, paths, report, Account(), model, stop, [])  # type: ignore[arg-type]
        assert code == 130
        said = capsys.readouterr().err
        assert f"1 of {len(images)} pictures are done" in said
        assert ("--skip_existing does the rest" in said) == goes_on


@pytest.mark.parametrize(("name", "overlay", "said"), [("猫", "contour", 1), ("猫", "blend", 0), ("cat", "contour", 0)])
def test_names_that_no_font_has_are_said_once(
    name: str, overlay: str, said: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fonts.conf").write_text("<fontconfig></fontconfig>")
    monkeypatch.setenv("FONTCONFIG_FILE", str(tmp_path / "fonts.conf"))
    fonts._system_font.cache_clear()
    screen = Screen()
    model = Model(Segmenter(Contract(("_background_", name), ((0, 0, 0), (0, 128, 0)), 32, width=8)), {"uri": "m"})
    closing.warn_missing_letters(screen, model, Options(overlay=overlay))
    fonts._system_font.cache_clear()
    assert len(screen.said) == said
    assert all(
        "no font of this system has the letters of 猫; overlays have the numbers" in text for text in screen.said
    )


def test_one_picture_is_no_pictures(model: Model, tmp_path: Path) -> None:
    screen, report = Screen(), report_of(tmp_path, {"a": {"mask": "masks/a.png"}})
    account, stop = Account(), SimpleNamespace(requested=lambda: False)
    code = closing.conclude(screen, tmp_path, [Path("a")], report, account, model, stop, [])  # type: ignore[list-item,arg-type]
    assert code == 0
    assert screen.said[-1].startswith("1 picture done, 0 failed; see ")
    account.add(FORMAT, "in/IMG_1.JP2")
    closing.conclude(screen, tmp_path, [Path("a")], report, account, model, stop, [])  # type: ignore[list-item,arg-type]
    assert screen.said[-1] == "to have .jp2 too: convert them to PNG or JPEG"
