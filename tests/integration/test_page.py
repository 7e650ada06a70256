"""The page of the service in a real browser: threshold, versions, downloads, labelling queue, token, accessibility."""

import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.images import smooth_image
from tests.support.registry import add_version
from tests.support.serving import Serving
from trainer.model.model_folder import save_segmenter
from trainer.model.segmenter import Segmenter

CHROMIUM = Path("/usr/bin/chromium")

browsers = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed"),
    pytest.mark.timeout(900),
]

PATIENCE_MS = 120_000
"""Longest wait for the page, in milliseconds."""

NAME = "cats of the page"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsers.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three pictures, one of them large, one with a name that is no ASCII."""
    folder = tmp_path_factory.mktemp("pictures")
    sizes = {"a 1.png": (61, 83), "Kätzchen.jpg": (90, 120), "large.png": (900, 2000)}
    for seed, (name, (height, width)) in enumerate(sizes.items()):
        Image.fromarray(smooth_image(height, width, seed)).save(folder / name)
    return [folder / name for name in sizes]


@pytest.fixture
def serve(
    tmp_path: Path, make_segmenter: Callable[..., Segmenter], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Serving]]:
    """Start the service of a registered model with two versions, of which the first is champion."""
    started: list[Serving] = []

    def start(*words: str, foreground: int = 1, second: Segmenter | None = None, **variables: str) -> Serving:
        import os

        from mlflow import MlflowClient

        store = f"sqlite:///{tmp_path / 'mlflow.db'}"
        client = MlflowClient(store)
        for number in range(2):
            folder = tmp_path / f"model {number}"
            save_segmenter((number and second) or make_segmenter(foreground, seed=number), folder)
            add_version(client, NAME, folder, 0.5 + number / 10)
        client.set_registered_model_alias(NAME, "champion", "1")
        given = ["--model", f"models:/{NAME}@champion", "--poll", "0.5", *words]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": store, "MLFLOW_DISABLE_TELEMETRY": "true", **variables}
        started.append(Serving(*given, environment=environment, folder=tmp_path))
        return started[-1].wait()

    yield start
    for one in started:
        one.command.kill()


def open_page(browser: Any, service: Serving, **options: Any) -> Any:
    """Open the page; errors of its scripts are in the list `page.faults`."""
    page = browser.new_context(accept_downloads=True, **options).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(f"{error}"))
    page.goto(f"http://127.0.0.1:{service.port}/")
    return page


def expect(page: Any, selector: str, text: str) -> None:
    browsers.expect(page.locator(selector)).to_contain_text(text, timeout=PATIENCE_MS)
    assert page.faults == []


def share_of(service: Serving, picture: Path, threshold: float, version: str = "") -> float:
    """Share of the foreground by the service's probabilities, float16 [1, H, W]."""
    answer = service.ask("POST", f"/predict?format=npy&version={version}", picture.read_bytes())
    assert answer.status == 200, answer.content
    return float((np.load(io.BytesIO(answer.content))[0] > threshold).mean())


def shown_share(page: Any, selector: str) -> float:
    """Share of the foreground that a caption names."""
    text = page.locator(selector).inner_text()
    return 0.0 if "nothing" in text else float(text.rpartition(" %")[0].rpartition(" ")[2]) / 100


