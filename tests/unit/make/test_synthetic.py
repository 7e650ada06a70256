"""Generated scenes: their masks are exact, their files are what others expect, and colour alone does not solve them."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from trainer import InputError
from trainer.data.image_io import read_image, read_mask
from trainer.data.layouts.labelme_shapes import Shape, draw_shapes
from trainer.make.synthetic import KINDS, Scene, draw_scene, write_labelme, write_voc
from trainer.make.synthetic.animals import cat
from trainer.make.synthetic.canvas import Canvas
from trainer.make.synthetic.scene import cut_to_frame

CAT = {"_background_": 0, "cat": 1}
MANY = ("cat", "dog", "rabbit", "ball", "plant")
IDS = {name: number for number, name in enumerate(["_background_", *MANY])}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(5, index, 96) for index in range(48)]


@pytest.fixture(scope="module")
def masks(scenes: list[Scene]) -> np.ndarray:
    return np.stack([scene.mask for scene in scenes])


def labelme_mask(path: Path, names: list[str]) -> np.ndarray:
    """The oracle: what labelme.utils.shapes_to_label makes of a file, one boolean stencil per shape."""
    content = json.loads(path.read_text())
    mask = np.zeros((content["imageHeight"], content["imageWidth"]), dtype=np.uint8)
    for shape in content["shapes"]:
        stencil = Image.fromarray(np.zeros(mask.shape, dtype=np.uint8))
        ImageDraw.Draw(stencil).polygon(xy=[tuple(point) for point in shape["points"]], outline=1, fill=1)
        mask[np.array(stencil, dtype=bool)] = names.index(shape["label"])
    return mask


def test_scene_depends_on_its_arguments_only() -> None:
    first, _, again = draw_scene(3, 7, 64), draw_scene(3, 8, 64), draw_scene(3, 7, 64)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert first.shapes == again.shapes
    for other in (draw_scene(3, 8, 64), draw_scene(4, 7, 64)):
        assert not np.array_equal(first.image, other.image)
        assert first.shapes != other.shapes


def test_later_shapes_overwrite_earlier_ones() -> None:
    square = ((2.0, 2.0), (7.0, 2.0), (7.0, 7.0), (2.0, 7.0))
    hole = ((4.0, 4.0), (5.0, 4.0), (5.0, 5.0), (4.0, 5.0))
    expected = np.zeros((10, 12), dtype=np.uint8)
    expected[2:8, 2:8] = 1
    expected[4:6, 4:6] = 0
    shapes = [Shape("cat", "polygon", square), Shape("_background_", "polygon", hole)]
    mask = draw_shapes(shapes, CAT, (10, 12))
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, expected)


def test_shapes_make_the_mask(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.mask.dtype == np.uint8
        assert np.array_equal(scene.mask, draw_shapes(scene.shapes, CAT, (96, 96)))


def test_points_lie_in_the_image(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.image.shape == (96, 96, 3)
        assert scene.image.dtype == np.uint8
        for shape in scene.shapes:
            assert len(shape.points) >= 3
            assert 0 <= np.min(shape.points) <= np.max(shape.points) <= 95


def test_cats_cover_a_sane_share(masks: np.ndarray) -> None:
    shares = masks.mean(axis=(1, 2))
    assert 0.15 < shares.mean() < 0.45
    assert (shares < 0.8).all()
    assert (shares > 0.04).mean() > 0.8
    assert 0 < (shares == 0).mean() < 0.2
    assert shares.std() > 0.08


def test_things_in_front_cut_the_cats(scenes: list[Scene]) -> None:
    assert sum(any(shape.label == "_background_" for shape in scene.shapes) for scene in scenes) > len(scenes) / 4


@pytest.mark.parametrize("shift", [0, 40])
def test_outline_follows_the_drawn_edge(shift: int) -> None:
    """Parts of cats, white on black, in the middle and half outside: less than a pixel between image and mask."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        canvas, covered = Canvas(128, rng, (0.0, -1.0)), 0
        for part in cat(rng):
            # Each for itself: between two of them lie gaps that are narrower than their outlines.
            canvas.pixels[:] = 0
            white = replace(part, paint=(1.0, 1.0, 1.0), outline=True, depth=0.0, shadow=0.0, opacity=1.0)
            outlines = canvas.draw([white], np.array([[12.0, 0.0, 60.3 + shift], [0.0, 12.0, 66.6]]))
            mask = draw_shapes(cut_to_frame(outlines, "cat", 128), CAT, (128, 128)) == 1
            painted = canvas.image()[0] > 0.5
            near = [np.pad(mask, 1, mode="edge")[y : y + 128, x : x + 128] for y in range(3) for x in range(3)]
            inner = (slice(1, -1), slice(1, -1))  # cutting leaves lines of a pixel along the frame
            assert (painted <= np.any(near, axis=0))[inner].all()
            assert (np.all(near, axis=0) <= painted)[inner].all()
            covered += mask.sum()
        assert covered > 500


