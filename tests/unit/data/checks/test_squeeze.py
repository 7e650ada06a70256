"""What a squeeze takes from masks, against brute force; and the view that is chosen by it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage
from sklearn.metrics import jaccard_score

from tests.support.data import SAME, count_nothing, sources_of
from tests.support.discs import make_discs
from trainer import IGNORE
from trainer.config import DataConfig
from trainer.data.checks.squeeze import MEASURED, _opened, measure, spread, width_of_most
from trainer.data.choose_view import choose_scale, choose_view, squeeze_warnings
from trainer.data.image_io import write_mask
from trainer.data.sample import Sample
from trainer.data.sources import find_sources


def make(folder: Path, masks: list[np.ndarray]) -> list[Sample]:
    folder.mkdir(exist_ok=True)
    samples = []
    for number, mask in enumerate(masks):
        files = folder / f"{number}.png", folder / f"{number}_mask.png"
        Image.fromarray(np.zeros((*mask.shape, 3), np.uint8)).save(files[0])
        write_mask(files[1], mask)
        samples.append(Sample(f"{number}", str(files[0]), str(files[1])))
    return samples


def lines(width: int, size: tuple[int, int] = (300, 400)) -> np.ndarray:
    """Mask of a few straight lines."""
    canvas = Image.new("L", (size[1], size[0]))
    for start, end in (((20, 20), (350, 22)), ((30, 250), (380, 180)), ((200, 30), (205, 280))):
        ImageDraw.Draw(canvas).line([start, end], fill=1, width=width)
    return np.array(canvas)


@pytest.mark.parametrize("side", [1, 2, 3, 7, 40])
def test_opening_is_that_of_scipy(side: int) -> None:
    random = np.random.default_rng(0)
    for shape in (
        random.random((60, 50)) < 0.9,
        lines(5).astype(bool),
        np.ones((30, 30), bool),
        np.zeros((9, 9), bool),
    ):
        padded = np.pad(shape, 1)
        expected = ndimage.binary_opening(np.pad(padded, side), np.ones((side, side)))[side:-side, side:-side]
        assert np.array_equal(_opened(padded, side), expected)


def test_iou_there_and_back(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    masks = [lines(3), 2 * lines(30), random.choice([0, 1, 2, IGNORE], (77, 50)).astype(np.uint8)]
    samples = make(tmp_path / "data", masks)
    found = measure(samples, SAME, 64, tmp_path, count_nothing)
    true, back = [], []
    for mask in masks:
        height, width = mask.shape
        down, right = (((np.arange(64) + 0.5) * length / 64).astype(int) for length in (height, width))
        up, left = (((np.arange(length) + 0.5) * 64 / length).astype(int) for length in (height, width))
        again = mask[down][:, right][up][:, left]
        true.append(mask[mask != IGNORE])
        back.append(again[mask != IGNORE])
    expected = jaccard_score(np.concatenate(true), np.concatenate(back), labels=[1, 2], average=None)
    assert list(found.iou.values()) == pytest.approx(expected)
    assert found.ceiling == pytest.approx(expected.mean())


def test_share_of_thin_things(tmp_path: Path) -> None:
    """Half of the pixels in a block and half in lines: half of them become thin."""
    mask = lines(3)
    thin = int(mask.sum())
    side = round(thin**0.5)
    mask[290 - side : 290, 60 : 60 + side] = 1
    found = measure(make(tmp_path / "data", [mask]), SAME, 64, tmp_path, count_nothing)
    assert found.thin[1] == pytest.approx(0.5, abs=0.05)
    assert measure(make(tmp_path / "data", [mask]), SAME, 500, tmp_path, count_nothing).thin[1] < 0.1
    assert (found.ratio, found.side, found.measured) == (pytest.approx(4 / 3), 400, 1)


@pytest.mark.parametrize("width", [2, 6, 11])
def test_width_of_most(tmp_path: Path, width: int) -> None:
    canvas = np.zeros((200, 300), np.uint8)
    canvas[20 : 20 + width, 10:290] = 1
    canvas[60:180, 40:200] = 2
    assert width_of_most(make(tmp_path, [canvas, canvas]), SAME, count_nothing) == width
    assert width_of_most(make(tmp_path, [np.zeros((9, 9), np.uint8)]), SAME, count_nothing) == 0


@pytest.mark.parametrize(("width", "scale"), [(0, 1.0), (2, 1.0), (5, 1.0), (6, 0.5), (12, 0.25), (64, 0.047)])
def test_scale_keeps_three_pixels(width: float, scale: float) -> None:
    assert choose_scale(width)[0] == scale
    assert not width or scale == 1 or scale * width >= 2.99


def chosen(root: Path, cache: Path, **settings: object) -> tuple[DataConfig, str]:
    config = DataConfig(root=str(root), **{"image_size": 64, **settings})  # type: ignore[arg-type]
    data, reasons = choose_view(config, find_sources(config), cache, count_nothing)
    return data, "\n".join(reasons)


@pytest.fixture
def thin(tmp_path: Path) -> Path:
    for part in ("images", "masks"):
        (tmp_path / "thin" / part).mkdir(parents=True)
    for number in range(5):
        Image.fromarray(np.zeros((300, 400, 3), np.uint8)).save(tmp_path / "thin" / "images" / f"{number}.png")
        write_mask(tmp_path / "thin" / "masks" / f"{number}.png", lines(3))
    return tmp_path / "thin"


def test_thin_things_choose_tiles_and_discs_the_whole(thin: Path, tmp_path: Path) -> None:
    data, reasons = chosen(thin, tmp_path / "cache")
    assert (data.view, data.scale, data.keep_aspect) == ("tiles", 1.0, False)
    assert "data.view tiles: of masks resized to 64 pixels and back, IoU 0." in reasons
    assert "data.scale 1: the thinnest things are about 2 pixels wide" in reasons
    data, reasons = chosen(make_discs(tmp_path / "discs"), tmp_path / "cache")
    assert (data.view, data.scale, data.keep_aspect) == ("whole", 1.0, False)
    assert "data.view whole" in reasons


def test_what_a_person_sets_stays(thin: Path, tmp_path: Path) -> None:
    data, reasons = chosen(thin, tmp_path / "cache", view="whole", keep_aspect=False)
    assert (data.view, data.keep_aspect, reasons) == ("whole", False, "")
    data, reasons = chosen(thin, tmp_path / "cache", view="tiles", scale=0.5)
    assert (data.view, data.scale, reasons) == ("tiles", 0.5, "")
    assert chosen(thin, tmp_path / "cache", view="whole", keep_aspect=True)[0].keep_aspect is True


def test_long_pictures_are_filled_up(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / "long" / part).mkdir(parents=True)
    for number, shape in enumerate([(64, 200), (64, 200), (200, 64), (64, 64)]):
        mask = np.zeros(shape, np.uint8)
        mask[10:40, 10:50] = 1
        Image.fromarray(np.zeros((*shape, 3), np.uint8)).save(tmp_path / "long" / "images" / f"{number}.png")
        write_mask(tmp_path / "long" / "masks" / f"{number}.png", mask)
    data, reasons = chosen(tmp_path / "long", tmp_path / "cache")
    assert data.keep_aspect is True
    assert "data.keep_aspect true: pictures are 3.1 times as long as wide" in reasons


def test_measured_once(thin: Path, tmp_path: Path) -> None:
    bars: list[str] = []

    def progress(text: str, _total: int) -> object:
        bars.append(text)
        return lambda: None

    config = DataConfig(root=str(thin), image_size=64)
    sources = find_sources(config)
    one, other = (measure(sources.samples, SAME, 64, tmp_path / "cache", progress) for _ in range(2))  # type: ignore[arg-type]
    assert one == other
    assert len(bars) == 1
    write_mask(thin / "masks" / "0.png", np.pad(lines(4)[:-1], ((1, 0), (0, 0))))
    measure(sources.samples, SAME, 64, tmp_path / "cache", progress)  # type: ignore[arg-type]
    assert len(bars) == 2


def test_widths_are_measured_once(thin: Path, tmp_path: Path) -> None:
    sources, bars = find_sources(DataConfig(root=str(thin), image_size=64)), list[str]()

    def progress(text: str, _total: int) -> object:
        bars.append(text)
        return lambda: None

    widths = [width_of_most(sources.samples, SAME, progress, tmp_path / "cache") for _ in range(2)]  # type: ignore[arg-type]
    assert widths[0] == widths[1] == 2
    assert len(bars) == 1


def test_what_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    samples = make(tmp_path / "data", [lines(3), lines(3)])
    Path(samples[0].mask_file).write_bytes(b"no mask")
    assert measure(samples, SAME, 64, tmp_path, count_nothing).measured == 1
    Path(samples[1].mask_file).write_bytes(b"no mask")
    assert measure(samples, SAME, 63, tmp_path, count_nothing).ceiling == 1
    assert width_of_most(samples, SAME, count_nothing) == 0


def test_a_part_of_many_is_measured(tmp_path: Path) -> None:
    samples = [Sample(f"{number}", f"{number}", f"{number}") for number in range(1000)]
    assert len(spread(samples)) == MEASURED
    assert [spread(samples)[place].name for place in (0, -1)] == ["0", "999"]
    assert spread(samples[:3]) == samples[:3]


def test_warnings_name_the_class(tmp_path: Path) -> None:
    mask = lines(3)
    mask[200:290, 300:390] = 2
    found = measure(make(tmp_path / "data", [mask]), SAME, 64, tmp_path, count_nothing)
    warnings = squeeze_warnings(found, 64, ("_background_", "cable", "box"))
    assert len(warnings) == 1
    assert warnings[0].startswith("cable: 100% of its pixels")
    assert "data.view auto chooses tiles here" in warnings[0]
    assert sources_of([]).samples == []
