"""Draw the outlines on new pictures with a registered model.

python trainer/predict.py --model models:/cat-unet@champion --input PATH [PATH ...] --output DIR
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import InputError

if TYPE_CHECKING:
    import numpy as np

    from trainer.model.segmenter import Segmenter

EXIT_INPUT, EXIT_SOME_FAILED = 2, 3
READERS = WRITERS = 2


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 wrong usage or model, 3 some pictures failed and the rest are done."""
    parser = argparse.ArgumentParser(prog="predict.py", description="Outline the known classes in pictures.")
    parser.add_argument(
        "--model", required=True, help="models:/name@alias, models:/name/3, runs:/..., or a model folder"
    )
    parser.add_argument(
        "--input", required=True, nargs="+", type=Path, metavar="PATH", help="pictures, or folders of them"
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="where masks/, overlays/ and report.* go"
    )
    parser.add_argument("--batch_size", type=int, default=8, help="pictures that go through the network together (8)")
    options = parser.parse_args(arguments)
    try:
        if options.batch_size < 1:
            raise InputError(f"--batch_size: {options.batch_size} is not possible; give 1 or more")
        pictures = find_pictures(options.input, options.output)
        make_output(options.output)
        return predict(options.model, pictures, options.output, options.batch_size)
    except InputError as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return EXIT_INPUT


def make_output(output: Path) -> None:
    """Make the folders of the results. Raises InputError where that is not possible, before any work."""
    try:
        for part in ("masks", "overlays"):
            (output / part).mkdir(parents=True, exist_ok=True)
        (output / "report.csv").touch()
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written ({error.strerror}); give another folder") from error


@dataclass(frozen=True)
class Picture:
    """A file to predict, and the name of its results below masks/ and overlays/, without suffix."""

    path: Path
    name: Path


def find_pictures(inputs: list[Path], output: Path) -> list[Picture]:
    """The pictures of files and folders, the latter with their subfolders. Results of an earlier call are no input."""
    from trainer.data.files import list_images

    pictures: dict[Path, Picture] = {}
    for given in inputs:
        if given.is_dir():
            folders = sorted(folder for folder in [given, *given.rglob("*")] if folder.is_dir())
            results = [output.resolve() / part for part in ("masks", "overlays")]
            folders = [
                folder for folder in folders if not any(folder.resolve().is_relative_to(part) for part in results)
            ]
            found = [
                Picture(path, path.relative_to(given).with_suffix(""))
                for folder in folders
                for path in list_images(folder)
            ]
        elif given.exists():
            found = [Picture(given, Path(given.stem))]
        else:
            raise InputError(f"{given}: no such file or folder")
        for picture in found:
            other = pictures.get(picture.name)
            if other is not None and other.path.resolve() != picture.path.resolve():
                raise InputError(
                    f"{other.path} and {picture.path} would both become masks/{picture.name}.png; "
                    "rename one, or predict them into two folders"
                )
            pictures[picture.name] = picture
    if not pictures:
        raise InputError(f"{', '.join(map(str, inputs))}: no pictures there")
    return list(pictures.values())


def predict(uri: str, pictures: list[Picture], output: Path, batch_size: int) -> int:
    from trainer.drawing.display import Display

    display = Display()
    # ---------------------------------------------------------------- the model, by its address alone
    import torch

    from trainer.tracking.open import open_model

    model = open_model(uri)
    contract = model.segmenter.contract
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.segmenter.to(device)
    display.say("  ".join(f"{key} {value}" for key, value in model.origin.items() if value))

    # ---------------------------------------------------------------- read, predict and write at the same time
    advance = display.counting("predicting", len(pictures))
    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(WRITERS) as writers:
        waiting: list[Future[dict[str, Any]]] = []
        for batch in batches(read_ahead(pictures, contract.image_size), batch_size):
            for outcome in predict_batch(model.segmenter, batch):
                waiting.append(writers.submit(write, outcome, model.segmenter, output))
            while len(waiting) > 2 * batch_size:  # results wait in memory for the disk, but only so many
                rows.append(waiting.pop(0).result())
                advance()
        for result in waiting:
            rows.append(result.result())
            advance()

    # ---------------------------------------------------------------- what came out
    facts = model.origin | {"commit": contract.commit, "dataset_digest": contract.dataset_digest}
    write_report(output, facts | {"classes": list(contract.class_names)}, rows)
    failed = [row for row in rows if "error" in row]
    for row in failed[:20]:
        print(f"predict.py: {row['error']}", file=sys.stderr)
    display.say(
        f"{len(rows) - len(failed)} pictures done, {len(failed)} failed; see {output / 'overlays'} and report.csv"
    )
    return EXIT_SOME_FAILED if failed else 0