def test_colour_alone_does_not_find_the_cats(scenes: list[Scene], masks: np.ndarray) -> None:
    """A logistic regression on colours and their squares and products, trained on half, scored on the other half."""
    colours = np.stack([scene.image[::3, ::3] for scene in scenes]).reshape(48, -1, 3) / 255.0 - 0.5
    truth = masks[:, ::3, ::3].reshape(48, -1)
    red, green, blue = np.moveaxis(colours, -1, 0)
    features = np.stack(
        [red, green, blue, red**2, green**2, blue**2, red * green, green * blue, blue * red, red * 0 + 1], -1
    )
    x, y = features[:24].reshape(-1, 10), truth[:24].reshape(-1)
    weights = np.zeros(10)
    for _ in range(8):  # Newton's method
        chance = 1 / (1 + np.exp(-x @ weights))
        curvature = (x * (chance * (1 - chance))[:, None]).T @ x
        weights += np.linalg.solve(curvature + 1e-6 * np.eye(10), x.T @ (y - chance))
    score, unseen = features[24:] @ weights, truth[24:] == 1
    ious = [
        ((score > t) & unseen).sum() / ((score > t) | unseen).sum()
        for t in np.quantile(score, np.linspace(0, 0.95, 20))
    ]
    assert max(ious) < 0.5


def test_voc_folder(tmp_path: Path) -> None:
    seen: list[int] = []
    write_voc(tmp_path / "deep" / "set", 6, size=64, labelled=MANY, start=3, progress=seen.append)
    folder = tmp_path / "deep" / "set"
    stems = [f"scene_{index:05d}" for index in range(3, 9)]
    assert sorted(os.listdir(folder)) == ["JPEGImages", "SegmentationClassPNG", "class_names.txt"]
    assert sorted(os.listdir(folder / "JPEGImages")) == [f"{stem}.jpg" for stem in stems]
    assert sorted(os.listdir(folder / "SegmentationClassPNG")) == [f"{stem}.png" for stem in stems]
    assert (folder / "class_names.txt").read_text().split("\n") == ["_background_", *MANY, ""]
    assert seen == [1, 2, 3, 4, 5, 6]
    for index, stem in enumerate(stems, start=3):
        scene = draw_scene(0, index, 64, MANY)
        with Image.open(folder / "SegmentationClassPNG" / f"{stem}.png") as picture:
            assert picture.mode == "P"
            assert len(picture.getpalette() or []) == 3 * 256
        mask = read_mask(folder / "SegmentationClassPNG" / f"{stem}.png")
        assert set(np.unique(mask)) <= set(range(6))
        assert np.array_equal(mask, draw_shapes(scene.shapes, IDS, (64, 64)))
        error = read_image(folder / "JPEGImages" / f"{stem}.jpg").astype(float) - scene.image
        assert np.abs(error).mean() < 8


def test_every_class_appears() -> None:
    found = np.zeros(6, dtype=int)
    for index in range(40):
        found[np.unique(draw_scene(1, index, 48, MANY).mask)] += 1
    assert (found[1:] >= 8).all()


def test_labelme_files_hold_the_masks(tmp_path: Path) -> None:
    write_labelme(tmp_path / "annotated", 5, size=64, labelled=("cat", "dog"))
    write_voc(tmp_path / "set", 5, size=64, labelled=("cat", "dog"))
    files = {f"scene_{index:05d}.{suffix}" for index in range(5) for suffix in ("jpg", "json")}
    assert set(os.listdir(tmp_path / "annotated")) == files | {"labels.txt"}
    assert (tmp_path / "annotated" / "labels.txt").read_text() == "__ignore__\n_background_\ncat\ndog\n"
    for index in range(5):
        path = tmp_path / "annotated" / f"scene_{index:05d}.json"
        content = json.loads(path.read_text())
        keys = {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
        assert set(content) == keys
        assert content["imagePath"] == path.with_suffix(".jpg").name
        shape_keys = {"label", "points", "group_id", "description", "shape_type", "flags", "mask"}
        assert all(set(shape) == shape_keys and shape["shape_type"] == "polygon" for shape in content["shapes"])
        expected = labelme_mask(path, ["_background_", "cat", "dog"])
        assert np.array_equal(read_mask(tmp_path / "set" / "SegmentationClassPNG" / f"scene_{index:05d}.png"), expected)
        left, right = (tmp_path / "set" / "JPEGImages" / path.with_suffix(".jpg").name, path.with_suffix(".jpg"))
        assert left.read_bytes() == right.read_bytes()


@pytest.mark.parametrize("write", [write_voc, write_labelme])
def test_interrupted_write_leaves_nothing_behind(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    def stop(done: int) -> None:
        assert not (tmp_path / "set").exists()
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "set", 4, size=32, progress=stop)
    assert os.listdir(tmp_path) == []
    write(tmp_path / "set", 1, size=32)
    assert os.listdir(tmp_path) == ["set"]


def test_workers_write_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_voc(tmp_path / "alone", 4, size=48)
    monkeypatch.setattr("trainer.make.synthetic.write.WORTH_A_WORKER", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    seen: list[int] = []
    write_voc(tmp_path / "shared", 4, size=48, progress=seen.append)
    assert seen == [1, 2, 3, 4]
    for path in sorted((tmp_path / "alone").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "shared" / path.relative_to(tmp_path / "alone")).read_bytes()


def test_failing_worker_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.make.synthetic.write.WORTH_A_WORKER", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr("trainer.make.synthetic.write.sys.executable", "/bin/false")
    with pytest.raises(RuntimeError, match="worker"):
        write_voc(tmp_path / "set", 4, size=48)
    assert os.listdir(tmp_path) == []


def test_wrong_requests_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unicorn"):
        draw_scene(0, 0, 64, ("cat", "unicorn"))
    with pytest.raises(InputError, match="twice"):
        draw_scene(0, 0, 64, ("cat", "cat"))
    with pytest.raises(InputError, match="size"):
        draw_scene(0, 0, 8)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_voc(tmp_path, 1, size=32)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert {"cat", "dog", "rabbit", "ball", "plant", "cushion"} <= set(KINDS)
