"""Throughput of the service as a share of the batch predictor's, with its delays, on the same images and model.

python -m tests.benchmarks.serving [--pictures 128] [--rounds 3] [--clients 8] [--width 32]

Generated cats as JPEG images of 1024 x 768, an untrained model for 256 pixels. In turn:

    predict    predict.py --overlay none: images that one run has more than one of an eighth of them, by the seconds
               that it takes longer
    serve      serve.py, asked for masks by a generator in a process of its own, on the same CPUs: over `clients`
               connections, each of which sends its next image when it has the last mask

p50 and p99 are of the time from the first byte of a request to the last of its answer, as the generator sees it.
"""

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.predict import HEIGHT, WIDTH, make_images
from tests.support.program import Program
from tests.support.serving import Serving, ask
from trainer.config import Config
from trainer.drawing.palette import palette
from trainer.model.model_folder import save_segmenter
from trainer.model.segmenter import Contract, Segmenter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--width", type=int, default=32, help="of the model (32)")
    parser.add_argument("--load", nargs=2, metavar=("PORT", "DIR"), help="only the generator: its times as JSON")
    options = parser.parse_args()
    if options.load:
        print(json.dumps(load(int(options.load[0]), Path(options.load[1]), options.clients)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch)
        print(f"{os.cpu_count()} CPUs, torch {torch.__version__}; {options.pictures} images of {WIDTH}x{HEIGHT}")
        images = make_images(top / "images", options.pictures)
        names = ("_background_", "cat")
        colours = tuple((int(r), int(g), int(b)) for r, g, b in palette()[: len(names)])
        torch.manual_seed(0)
        save_segmenter(Segmenter(Contract(names, colours, Config().data.image_size, options.width)), top / "model")
        compare(Program(top / "program"), top, images, options)


def compare(program: Program, top: Path, images: list[Path], options: argparse.Namespace) -> None:
    """Measure both in turn, and print their ratio."""
    words = ["--model", str(top / "model"), "--queue_size", str(2 * options.clients)]
    ratios, delays = [], []
    with Serving(*words, environment=program.environment(), folder=program.folder) as serving:
        port = serving.wait().port
        measure_service(program, port, top / "images", options)  # a first time, which is not counted
        for number in range(options.rounds):
            batch = predictor_rate(program, top, images)
            rate, times = measure_service(program, port, top / "images", options)
            ratios.append(rate / batch)
            delays += times
            print(f"round {number + 1}: predict {batch:.2f} images/s, serve {rate:.2f}, ratio {rate / batch:.2f}")
        refused = [line for line in serving.lines() if line["event"] == "request" and line["status"] != 200]
        batches = [line["batch"] for line in serving.lines() if "batch" in line]
    p50, p99 = np.quantile(delays, (0.5, 0.99))
    spread = f"n = {len(ratios)}, {min(ratios):.2f} to {max(ratios):.2f}"
    print(f"serve / predict: {statistics.median(ratios):.2f} ({spread})")
    print(f"{options.clients} clients: p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms (n = {len(delays)})")
    print(f"mean batch {statistics.mean(batches):.2f}; refused or failed {len(refused)}")


def predictor_rate(program: Program, top: Path, images: list[Path]) -> float:
    """Images per second of predict.py, without its start."""
    seconds = []
    for count in (len(images) // 8, len(images)):
        lists = top / "list.txt"
        lists.write_text("\n".join(map(str, images[:count])))
        out = top / f"out{time.monotonic_ns()}"
        command = f"{sys.executable} trainer/predict.py --overlay none --model {top / 'model'} --input - --output {out}"
        began = time.perf_counter()
        program.run("sh", "-c", f"{command} < {lists}", code=0, timeout_s=1800)
        seconds.append(time.perf_counter() - began)
    return (len(images) - len(images) // 8) / (seconds[1] - seconds[0])


def measure_service(
    program: Program, port: int, folder: Path, options: argparse.Namespace
) -> tuple[float, list[float]]:
    """Images per second, and the seconds of each request."""
    words = [sys.executable, "-m", "tests.benchmarks.serving", "--load", f"{port}", str(folder)]
    root = str(Path(__file__).resolve().parents[2])
    ended = program.run(*words, "--clients", f"{options.clients}", code=0, timeout_s=1800, PYTHONPATH=root)
    found = json.loads(ended.stdout.splitlines()[-1])
    return len(found["times"]) / found["seconds"], found["times"]


def load(port: int, folder: Path, clients: int) -> dict[str, object]:
    """Ask for the mask of each image in a folder, over `clients` connections; return the seconds of all and each."""
    waiting = [path.read_bytes() for path in sorted(folder.iterdir())]
    times: list[float] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        while True:
            try:
                content = waiting.pop()
            except IndexError:
                return
            began = time.perf_counter()
            answer = ask(connection, "POST", "/predict?format=mask", content, {"Content-Type": "image/jpeg"})
            assert answer.status == 200, answer.content
            times.append(time.perf_counter() - began)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"seconds": time.perf_counter() - began, "times": times}


if __name__ == "__main__":
    main()
