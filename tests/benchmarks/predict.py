"""Share of the bare network's speed that is left when images come from files and go to files; start and memory.

python -m tests.benchmarks.predict [--pictures 256] [--rounds 3] [--width 32]

Generated cats as JPEG images of 1024 x 768, an untrained model for 256 pixels, and the command that a user
gives, as a process. In turn with it, in a process of its own, the bare network: the same weights, number format,
threads and batch, on tensors that are in memory already.

    steady    the images that one run has more than one of an eighth of them, by the seconds that it takes longer
    whole     all images by the time of the whole process, with Python's start, imports, model and report

Both are wall times of processes seen from outside, and so is the peak of resident memory.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from tests.support.program import Program
from trainer.config import Config
from trainer.data.image_io import write_jpeg
from trainer.drawing.palette import palette
from trainer.make.synthetic.scene import draw_scene
from trainer.model.model_folder import load_segmenter, save_segmenter
from trainer.model.segmenter import Contract, Segmenter

WIDTH, HEIGHT, SCENES, BATCH = 1024, 768, 16, 8
NAME = "cats"

# Makes the model in the folder argv[1] champion of the store, as a training would.
REGISTER = """
import shutil, sys
from pathlib import Path
from trainer.config import MLRUNS
from trainer.tracking import registry, server
from trainer.tracking.register import register
from trainer.system.run_folder import new_run_folder
folder = new_run_folder(MLRUNS / "work", "benchmark", "benchmark", True)
shutil.copytree(sys.argv[1], folder.model)
client = server.connect_run(folder)
register(client, folder, folder.read_run()["run_id"], sys.argv[2], {})
registry.set_champion(client, sys.argv[2], "1", None)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=32, help="of the model (32)")
    parser.add_argument("--bare", type=Path, metavar="MODEL", help="only the bare network: images per second")
    options = parser.parse_args()
    if options.bare:
        print(bare_rate(options.bare))
        return
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch)
        print(f"{machine()}\nmaking {options.pictures} images of {WIDTH}x{HEIGHT}", flush=True)
        images = make_images(top / "images", options.pictures)
        names = ("_background_", "cat")
        colours = tuple((int(r), int(g), int(b)) for r, g, b in palette()[: len(names)])
        contract = Contract(names, colours, Config().data.image_size, options.width)
        torch.manual_seed(0)
        save_segmenter(Segmenter(contract), top / "model")
        program = Program(top / "program")
        program.run(sys.executable, "-c", REGISTER, str(top / "model"), NAME, code=0)
        starts(program, top, images)
        throughput(program, top, images, options.rounds)


def starts(program: Program, top: Path, images: list[Path]) -> None:
    """Print the seconds before something is to be seen."""
    helped = [timed_run(program, "--help").seconds for _ in range(5)]
    print(f"--help                     {statistics.median(helped):6.2f} s     median of 5")
    for what, model in (("a folder", str(top / "model")), ("the registry", f"models:/{NAME}@champion")):
        firsts = [predict(program, model, images[:BATCH], top / "out").first_s for _ in range(3)]
        print(
            f"{'first mask, ' + what:27}{statistics.median(firsts):6.2f} s     median of 3, {BATCH} images",
            flush=True,
        )


