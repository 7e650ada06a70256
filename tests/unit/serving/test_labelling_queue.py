"""The labelling queue: files that Labelme and this program read, and that are never replaced."""

import json
import os
import threading
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from tests.support.serving import MakeInProcess, image_bytes
from trainer import InputError
from trainer.data.layouts.labelme_json import draw_annotation, read_annotation
from trainer.serving.labelling_queue import open_queue

FORM = {"content-type": "image/jpeg"}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("form", ["polygons", "masks"])
def test_the_reader_of_labelme_gives_the_mask(form: str, make_service: MakeInProcess, tmp_path: Path) -> None:
    queue = tmp_path / "to label"
    service, content = make_service(queue=open_queue(queue)), image_bytes(97, 131, 3, "JPEG")
    answer = service.ask("POST", f"/wrong?name=K%C3%A4tzchen%201.jpg&labelme={form}", content, FORM)
    assert (answer.status, answer.json["new"]) == (201, True)
    assert names(queue) == ["Kätzchen 1.jpg", "Kätzchen 1.json", "labels.txt"]
    assert (queue / "Kätzchen 1.jpg").read_bytes() == content
    record = json.loads((queue / answer.json["annotation"]).read_text())
    assert record["flags"] == {"predicted": True}
    drawn = draw_annotation(queue / "Kätzchen 1.json", queue, {"class 1": 1})
    mask = service.ask("POST", "/predict", content, FORM).array
    assert mask.any()
    assert (drawn != mask).mean() <= (0 if form == "masks" else 0.01)


def test_specks_are_left_out_unless_another_number_is_given(make_service: MakeInProcess, tmp_path: Path) -> None:
    queue = tmp_path / "queue"
    service = make_service(changes={"object_areas": (500,)}, queue=open_queue(queue))
    content = image_bytes(97, 131, 3, "JPEG")
    cleaned, plain = (service.ask("POST", f"/predict{query}", content, FORM).array for query in ("?min_area=auto", ""))
    assert (cleaned != plain).any()
    for name, query, mask in (("a.jpg", "", cleaned), ("b.jpg", "&min_area=0", plain)):
        service.ask("POST", f"/wrong?name={name}&labelme=masks{query}", content, FORM)
        drawn = draw_annotation((queue / name).with_suffix(".json"), queue, {"class 1": 1})
        np.testing.assert_array_equal(drawn, mask)


def test_nothing_is_replaced(make_service: MakeInProcess, tmp_path: Path) -> None:
    queue = tmp_path / "queue"
    service = make_service(queue=open_queue(queue))
    first, second, third = (image_bytes(seed=seed, form="JPEG") for seed in range(3))
    service.ask("POST", "/wrong?name=x.jpg", first, FORM)
    (queue / "x.json").write_text("corrected")
    again = service.ask("POST", "/wrong?name=x.jpg", first, FORM)
    assert (again.status, again.json["new"], again.json["annotation"]) == (200, False, "x.json")
    assert (queue / "x.json").read_text() == "corrected"
    other = service.ask("POST", "/wrong?name=x.jpg", second, FORM)
    assert other.status == 201
    assert other.json["image"] not in ("x.jpg", "image.jpg")
    assert (queue / "x.jpg").read_bytes() == first
    assert (queue / other.json["image"]).read_bytes() == second
    (queue / "y.json").write_text("a person's, with the image elsewhere")
    placed = service.ask("POST", "/wrong?name=y.jpg", third, FORM)
    assert (placed.status, placed.json["new"]) == (200, False)
    assert (queue / "y.json").read_text() == "a person's, with the image elsewhere"
    assert not [name for name in names(queue) if name.startswith(".")]


def test_classes_that_the_labels_file_lacks_are_added(make_service: MakeInProcess, tmp_path: Path) -> None:
    """As where an earlier version had other classes, or a person named more of them."""
    queue = tmp_path / "queue"
    service = make_service(2, queue=open_queue(queue))
    labels = queue / "labels.txt"
    labels.write_text("__ignore__\n_background_\nbird\nclass 2")
    for _ in range(2):
        assert service.ask("POST", "/wrong?name=x.jpg", image_bytes(form="JPEG"), FORM).status in (200, 201)
        assert labels.read_text() == "__ignore__\n_background_\nbird\nclass 2\nclass 1\n"
    labels.write_bytes(b"K\xe4tzchen\n")
    answer = service.ask("POST", "/wrong?name=y.jpg", image_bytes(form="JPEG"), FORM)
    assert (answer.status, f"{labels}" in answer.json["error"]) == (507, True)
    assert names(queue) == ["labels.txt", "x.jpg", "x.json"]
    assert labels.read_bytes() == b"K\xe4tzchen\n"


@pytest.mark.parametrize("name", ["../../evil.jpg", "/etc/passwd", ".hidden", "a\0b.jpg", "labels.txt", "x" * 400])
def test_names_stay_in_the_folder(name: str, make_service: MakeInProcess, tmp_path: Path) -> None:
    queue = open_queue(tmp_path / "deep" / "queue")
    service = make_service(queue=queue)
    answer = service.ask("POST", f"/wrong?name={quote(name)}", image_bytes(form="JPEG"), FORM)
    assert answer.status == 201
    assert len(names(queue)) == 3
    assert names(tmp_path / "deep") == ["queue"]
    assert "class 1" in (queue / "labels.txt").read_text()


def test_formats_that_labelme_cannot_open(make_service: MakeInProcess, tmp_path: Path) -> None:
    """They become PNG, upright."""
    queue = tmp_path / "queue"
    service = make_service(queue=open_queue(queue))
    content = image_bytes(form="TIFF")
    answer = service.ask("POST", "/wrong?name=scan.tif", content, {"content-type": "image/tiff"})
    assert answer.json["image"] == "scan.png"
    read = read_annotation(queue / "scan.json", queue, {"class 1": 1})
    assert read.image.shape == (61, 83, 3)


def test_many_at_once_are_one(make_service: MakeInProcess, tmp_path: Path) -> None:
    queue = tmp_path / "queue"
    service, content = make_service(queue=open_queue(queue)), image_bytes(form="JPEG")
    statuses: list[int] = []
    ask = lambda: statuses.append(service.ask("POST", "/wrong?name=x.jpg", content, FORM).status)  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 5 + [201]
    assert names(queue) == ["labels.txt", "x.jpg", "x.json"]
    assert np.array(json.loads((queue / "x.json").read_text())["imageHeight"]) == 61


def test_a_disk_without_links(make_service: MakeInProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = tmp_path / "queue"

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    service, content = make_service(queue=open_queue(queue)), image_bytes(form="JPEG")
    assert [service.ask("POST", "/wrong?name=x.jpg", content, FORM).status for _ in range(2)] == [201, 200]
    assert (queue / "x.jpg").read_bytes() == content


def test_without_a_queue_or_room(make_service: MakeInProcess, tmp_path: Path) -> None:
    content = image_bytes(form="JPEG")
    assert make_service().ask("POST", "/wrong", content, FORM).status == 409
    queue = open_queue(tmp_path / "queue")
    service = make_service(queue=queue)
    queue.rmdir()
    queue.write_text("a file in its place")
    answer = service.ask("POST", "/wrong", content, FORM)
    assert answer.status == 507
    assert str(queue) in answer.json["error"]
    with pytest.raises(InputError, match="--queue"):
        open_queue(queue)
