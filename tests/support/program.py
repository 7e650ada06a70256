"""Running the program as a person does: a copy of it, real processes, a small data folder."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = [
    *("--model.width", "8", "--data.image_size", "32", "--train.batch_size", "4", "--data.workers", "1"),
    *("--train.eval_every", "1"),
]


@dataclass
class Program:
    """A copy of the program in a folder of its own, so that its mlruns/ is its own too."""

    folder: Path
    source: Path = REPOSITORY

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        for part in ("trainer", "launch", "configs"):
            subprocess.run(["cp", "-r", str(self.source / part), str(self.folder / part)], check=True)
        (self.folder / "mlruns").mkdir()

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "ACCELERATE_"))}
        # A person's own Accelerate settings must not decide what the tests see.
        return (
            kept
            | {"PYTHONPATH": str(self.folder), "HF_HOME": str(self.folder / "hf"), "MLFLOW_DISABLE_TELEMETRY": "true"}
            | extra
        )

    def start(self, *command: str, **extra: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(**extra),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, timeout_s: float = 240, **extra: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*command, **extra)
        try:
            out, err = process.communicate(timeout=timeout_s)
        finally:
            kill_group(process)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def python(self, entry: str, *arguments: str, **extra: Any) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, f"trainer/{entry}.py", *arguments, **extra)

    def train(self, *arguments: str, **extra: Any) -> subprocess.CompletedProcess[str]:
        return self.python("train", *TINY, *arguments, **extra)

    def launch(self, config: str, *arguments: str, **extra: Any) -> subprocess.CompletedProcess[str]:
        launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", f"launch/{config}.yaml"]
        return self.run(*launcher, "trainer/train.py", *TINY, *arguments, **extra)

    @property
    def store(self) -> str:
        return f"sqlite:///{self.folder / 'mlruns' / 'mlflow.db'}"

    def run_folders(self) -> list[Path]:
        return sorted((self.folder / "mlruns" / "work").glob("*"))

    def status(self) -> dict[str, Any]:
        """status.json of the newest run."""
        content: dict[str, Any] = json.loads((self.run_folders()[-1] / "status.json").read_text())
        return content


def kill_group(process: subprocess.Popen[str]) -> None:
    """End a process and everything it started; nothing may outlive its test."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def make_voc(root: Path, count: int = 10, size: int = 48, values: tuple[int, int] = (0, 1)) -> Path:
    """A VOC folder of bright discs on dark noise: learnable in seconds, and every picture is another one."""
    for part in ("JPEGImages", "SegmentationClassPNG"):
        (root / part).mkdir(parents=True)
    random = np.random.default_rng(5)
    rows, columns = np.mgrid[:size, : size + 8]
    for index in range(count):
        y, x = random.integers(size // 4, 3 * size // 4, 2)
        disc = (rows - y) ** 2 + (columns - x) ** 2 < random.integers(size // 8, size // 3) ** 2
        image = random.integers(0, 90, (*disc.shape, 3)) + 140 * disc[..., None]
        Image.fromarray(image.astype(np.uint8)).save(root / "JPEGImages" / f"disc_{index:02}.jpg", quality=95)
        mask = np.where(disc, values[1], values[0]).astype(np.uint8)
        Image.fromarray(mask).save(root / "SegmentationClassPNG" / f"disc_{index:02}.png")
    return root


def mean_iou(masks: list[np.ndarray], predicted: list[np.ndarray]) -> float:
    """IoU of class 1 over all pictures together, in plain numpy; the oracle for val/miou."""
    truth = np.concatenate([mask.ravel() for mask in masks])
    guess = np.concatenate([mask.ravel() for mask in predicted])[truth != 255]
    truth = truth[truth != 255]
    return float(((truth == 1) & (guess == 1)).sum() / ((truth == 1) | (guess == 1)).sum())


def histories(store: Path) -> dict[tuple[str, str], list[tuple[int, int, float]]]:
    """(run id, metric key) -> sorted (step, timestamp, value), read straight from MLflow's sqlite file."""
    found: dict[tuple[str, str], list[tuple[int, int, float]]] = {}
    with sqlite3.connect(store) as database:
        for run, key, step, stamp, value in database.execute(
            "select run_uuid, key, step, timestamp, value from metrics"
        ):
            found.setdefault((run, key), []).append((step, stamp, value))
    return {key: sorted(points) for key, points in found.items()}


def journal_points(folder: Path) -> dict[str, list[tuple[int, int, float]]]:
    """Metric key -> sorted (step, timestamp, value), as the run folder has them."""
    found: dict[str, list[tuple[int, int, float]]] = {}
    for line in (folder / "journal.jsonl").read_text().splitlines():
        record = json.loads(line)
        for key, value in record.get("metrics", {}).items():
            found.setdefault(key, []).append((record["step"], record["time"], value))
    return {key: sorted(points) for key, points in found.items()}


class Server:
    """A real MLflow server on loopback, with a sqlite store."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> "Server":
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        log = (self.folder / "server.log").open("a")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        self.process = subprocess.Popen(
            command,
            env=environment | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2).close()
                return self
            except OSError:
                time.sleep(0.5)
        raise RuntimeError(f"no MLflow server after 120 s; see {self.folder / 'server.log'}")

    def kill(self) -> None:
        if self.process is not None:
            kill_group(self.process)
            self.process = None

    def freeze(self) -> None:
        """Stop it without ending it: the kernel still takes connections, and nobody answers them."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGCONT)

    @property
    def store(self) -> Path:
        return self.folder / "server.db"

    def received(self) -> int:
        """How many requests so far wanted to change something, by the server's own log."""
        changing = ("POST", "PUT", "PATCH", "DELETE")
        lines = (self.folder / "server.log").read_text().splitlines()
        return sum(any(f'"{verb} ' in line for verb in changing) and "/search" not in line for line in lines)