@dataclass
class Outcome:
    """One picture on its way through: decoded, then predicted, or failed."""

    picture: Picture
    image: "np.ndarray | None" = None  # uint8 [H, W, 3]
    square: Any = None  # uint8 [S, S, 3], what the network sees
    mask: "np.ndarray | None" = None  # uint8 [H, W]
    confidence: float = 0.0
    seconds: float = 0.0
    error: str = ""


def read_ahead(pictures: list[Picture], size: int) -> Iterator[Outcome]:
    """Decode and resize in threads, a few pictures ahead of the network."""
    from trainer.data.cache import shrink_image
    from trainer.data.files import read_image
    from trainer.engine.readahead import read_ahead as ahead

    def read(picture: Picture) -> Outcome:
        began = time.perf_counter()
        try:
            image = read_image(picture.path)
        except (InputError, OSError) as error:
            return Outcome(picture, error=str(error))
        return Outcome(picture, image, shrink_image(image, size), seconds=time.perf_counter() - began)

    return ahead(iter(pictures), read, READERS)


def batches(outcomes: Iterator[Outcome], size: int) -> Iterator[list[Outcome]]:
    batch: list[Outcome] = []
    for outcome in outcomes:
        batch.append(outcome)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def predict_batch(segmenter: "Segmenter", batch: list[Outcome]) -> list[Outcome]:
    """Class ids and confidence of each picture at its own size."""
    import numpy as np
    import torch

    from trainer.engine.evaluate import network_logits

    readable = [outcome for outcome in batch if outcome.square is not None]
    if not readable:
        return batch
    began = time.perf_counter()
    with torch.inference_mode():
        squares = torch.from_numpy(np.stack([outcome.square for outcome in readable])).permute(0, 3, 1, 2)
        logits = network_logits(segmenter, squares.to(segmenter.mean.device))
        for row, outcome in enumerate(readable):
            assert outcome.image is not None
            probabilities = segmenter.probabilities(logits[row : row + 1], outcome.image.shape[:2])
            surest = torch.maximum(probabilities, 1 - probabilities) if len(probabilities[0]) == 1 else probabilities
            outcome.mask = segmenter.classes(probabilities)[0].cpu().numpy()
            outcome.confidence = float(surest.amax(dim=1).mean())
    for outcome in readable:
        outcome.seconds += (time.perf_counter() - began) / len(readable)
    return batch


def write(outcome: Outcome, segmenter: "Segmenter", output: Path) -> dict[str, Any]:
    """Write mask and overlay of one picture; returns its row of the report."""
    import numpy as np

    from trainer.data.files import write_jpeg, write_mask
    from trainer.drawing.overlay import draw_overlay

    row: dict[str, Any] = {"file": str(outcome.picture.path)}
    if outcome.image is None or outcome.mask is None:
        return row | {"error": outcome.error}
    began = time.perf_counter()
    names, colours = segmenter.contract.class_names, segmenter.contract.colours
    mask_file, overlay_file = (
        output / part / outcome.picture.name.with_name(outcome.picture.name.name + suffix)
        for part, suffix in (("masks", ".png"), ("overlays", ".jpg"))
    )
    try:
        for file in (mask_file, overlay_file):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_mask(mask_file, outcome.mask)
        write_jpeg(overlay_file, draw_overlay(outcome.image, outcome.mask, colours))
    except OSError as error:
        return row | {"error": f"{outcome.picture.path}: result cannot be written ({error})"}
    height, width = outcome.mask.shape
    counts = np.bincount(outcome.mask.ravel(), minlength=len(names)) / outcome.mask.size
    return row | {
        "width": width,
        "height": height,
        "share": {name: round(float(share), 6) for name, share in zip(names, counts, strict=True)},
        "confidence": round(outcome.confidence, 4),
        "seconds": round(outcome.seconds + time.perf_counter() - began, 4),
    }


def write_report(output: Path, model: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """report.json with everything, report.csv with one line a picture."""
    content = {"model": model, "files": rows}
    (output / "report.json").write_text(json.dumps(content, indent=1, ensure_ascii=False))
    shares = [f"share {name}" for name in model["classes"]]
    with (output / "report.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "width", "height", *shares, "confidence", "seconds", "error"])
        for row in rows:
            values = [row.get("share", {}).get(name, "") for name in model["classes"]]
            table.writerow([row["file"], row.get("width"), row.get("height"), *values,
                            row.get("confidence"), row.get("seconds"), row.get("error")])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
