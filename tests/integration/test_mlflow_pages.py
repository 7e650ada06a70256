"""What a person sees of three real trainings in a browser: MLflow's real pages, and the sheet of a comparison.

The pictures of the pages are in the folder of the fixture `shots`, to be looked at.
"""

import csv
import importlib.util
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.support import runs
from tests.support.mlflow_server import Server
from tests.support.program import ONE_THREAD, TINY, Program, train_command

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
MISSING = "playwright is not installed" if importlib.util.find_spec("playwright") is None else ""
MISSING = MISSING or ("" if BROWSER else "there is no Chromium")

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]

PAGE_SECONDS = 300.0
"""Longest wait for something on a page, in seconds."""

TRAINING = "workflowType=machine_learning"
"""Part of an address that opens MLflow's view for training, which the switch at the top left does too."""

SETTINGS = [
    *("--data.image_size", "64", "--model.depth", "3", "--model.encoder", "none", "--train.epochs", "8"),
    *("--train.mixed_precision", "no", "--train.ema", "0.9", "--tracking.watch", "2", "--registry.name", "cats"),
]
RUNS = (["--optim.lr", "0.003"], ["--optim.lr", "0.01"], ["--optim.lr", "0.01", "--data.augment", "light"])
"""Settings in which the three runs differ."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("pages"), tables=empty_store).start()
    yield found
    found.kill()


@pytest.fixture(scope="module")
def cats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for the pictures, which the program draws."""
    return tmp_path_factory.mktemp("data") / "cats"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, server: Server, cats: Path) -> Program:
    """The program after three trainings on the server."""
    variables = ONE_THREAD | {"MLFLOW_TRACKING_URI": server.uri}
    made = Program(tmp_path_factory.mktemp("trained") / "program", variables=variables)
    made.python("prepare", "synthetic", str(cats), "--count", "16", "--size", "96", code=0)
    for own in RUNS:
        words = train_command(1, *TINY, "--data.root", str(cats), *SETTINGS, *own)
        ended = made.run(*words, "--train.eval_every", "2", code=0, timeout_s=900)
        page = f"{server.uri}/#/experiments/"
        assert re.search(rf"look at run .*  {re.escape(page)}\d+/runs/[0-9a-f]+\?{TRAINING}", ended.stdout)
    return made


@pytest.fixture(scope="module")
def client(server: Server, program: Program) -> MlflowClient:
    """Client of the store after the trainings."""
    return MlflowClient(f"sqlite:///{server.database}")