def test_pictures_threshold_versions_downloads_and_the_queue(
    browser: Any, serve: Callable[..., Serving], pictures: list[Path], tmp_path: Path
) -> None:
    service = serve("--queue", str(tmp_path / "queue"))
    page = open_page(browser, service)
    expect(page, "#model", "version 1 (champion)")
    page.set_input_files("#files", [str(path) for path in pictures])
    expect(page, "#progress", "3 of 3 done")
    expect(page, "#result-title", "a 1.png")
    # The threshold is moved in the browser, on the probabilities.
    middle = float(
        np.median(np.load(io.BytesIO(service.ask("POST", "/predict?format=npy", pictures[0].read_bytes()).content)))
    )
    for threshold in (round(middle, 2), round(middle, 2) + 0.02):
        page.locator("#threshold").fill(f"{threshold:.2f}")
        expect(page, "#threshold-value", f"{threshold:.2f}")
        expected = share_of(service, pictures[0], threshold)
        assert shown_share(page, "#first-caption") == pytest.approx(expected, abs=0.03)
    # Downloads have the threshold that was moved.
    with page.expect_download() as download:
        page.click("#download-mask")
    assert download.value.suggested_filename == "a 1.png"
    download.value.save_as(tmp_path / "mask.png")
    answer = service.ask("POST", f"/predict?format=mask&threshold={threshold:.2f}", pictures[0].read_bytes())
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "mask.png")), answer.array)
    with page.expect_download() as download:
        page.click("#download-labelme")
    download.value.save_as(tmp_path / "labelme.json")
    assert json.loads((tmp_path / "labelme.json").read_text())["flags"] == {"predicted": True}
    # A second version beside the first, on the same threshold.
    page.select_option("#second", "2")
    expect(page, "#facts", "the versions differ in")
    expected = share_of(service, pictures[0], threshold, version="2")
    assert shown_share(page, "#second-caption") == pytest.approx(expected, abs=0.03)
    expect(page, "#second-caption", "version 2")
    # What is wrong goes to the queue, and is not put there twice.
    page.click("#wrong")
    expect(page, "#outcome", "a 1.json is in the labelling queue")
    page.click("#wrong")
    expect(page, "#outcome", "was in the queue already")
    assert {path.name for path in (tmp_path / "queue").iterdir()} == {"a 1.png", "a 1.json", "labels.txt"}
    # The keyboard alone.
    page.locator("#list button").nth(0).focus()
    page.keyboard.press("ArrowDown")
    expect(page, "#result-title", "Kätzchen.jpg")
    page.keyboard.press("3")
    assert page.locator("input[value=mask]").is_checked()
    colours = page.evaluate(
        "() => { const c = document.getElementById('first-canvas');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " const s = new Set(); for (let i = 0; i < d.length; i += 4) s.add(d.slice(i, i + 3).join()); return [...s]; }"
    )
    assert set(colours) <= {"0,0,0", "1,2,3"}


