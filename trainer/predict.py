"""Draw the outlines on new pictures with a registered model.

python trainer/predict.py --model models:/cat-unet@champion --input PATH [PATH ...] --output DIR
"""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import InputError

if TYPE_CHECKING:
    from trainer.inference.inputs import InputImage

EXIT_INPUT, EXIT_SOME_FAILED = 2, 3


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
        from trainer.inference.inputs import find_images

        pictures = find_images(options.input, options.output)
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


def predict(uri: str, pictures: "list[InputImage]", output: Path, batch_size: int) -> int:
    from trainer.system.terminal import Display

    display = Display()
    # ---------------------------------------------------------------- the model, by its address alone
    import torch

    from trainer.tracking.load import open_model

    model = open_model(uri)
    contract = model.segmenter.contract
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.segmenter.to(device)
    display.log("  ".join(f"{key} {value}" for key, value in model.origin.items() if value))

    # ---------------------------------------------------------------- read, predict and write at the same time
    from trainer.inference.predictor import predict_files

    advance = display.progress_bar("predicting", len(pictures))
    rows: list[dict[str, Any]] = []
    for row in predict_files(model.segmenter, pictures, output, batch_size):
        rows.append(row)
        advance()

    # ---------------------------------------------------------------- what came out
    facts = model.origin | {"commit": contract.commit, "dataset_digest": contract.dataset_digest}
    write_report(output, facts | {"classes": list(contract.class_names)}, rows)
    failed = [row for row in rows if "error" in row]
    for row in failed[:20]:
        print(f"predict.py: {row['error']}", file=sys.stderr)
    display.log(
        f"{len(rows) - len(failed)} pictures done, {len(failed)} failed; see {output / 'overlays'} and report.csv"
    )
    return EXIT_SOME_FAILED if failed else 0


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
