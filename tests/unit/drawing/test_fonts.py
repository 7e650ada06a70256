"""Fonts for names in any script: found on this system, or said to be missing; never empty boxes."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from trainer.drawing import fonts, legend
from trainer.drawing.evaluation_figures import confusion
from trainer.drawing.fonts import drawable, find_font, font_for, undrawable

CAT = "猫"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of the fonts of a system that has no others."""
    folder = tmp_path / "fonts"
    folder.mkdir()
    settings = tmp_path / "fonts.conf"
    settings.write_text(f"<fontconfig><dir>{folder}</dir><cachedir>{tmp_path / 'cache'}</cachedir></fontconfig>")
    monkeypatch.setenv("FONTCONFIG_FILE", str(settings))
    monkeypatch.setattr(fonts, "USUAL", (str(folder / "cats.ttf"),))
    forget()
    yield folder
    forget()


def forget() -> None:
    fonts._system_font.cache_clear()
    legend._render.cache_clear()


def make_font(file: Path, letters: str) -> None:
    """Font with a glyph for each of some letters, a triangle, and a box for what it lacks."""

    def glyph(corners: list[tuple[int, int]]) -> object:
        pen = TTGlyphPen(None)
        pen.moveTo(corners[0])
        for corner in corners[1:]:
            pen.lineTo(corner)
        pen.closePath()
        return pen.glyph()

    names = [".notdef", *(f"u{ord(letter):x}" for letter in letters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names[1:], strict=True)})
    box, triangle = [(0, 0), (0, 700), (500, 700), (500, 0)], [(0, 0), (400, 800), (800, 0)]
    builder.setupGlyf({name: glyph(triangle if name != ".notdef" else box) for name in names})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (900, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Cats", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800)
    builder.setupPost()
    builder.save(file)


def test_many_scripts_need_no_other_font() -> None:
    names = ["cat", "Größe", "кошка", "γάτα", "قطة", "חתול", "a b\u200d", ""]
    assert undrawable(names) == []
    for name in names:
        assert drawable(name, 20)[0] == name


@pytest.mark.parametrize("fontconfig", [True, False])
def test_a_font_of_the_system_is_taken(fontconfig: bool, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if fontconfig and not fonts.shutil.which("fc-match"):
        pytest.skip("there is no fontconfig")
    if not fontconfig:
        monkeypatch.setattr(fonts.shutil, "which", lambda _: None)
    assert undrawable([CAT, "cat"]) == [CAT]
    make_font(system / "cats.ttf", CAT)
    forget()
    assert undrawable([CAT]) == []
    text, font = drawable(CAT, 20)
    assert text == CAT
    assert str(getattr(font, "path", "")) == str(system / "cats.ttf")


def test_a_font_without_the_letters_is_not_taken(system: Path) -> None:
    """Fontconfig names the best that there is."""
    make_font(system / "cats.ttf", "犬")
    assert font_for(CAT, 20) is None
    assert drawable(f"{CAT} a", 20)[0] == "\\u732b a"


def test_legend_has_a_letter_or_a_number_never_a_box(system: Path) -> None:
    def drawn(*entries: tuple[int, str]) -> np.ndarray:
        image = np.zeros((300, 400, 3), np.uint8)
        legend.draw_legend(image, np.zeros((300, 400), np.uint8), [(one, name, (0, 128, 0)) for one, name in entries])
        return image

    assert np.array_equal(drawn((3, CAT), (1, "cat")), drawn((3, "class 3"), (1, "cat")))
    make_font(system / "cats.ttf", CAT)
    forget()
    assert not np.array_equal(drawn((3, CAT), (1, "cat")), drawn((3, "class 3"), (1, "cat")))


def test_figures_have_the_letters_too(system: Path) -> None:
    def drawn(name: str) -> bytes:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # matplotlib's, of a letter that it draws as a box
            return confusion(np.eye(3, dtype=int), ["_background_", name, "dog"])

    assert drawn(CAT) == drawn("\\u732b")
    make_font(system / "cats.ttf", CAT)
    forget()
    assert drawn(CAT) != drawn("\\u732b")


def test_the_usual_font_stays() -> None:
    assert getattr(find_font(20), "path", None) == getattr(font_for("cat", 20), "path", None)