def test_a_version_that_becomes_champion_is_named_and_asked(
    browser: Any, serve: Callable[..., Serving], pictures: list[Path], tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    page = open_page(browser, serve())
    page.set_input_files("#files", str(pictures[0]))
    expect(page, "#first-caption", "version 1:")
    assert page.locator("#wrong").is_hidden()  # there is no queue
    MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").set_registered_model_alias(NAME, "champion", "2")
    expect(page, "#model", "version 2 (champion)")
    expect(page, "#first-caption", "version 2:")


@pytest.mark.parametrize("counts", [(1, 3), (3, 1), (3, 2)])
def test_versions_of_different_classes(
    counts: tuple[int, int],
    browser: Any,
    serve: Callable[..., Serving],
    pictures: list[Path],
    make_segmenter: Callable[..., Segmenter],
) -> None:
    """Each caption names what its own version found, and no difference of unlike classes is counted."""
    second = make_segmenter(counts[1], seed=1)
    names = ("_background_", *(f"thing {number}" for number in range(1, counts[1] + 1)))
    second.contract = dataclasses.replace(second.contract, class_names=names)
    service = serve(foreground=counts[0], second=second)
    page = open_page(browser, service)
    page.set_input_files("#files", str(pictures[0]))
    expect(page, "#progress", "1 of 1 done")
    page.select_option("#second", "2")
    expect(page, "#facts", "the versions have different classes")
    assert "differ in" not in page.locator("#facts").inner_text()
    for version, selector, kind in (("1", "#first-caption", "class"), ("2", "#second-caption", "thing")):
        mask = service.ask("POST", f"/predict?version={version}", pictures[0].read_bytes()).array
        text = page.locator(selector).inner_text()
        shown = dict(re.findall(rf"({kind} \d) ([\d.]+) %", text))
        found = {f"{kind} {index}": 100 * (mask == index).mean() for index in range(1, mask.max() + 1)}
        assert text.startswith(f"version {version}: {kind}")
        assert {name: float(shown.get(name, 0)) for name in found} == pytest.approx(found, abs=0.6)


def test_several_classes_dropped_pictures_and_other_files(
    browser: Any, serve: Callable[..., Serving], pictures: list[Path]
) -> None:
    service = serve(foreground=3)
    page = open_page(browser, service)
    expect(page, "#model", "class 1, class 2")
    assert page.locator("#threshold-control").is_hidden()
    content = list(pictures[0].read_bytes())
    page.evaluate(
        """(content) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(content)], "dropped.png", { type: "image/png" }));
            transfer.items.add(new File(["x"], "notes.txt"));
            transfer.items.add(new File(["P2 2 2 255 0 9 90 200"], "small.PGM"));
            transfer.items.add(new File(["no picture"], "broken.png", { type: "image/png" }));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }""",
        content,
    )
    expect(page, "#progress", "2 of 3 done, 1 failed")
    page.locator("#list button", has_text="small.PGM").click()
    expect(page, "#facts", "2 x 2 pixels")
    page.locator("#list button", has_text="broken.png").click()
    expect(page, "#facts", "broken.png")
    page.locator("#list button", has_text="dropped.png").click()
    answer = service.ask("POST", "/predict?format=mask", pictures[0].read_bytes())
    shares = {f"class {index}": float((answer.array == index).mean()) for index in (1, 2, 3)}
    for name, share in shares.items():
        found = page.locator("#legend li", has_text=name).inner_text()
        assert float(found.removeprefix(name).strip(" %")) / 100 == pytest.approx(share, abs=0.006)


def test_the_token_is_asked_for(browser: Any, serve: Callable[..., Serving], pictures: list[Path]) -> None:
    page = open_page(browser, serve(SEGTRAINER_TOKEN="a-token-of-the-test"))
    expect(page, "#model", "asks for a token")
    page.set_input_files("#files", str(pictures[0]))  # waits for the model, as those of a slow start do
    expect(page, "#progress", "1 picture added")
    for text in ("another-token", "a-token-of-the-test"):
        page.fill("#token", text)
        page.keyboard.press("Enter")
        expect(page, "#model", "asks for a token" if text == "another-token" else "version 1")
    expect(page, "#progress", "1 of 1 done")
    page.set_input_files("#files", str(pictures[1]))
    expect(page, "#progress", "2 of 2 done")


def test_a_service_that_comes_back_and_a_picture_that_is_too_large(
    browser: Any, serve: Callable[..., Serving], pictures: list[Path], tmp_path: Path
) -> None:
    page = open_page(browser, serve("--max_megabytes", "1"))
    expect(page, "#model", "version 1")
    page.route("**/*", lambda route: route.abort())
    page.set_input_files("#files", str(pictures[0]))
    expect(page, "#facts", "the service does not answer")
    expect(page, "#model", "the service does not answer")
    page.unroute("**/*")
    expect(page, "#progress", "1 of 1 done")
    large = tmp_path / "large.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8)).save(large)
    page.set_input_files("#files", str(large))
    expect(page, "#progress", "1 of 2 done, 1 failed")
    page.locator("#list button", has_text="large.png").click()
    expect(page, "#facts", "more than 1 MB, which is all that the service takes")
    # What redraws the picture that was shown before leaves the reason there.
    page.locator("#threshold").fill("0.70")
    page.keyboard.press("3")
    expect(page, "#facts", "more than 1 MB, which is all that the service takes")
    assert page.locator("#legend li").count() == 0
    page.locator("#list button", has_text="a 1.png").click()
    expect(page, "#first-caption", "version 1:")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_accessibility(
    scheme: str, width: int, browser: Any, serve: Callable[..., Serving], pictures: list[Path], tmp_path: Path
) -> None:
    service = serve("--queue", str(tmp_path / "queue"))
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}, "bypass_csp": True}
    page = open_page(browser, service, **options)
    page.set_input_files("#files", [str(path) for path in pictures])
    expect(page, "#progress", "3 of 3 done")
    page.select_option("#second", "2")
    expect(page, "#facts", "the versions differ in")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