@pytest.fixture(scope="module")
def ranked(client: MlflowClient) -> list[Any]:
    """The trainings, the best one first."""
    found = [run for run in runs.store_runs(client) if run.data.tags.get("kind") != "evaluation"]
    return sorted(found, key=lambda run: -run.data.metrics["best/miou"])


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shots")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])  # root has no sandbox
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest, shots: Path) -> Iterator[Any]:
    """A page of a person who has been here before: MLflow's assistant opens itself at the first visit only."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    context.add_init_script('localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true")')
    found = context.new_page()
    found.set_default_timeout(1000 * PAGE_SECONDS)
    yield found
    found.screenshot(path=shots / f"{request.node.name}.png")
    print(f"picture of the page: {shots / request.node.name}.png", file=sys.stderr)
    context.close()


def show_runs(page: Any, server: Server, run: Any, more: str = "") -> None:
    page.goto(f"{server.uri}/#/experiments/{run.info.experiment_id}/runs?{TRAINING}{more}")
    page.get_by_text("matching runs").wait_for()


def test_the_list_sorts_by_the_best_score(page: Any, server: Server, ranked: list[Any]) -> None:
    show_runs(page, server, ranked[0])
    page.get_by_role("button", name="Sort").click()
    page.get_by_text("best/miou", exact=True).first.click()
    column = page.locator('.ag-row [col-id="metrics.`best/miou`"]')
    column.nth(2).wait_for()
    shown = {int(cell.locator("xpath=..").get_attribute("row-index")): cell.inner_text() for cell in column.all()}
    scores = [run.data.metrics["best/miou"] for run in ranked]
    assert [float(shown[index]) for index in range(3)] == scores
    names = page.locator(".ag-row [col-id='attributes.`Run Name`']")
    listed = {int(cell.locator("xpath=..").get_attribute("row-index")): cell.inner_text() for cell in names.all()}
    for index, run in enumerate(ranked):
        assert run.info.run_name in listed[index]


def test_three_runs_are_compared(page: Any, server: Server, ranked: list[Any]) -> None:
    show_runs(page, server, ranked[0])
    page.get_by_label("Select all runs").first.check(force=True)
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("Comparing 3 Runs").wait_for()
    row = page.get_by_role("row").filter(has_text="optim.lr")
    row.first.wait_for()
    assert sorted(row.first.inner_text().split()[1:]) == ["0.003", "0.01", "0.01"]
    text = page.inner_text("body")
    for run in ranked:
        assert run.info.run_name in text
        assert re.search(rf"\b{round(run.data.metrics['best/miou'], 3):g}\b", text)


def test_curves_of_all_runs_are_in_one_chart(page: Any, server: Server, ranked: list[Any]) -> None:
    show_runs(page, server, ranked[0], "&compareRunsMode=CHART")
    search = page.get_by_placeholder("Search metric charts")
    search.wait_for()
    search.fill("val/miou")
    page.get_by_text("val/miou", exact=True).first.wait_for()
    curves = page.locator(".js-plotly-plot .scatterlayer .trace path.js-line")
    curves.nth(2).wait_for(state="attached")
    assert len({curve.get_attribute("d") for curve in curves.all()}) == 3  # MLflow draws each twice


def test_the_slider_moves_through_the_watched_pictures(page: Any, server: Server, ranked: list[Any]) -> None:
    run = ranked[0]
    page.goto(f"{server.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/model-metrics?{TRAINING}")
    search = page.get_by_placeholder("Search metric charts")
    search.wait_for()
    search.fill("watch/")
    picture = page.locator("img[src*='watch~']").first
    picture.wait_for()
    shown = "element => element.complete && element.naturalWidth >= 4 * 64"
    page.wait_for_function(f"({shown})(document.querySelector(\"img[src*='watch~']\"))")
    first = picture.get_attribute("src")
    assert "%2Bstep%2B0%2B" in first  # where the slider opens, there is a picture
    slider = page.locator("[role=slider][aria-valuemax]:not([aria-valuemax='0'])").first
    names = {path.name for path in (server.folder / "artifacts").rglob("watch~*.png")}
    drawn = sorted({int(name.split("+step+")[1].split("+")[0]) for name in names})
    assert (drawn[0], drawn[-1], len(drawn) > 3) == (0, int(run.data.tags["train.steps"]), True)
    slider.focus()
    for step in drawn[1:]:
        slider.press("ArrowRight")
        page.locator(f"img[src*='watch~'][src*='%2Bstep%2B{step}%2B']").first.wait_for()
    search.fill("best/")
    best = page.locator("img[src*='best~']").first
    best.wait_for()
    assert "%2Bstep%2B0%2B" in best.get_attribute("src")  # seen without the slider


def test_a_model_leads_to_its_run_and_back(page: Any, server: Server, client: MlflowClient, ranked: list[Any]) -> None:
    champion = client.get_model_version_by_alias("cats", "champion")
    run = client.get_run(champion.run_id)
    page.goto(f"{server.uri}/#/models/cats?{TRAINING}")
    page.get_by_text(f"Version {champion.version}", exact=True).wait_for()
    listed = page.locator("[role=row]", has_text=f"Version {champion.version}").first.inner_text()
    assert "champion" in listed
    assert "mIoU 0." in listed  # the beginning of its description
    page.get_by_text(f"Version {champion.version}", exact=True).click()
    page.get_by_text("Source Run").wait_for()
    page.get_by_text("validation pictures").first.wait_for()
    text = page.inner_text("body")
    command = f"python trainer/predict.py --model runs:/{run.info.run_id}/model --input PICTURES"
    for wanted in ("models:/cats@champion", command, run.info.run_name):
        assert wanted in text, wanted
    page.get_by_role("link", name=run.info.run_name).first.click()
    page.get_by_text("Logged models").wait_for()
    page.get_by_role("heading", name="Registered models").wait_for()
    model = page.locator(f"a[href*='/models/{champion.model_id or ''}']").first
    model.wait_for()
    assert f"mIoU {run.data.metrics['best/miou']:.3f} [" in page.inner_text("body")


def test_pictures_of_all_runs_are_side_by_side(page: Any, server: Server, ranked: list[Any]) -> None:
    """Pictures of all runs side by side, at the same step, as the README shows them."""
    show_runs(page, server, ranked[0], "&compareRunsMode=CHART")
    search = page.get_by_placeholder("Search metric charts")
    search.wait_for()
    search.fill("best/scene")
    pictures = page.locator("img[src*='best~']")
    pictures.nth(2).wait_for()
    owners = {re.search(r"run_uuid=(\w+)", one.get_attribute("src"))[1] for one in pictures.all()}  # type: ignore[index]
    assert owners == {run.info.run_id for run in ranked}


def test_the_table_of_an_evaluation_sorts_by_iou(
    page: Any, server: Server, program: Program, client: MlflowClient, ranked: list[Any], cats: Path
) -> None:
    """Last of the pages, since the run of the evaluation stays in the list of runs."""
    champion = "models:/cats@champion"
    program.python("evaluate", "--model", champion, "--data.root", str(cats), code=0, timeout_s=600)
    (run,) = [run for run in runs.store_runs(client) if run.data.tags.get("kind") == "evaluation"]
    folder = f"{server.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/evaluation"
    page.goto(f"{folder}/images.json?{TRAINING}")
    header = page.get_by_role("columnheader").filter(has=page.get_by_text("iou", exact=True))
    header.wait_for()
    (written,) = (program.folder / "mlruns" / "evaluations").glob("*/evaluation/images.csv")
    with written.open(newline="") as file:
        scores = [float(row["iou"]) for row in csv.DictReader(file)]
    assert len(set(scores)) > 5
    for order in ("ascending", "descending"):
        header.get_by_role("button", name="iou").click()
        page.locator(f"[role=columnheader][aria-sort={order}]").wait_for()
        rows = page.get_by_role("row").filter(has_text="scene_")
        rows.nth(len(scores) - 1).wait_for()
        shown = [float(row.get_by_role("cell").nth(1).inner_text()) for row in rows.all()]
        assert shown == pytest.approx(sorted(scores, reverse=order == "descending"), abs=1e-6)


@pytest.fixture(scope="module")
def sheet(program: Program, ranked: list[Any]) -> Path:
    """Sheet of the three runs."""
    names = [run.info.run_id for run in ranked]
    program.python("compare", *names, "--output", "compare.html", code=0, timeout_s=600)
    return program.folder / "compare.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_sheet_of_a_comparison(
    browser: Any, sheet: Path, ranked: list[Any], shots: Path, scheme: str, width: int
) -> None:
    """It opens without a network and without an error, shows all its pictures, and leaves nobody out."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    context = browser.new_context(**options, offline=True, bypass_csp=True)  # else axe is kept out, too
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(f"{error}"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(sheet.as_uri())
    page.screenshot(path=shots / f"sheet-{scheme}-{width}.png", full_page=True)
    print(f"picture of the sheet: {shots}/sheet-{scheme}-{width}.png", file=sys.stderr)
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [sheet.as_uri()]
    text = page.inner_text("body")
    assert all(run.info.run_name in text for run in ranked)
    assert re.search(r"is better than|no difference found between", text)
    widths = page.evaluate("[...document.images].map(image => image.complete ? image.naturalWidth : 0)")
    assert len(widths) >= 2 * (2 + 2 * len(ranked))  # of each watched image: itself, its labels, and two of each run
    assert min(widths) >= 64
    visible = [image.is_visible() and image.bounding_box()["width"] > 60 for image in page.locator("img").all()]
    assert all(visible)
    assert page.locator("svg polyline").count() >= 3 * len(ranked)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    context.close()


def test_the_policy_of_the_sheet_refuses_scripts_and_the_network(browser: Any, sheet: Path) -> None:
    """Whatever a name in it might smuggle in."""
    page = browser.new_page()
    said, failures = [], []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("requestfailed", lambda request: failures.append(request.failure))
    page.goto(sheet.as_uri())
    smuggled = "<img src=http://127.0.0.1:9/ onerror=alert(1)>"
    with page.expect_event("requestfailed"):
        page.evaluate("text => document.body.insertAdjacentHTML('beforeend', text)", smuggled)
    page.wait_for_timeout(500)
    assert failures == ["csp"]
    assert said == []
    page.context.close()
