"""Doubt: the certainty of an image, in strips as in one piece, and warnings about images unlike the training's."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.images import smooth_image
from trainer.data.appearance import appearance, looks_of
from trainer.inference.doubt import Certainty, Doubts, bound_of_unsure, is_unsure
from trainer.inference.inputs import find_images
from trainer.inference.outputs import ResultWriter
from trainer.inference.predictor import predict_files
from trainer.model.segmenter import Contract, Segmenter

CONTRACT = Contract(("_background_", "cat"), ((0, 0, 0), (0, 128, 0)), 32, width=8, depth=2)
Maker = Callable[..., Segmenter]


def certainty_of(segmenter: Segmenter, probabilities: torch.Tensor, rows: int) -> float:
    certainty = Certainty()
    for strip in probabilities.split(rows, dim=2):
        certainty.add(strip, segmenter.classes(strip), segmenter.confidence(strip))
    return certainty.value(segmenter.contract)


@pytest.mark.parametrize("foreground", [1, 3])
@pytest.mark.parametrize("rows", [1, 7, 41])
def test_certainty_is_the_mean_probability_of_what_is_found(foreground: int, rows: int, make_segmenter: Maker) -> None:
    segmenter = make_segmenter(foreground, threshold=0.7)
    logits = torch.randn(1, segmenter.contract.channels, 41, 29, generator=torch.Generator().manual_seed(0))
    probabilities = segmenter.probabilities(logits, (41, 29))
    classes = segmenter.classes(probabilities)[0].numpy()
    values = probabilities[0].double().numpy()
    chosen = values[0] if foreground == 1 else np.take_along_axis(values, classes[None].astype(int), axis=0)[0]
    assert certainty_of(segmenter, probabilities, rows) == pytest.approx(chosen[classes > 0].mean(), rel=1e-6)


@pytest.mark.parametrize(("share", "expected"), [(None, 0.6), (0.1, 0.6), (0.0, 0.0)])
def test_nothing_found_is_believed_where_that_occurs(share: float | None, expected: float) -> None:
    segmenter = Segmenter(dataclasses.replace(CONTRACT, empty_share=share))
    probabilities = torch.full((1, 1, 8, 8), 0.1)
    probabilities[0, 0, 3, 3] = 0.4
    for rows in (1, 3, 8):
        assert certainty_of(segmenter, probabilities, rows) == pytest.approx(expected)


def test_a_fifth_is_unsure() -> None:
    values = np.random.default_rng(0).random(100)
    contract = dataclasses.replace(CONTRACT, unsure_below=bound_of_unsure(values.tolist()))
    assert sum(is_unsure(value, contract) for value in values) == 20
    assert not is_unsure(0.0, CONTRACT)


# ---------------------------------------------------------------- warnings


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    levels = random.integers(60, 190, (count, 1, 1, 3)) + random.integers(-50, 51, (count, 32, 32, 3))
    return list(levels.clip(0, 255).astype(np.uint8))


TRAINED = dataclasses.replace(
    CONTRACT,
    certainty=(0.9, 0.05),
    empty_share=0.0,
    training_sides=((200, 300, 400), (300, 400, 500)),
    training_look=looks_of(pictures(100)),
)


def noted(
    images: list[np.ndarray],
    contract: Contract = TRAINED,
    certainty: float = 0.9,
    size: tuple[int, int] = (300, 400),
    mask: int | None = None,
) -> list[str]:
    doubts = Doubts(contract)
    classes = np.zeros(size, np.uint8)
    classes[5:9] = 1
    for image in images:
        doubts.note(certainty, classes if mask is None else np.full(size, mask, np.uint8), image)
    return doubts.warnings()


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_ordinary_images_give_no_warning(count: int) -> None:
    for seed in range(1, 6):
        assert noted(pictures(count, seed)) == []
        assert noted(pictures(count, seed), certainty=0.83) == []
        assert noted(pictures(count, seed), size=(4000, 6000)) == []
    assert Doubts(TRAINED).warnings() == []


def test_images_of_an_earlier_call_count_by_their_rows() -> None:
    def row(found: int, height: int = 300) -> dict[str, object]:
        counts = {"_background_": height * 400 - found, TRAINED.class_names[1]: found}
        return {"width": 400, "height": height, "pixels": counts}

    def said(*rows: dict[str, object], new: int = 0) -> list[str]:
        doubts = Doubts(TRAINED)
        for one in rows:
            doubts.note_done(one)
        for image in pictures(new):
            doubts.note(0.9, np.zeros((300, 400), np.uint8), image)
        return doubts.warnings()

    assert said(row(5), row(300)) == []
    assert "nothing is found in all 3 pictures" in said(row(0), row(0), row(0))[0]
    assert "nothing is found in all 3 pictures" in said(row(0), row(0), new=1)[0]
    assert said(row(0), row(1), new=1) == []
    assert f"{TRAINED.class_names[1]} is all that is found" in said(row(300 * 400), row(300 * 400))[0]
    assert "these pictures are 400x30 pixels, far wider" in said(row(5, 30), row(5, 30))[0]


@pytest.mark.parametrize("count", [1, 10])
def test_dark_and_colourless_images_are_named(count: int) -> None:
    night = [(image * 0.1).astype(np.uint8) for image in pictures(count, 1)]
    (text,) = noted(night)
    assert text.startswith("these pictures are nearly black, 2")
    assert "16 bits" in text
    (text,) = noted(night, dataclasses.replace(TRAINED, levels=(0.0, 4095.0)))
    assert text.startswith("these pictures are nearly black, 2")
    assert "16 bits" not in text
    bright = [image // 3 + 170 for image in pictures(count, 1)]
    assert "look unlike those that trained" in noted(bright)[0]
    coloured = dataclasses.replace(TRAINED, training_look=((120.0, 40.0),) * 3 + ((30.0, 10.0),) * 3 + ((60.0, 8.0),))
    grey = [np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8) for image in pictures(count, 1)]
    (text,) = noted(grey, coloured)
    assert "colourfulness 0 of 255, usually 60" in text


def test_images_of_one_colour_are_no_matter_of_light() -> None:
    (text,) = noted([np.zeros((32, 32, 3), np.uint8)] * 3)
    assert text.endswith("one colour everywhere, as in damaged files or those of a wrong export")
    flat = dataclasses.replace(TRAINED, training_look=((0.0, 40.0),) * 3 + ((0.0, 10.0),) * 4)
    assert noted([np.zeros((32, 32, 3), np.uint8)] * 3, flat) == []


def test_contrast_is_one_thing() -> None:
    fog = [(120 + (image.astype(int) - image.mean()) * 0.05).astype(np.uint8) for image in pictures(12, 1)]
    (text,) = noted(fog)
    assert "contrast 1 of 255, usually 29" in text


def test_small_images_are_named() -> None:
    (text,) = noted(pictures(3), size=(16, 16))
    assert "16x16" in text
    assert "300x200" in text
    assert noted(pictures(3), size=(50, 75)) == []


@pytest.mark.parametrize(("size", "said"), [((600, 8000), "wider"), ((4000, 500), "narrower")])
def test_squeezed_images_are_named(size: tuple[int, int], said: str) -> None:
    (text,) = noted(pictures(2), size=size)
    assert text.startswith(
        f"these pictures are {size[1]}x{size[0]} pixels, far {said} than all that trained, and squee"
    )
    for kept in ({"view": "tiles"}, {"keep_aspect": True}):
        assert noted(pictures(2), dataclasses.replace(TRAINED, **kept), size=size) == []
    assert noted(pictures(2), size=(200, 980)) == noted(pictures(2), size=(800, 300)) == []  # as wide, as high as some


def test_the_form_of_several_images_is_that_of_one_of_them() -> None:
    """Not the middle width by the middle height, which no image has."""

    def said(*sizes: tuple[int, int]) -> list[str]:
        doubts = Doubts(TRAINED)
        for image, (height, width) in zip(pictures(len(sizes)), sizes, strict=True):
            classes = np.zeros((height, width), np.uint8)
            classes[0, 0] = 1
            doubts.note(0.9, classes, image)
        return doubts.warnings()

    assert said((900, 700), (60, 800), (100, 100)) == []
    (text,) = said((60, 800), (200, 200), (70, 600))
    assert text.startswith("these pictures are 600x70 pixels, far wider")


@pytest.mark.parametrize(
    ("share", "count", "said"),
    [(0.0, 1, False), (0.0, 2, True), (0.5, 4, False), (0.5, 5, True), (1.0, 50, False), (None, 2, True)],
)
def test_only_empty_masks_are_said_where_that_is_no_chance(share: float | None, count: int, said: bool) -> None:
    found = noted(pictures(count), dataclasses.replace(TRAINED, empty_share=share), mask=0)
    assert [text.partition(";")[0] for text in found] == ([f"nothing is found in all {count} pictures"] if said else [])


def test_one_class_everywhere_is_said() -> None:
    (text,) = noted(pictures(2), mask=1)
    assert text.startswith("cat is all that is found, everywhere in all 2 pictures")
    assert noted(pictures(1), mask=1) == []


def test_a_low_certainty_is_said_of_several_images_alone() -> None:
    (text,) = noted(pictures(10), certainty=0.7)
    assert text.startswith("the model is unsure: 0.70 on average, 0.90 on its validation pictures")
    assert noted(pictures(4), certainty=0.1) == []


def test_many_unsure_images_are_said_though_the_mean_is_near() -> None:
    """The mean of the validation images varies by more where some of them are hard."""
    contract = dataclasses.replace(TRAINED, certainty=(0.95, 0.1), unsure_below=0.94)
    (text,) = noted(pictures(5), contract, certainty=0.8)
    assert text.startswith(
        "the model is unsure of 5 of 5: 0.80 on average, 0.95 on those that validated, a fifth unsure;"
    )
    assert noted(pictures(5), dataclasses.replace(contract, unsure_below=0.7), certainty=0.8) == []
    assert noted(pictures(4), contract, certainty=0.8) == []


def test_a_model_that_is_not_calibrated_warns_of_nothing_it_cannot_know() -> None:
    dark = [(image * 0.1).astype(np.uint8) for image in pictures(10)]
    assert noted(dark, CONTRACT, certainty=0.1, size=(16, 16)) == []


def test_appearance_in_plain_numpy() -> None:
    image = smooth_image(48, 61, 3)
    pixels = image.reshape(-1, 3).astype(float)
    colourfulness = (255 * (pixels.max(axis=1) - pixels.min(axis=1)).mean()) ** 0.5
    expected = [*pixels.mean(axis=0), *pixels.std(axis=0), colourfulness]
    assert appearance(image) == pytest.approx(expected)
    large = np.repeat(np.repeat(image, 4, axis=0), 4, axis=1)
    assert appearance(large) == pytest.approx(expected, abs=2.0)  # of every third pixel


def test_predict_files_notes_each_image(make_segmenter: Maker, tmp_path: Path) -> None:
    """On one thread and on three, in one piece and in strips; and marks those that are unsure."""
    (tmp_path / "in").mkdir()
    for number in range(7):
        Image.fromarray(smooth_image(61 + number, 83, number)).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "broken.png").write_bytes(b"")
    images, _ = find_images([tmp_path / "in"], tmp_path / "out")
    segmenter, certainties = make_segmenter(3, image_size=64), []

    def writer(name: str) -> ResultWriter:
        return ResultWriter(segmenter.contract, tmp_path / name)

    for threads in (1, 3):
        torch.set_num_threads(threads)
        doubts = Doubts(segmenter.contract)
        assert len(list(predict_files(segmenter, images, writer(f"{threads}"), 2, doubts=doubts))) == 8
        certainties.append(sorted(doubts.certainties))
        assert sorted(doubts.sides) == [(61 + number, 83) for number in range(7)]
    torch.set_num_threads(1)
    assert certainties[0] == pytest.approx(certainties[1], abs=1e-6)
    segmenter.contract = dataclasses.replace(segmenter.contract, unsure_below=certainties[0][2] + 1e-6)
    rows = [entry.row for entry in predict_files(segmenter, images, writer("marked"), 2)]
    assert sum(row.get("unsure", False) for row in rows) == 3
    assert all(row.get("unsure", True) is True for row in rows)