def throughput(program: Program, top: Path, images: list[Path], rounds: int) -> None:
    """Print the steady and the whole rate beside the bare network's, and the peak memory."""
    some, model = images[: len(images) // 8], str(top / "model")
    steady, whole, few_mib, all_mib = [], [], [], []
    for number in range(1, rounds + 1):
        before = bare_process(model)
        few, everything = (predict(program, model, chosen, top / "out") for chosen in (some, images))
        after = bare_process(model)
        bare = (before + after) / 2
        rate = (len(images) - len(some)) / (everything.seconds - few.seconds)
        steady.append(rate / bare)
        whole.append(len(images) / everything.seconds / bare)
        few_mib.append(few.peak_mib)
        all_mib.append(everything.peak_mib)
        print(
            f"round {number}: bare {before:.2f} and {after:.2f} images/s, steady {rate:.2f} ({steady[-1]:.0%}), "
            f"whole {len(images) / everything.seconds:.2f} ({whole[-1]:.0%})",
            flush=True,
        )
    print(f"steady / bare              {statistics.median(steady):6.1%}     median of {rounds}, batch {BATCH}")
    print(f"whole / bare               {statistics.median(whole):6.1%}")
    for count, peaks in ((len(some), few_mib), (len(images), all_mib)):
        print(f"peak memory, {count:4} images {statistics.median(peaks):6.0f} MiB")


def bare_process(model: str) -> float:
    """Pictures per second of `bare_rate`, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.predict", "--bare", model]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@dataclass(frozen=True)
class Timed:
    """Time and memory of one process, seen from outside."""

    seconds: float
    peak_mib: float
    first_s: float = 0.0
    """Seconds from the start of the process to the first mask file."""


def timed_run(program: Program, *arguments: str) -> Timed:
    """Run predict.py as a process of its own; raises where it fails."""
    began = time.time()
    process = subprocess.Popen(
        [sys.executable, "trainer/predict.py", *arguments],
        cwd=program.folder,
        env=program.environment(),
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.time() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return Timed(seconds, usage.ru_maxrss / 1024)


def predict(program: Program, model: str, images: list[Path], output: Path) -> Timed:
    """Predict `images` into `output`, which is emptied first."""
    subprocess.run(["rm", "-rf", str(output)], check=True)
    began = time.time()
    arguments = ["--model", model, "--input", *map(str, images), "--output", str(output)]
    result = timed_run(program, *arguments, "--batch_size", str(BATCH))
    masks, overlays = ([path.stat().st_mtime for path in (output / part).iterdir()] for part in ("masks", "overlays"))
    assert len(masks) == len(overlays) == len(images)
    return Timed(result.seconds, result.peak_mib, min(masks) - began)


@torch.inference_mode()
def bare_rate(model: Path, seconds: float = 10.0) -> float:
    """Pictures per second of the network alone, in float32 and channels last as in prediction."""
    segmenter = load_segmenter(model)
    side = segmenter.contract.image_size
    resized = torch.randn(BATCH, 3, side, side).contiguous(memory_format=torch.channels_last)
    segmenter.network(resized)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        segmenter.network(resized)
        count += BATCH
    return count / (time.perf_counter() - began)


def make_images(folder: Path, count: int) -> list[Path]:
    """Write generated cats as JPEG images. Scenes come several times, mirrored, each with noise of its own."""
    folder.mkdir()
    random = np.random.default_rng(0)
    scenes: list[Image.Image] = []
    for index in range(count):
        if index < SCENES:
            drawn = Image.fromarray(draw_scene(0, index, 512, ["cat"]).image)
            scenes.append(ImageOps.fit(drawn, (WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        scene = scenes[index % SCENES] if index // SCENES % 2 == 0 else ImageOps.mirror(scenes[index % SCENES])
        # The noise of a sensor; without it the decoder has less to do than with a photograph.
        noisy = np.array(scene) + random.normal(0, 6, (HEIGHT, WIDTH, 3)).astype(np.int16)
        write_jpeg(folder / f"cat_{index:03}.jpg", noisy.clip(0, 255).astype(np.uint8))
    return sorted(folder.iterdir())


def machine() -> str:
    """Processor, threads and versions, which belong to every figure."""
    found = torch.cpu.get_capabilities()
    facts = [f"{os.cpu_count()} cores ({found.get('cpu_name', '')})", f"{torch.get_num_threads()} threads"]
    facts += [f"{name}={os.environ[name]}" for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT") if name in os.environ]
    return ", ".join([*facts, f"torch {torch.__version__}"])


if __name__ == "__main__":
    main()
