"""Numbers for Prometheus, read as its text format says."""

import re

from tests.support.serving import MakeInProcess, image_bytes
from trainer.serving.metrics import MOST_SERIES, Metrics

LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? ([-+0-9.e]+|\+Inf)')


def parse(text: str) -> dict[tuple[str, str], float]:
    """Metric and labels -> value; fails where a line is none of the format."""
    assert text.endswith("\n")
    found = {}
    for line in text.splitlines():
        if not line.startswith("# "):
            match = LINE.fullmatch(line)
            assert match, line
            found[match[1], match[2] or ""] = float(match[3])
    return found


def test_counters_and_histograms() -> None:
    metrics = Metrics()
    for value in (1, 1, 3, 100):
        metrics.observe("batch_pictures", value)
    metrics.count("pictures_total", version='a"\\\n')
    metrics.count("pictures_total", version='a"\\\n')
    found = parse(metrics.text({"under_way": {(): 12_345_678}}))
    assert found["segtrainer_pictures_total", 'version="a\\"\\\\\\n"'] == 2
    assert found["segtrainer_under_way", ""] == 12_345_678
    buckets = [value for (name, _), value in found.items() if name == "segtrainer_batch_pictures_bucket"]
    assert buckets == [2, 2, 3, 3, 3, 3, 3, 4]
    assert found["segtrainer_batch_pictures_sum", ""] == 105
    assert found["segtrainer_batch_pictures_count", ""] == 4


def test_what_clients_send_does_not_fill_the_memory() -> None:
    metrics = Metrics()
    for number in range(MOST_SERIES + 500):
        metrics.count("pictures_total", version=f"{number}")
    found = parse(metrics.text({}))
    assert len([name for name, _ in found if name == "segtrainer_pictures_total"]) == MOST_SERIES + 1
    assert found["segtrainer_pictures_total", 'version="other"'] == 500


def test_of_a_service(make_service: MakeInProcess) -> None:
    service = make_service()
    for _ in range(3):
        service.ask("POST", "/predict", image_bytes(), {"content-type": "image/png"})
    service.ask("POST", "/predict", b"x", {"content-type": "image/png"})
    service.ask("GET", "/nothing/1")
    found = parse(service.ask("GET", "/metrics").content.decode())
    version = service.service.versions.current.version
    assert found["segtrainer_pictures_total", f'version="{version}"'] == 3
    assert found["segtrainer_requests_total", 'path="/predict",status="200"'] == 3
    assert found["segtrainer_requests_total", 'path="/predict",status="422"'] == 1
    assert found["segtrainer_model_info", f'name="cats 0",version="{version}",alias=""'] == 1
    assert found["segtrainer_under_way", ""] == found["segtrainer_body_bytes", ""] == 0
