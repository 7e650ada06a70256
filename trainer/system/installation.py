"""Installation of the program: which packages each part needs, and the commands that work here.

The packages of prediction come with the program; the others are extras of its installation, and may be missing.
"""

import importlib.util
import sys
from pathlib import Path

from trainer import EXIT_INPUT, InputError
from trainer.config import INSTALLED, install_command

COMMAND = "segtrainer"
"""Name of the package, and of the command that an installation makes."""

EXTRAS = {
    "train": ("accelerate", "jsonargparse", "kornia", "mlflow", "psutil"),
    "registry": ("mlflow",),
    "serve": ("fastapi", "uvicorn"),
    "onnx": ("onnx", "onnxscript"),
    "server": ("boto3", "flask_wtf", "mlflow", "psycopg2"),
    "sweep": ("matplotlib", "optuna"),
}
"""Extra of the installation -> packages that are imported, and may be missing without it."""


def require(extra: str, what: str) -> None:
    """Raise InputError, with the command that installs it, where a package of an extra is missing; `what` needs it."""
    missing = [name for name in EXTRAS[extra] if name not in sys.modules and importlib.util.find_spec(name) is None]
    if missing:
        plural = "packages" if len(missing) > 1 else "package"
        raise InputError(f"{what} needs the {plural} {', '.join(missing)}: {install_command(extra)}")


def require_training(program: str = "train.py") -> None:
    """End the `program` with one line and exit code 2 where a package of training is missing, before it is imported."""
    try:
        require("train", "training")
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(EXIT_INPUT)


def command(entry: str) -> str:
    """Command of a shell that runs an entry point, such as predict."""
    return f"{COMMAND} {entry}" if INSTALLED else f"python trainer/{entry}.py"


def usage(entry: str) -> str:
    """Name of an entry point in its help: as it was called."""
    return f"{COMMAND} {entry}" if called_by_command() else f"{entry}.py"


def called_by_command() -> bool:
    """Return whether this process was started as `segtrainer ...` or `python -m trainer ...`."""
    called = Path(sys.argv[0])
    return called.stem == COMMAND or called.name == "__main__.py"


def training_command() -> str:
    """Beginning of a command of a shell that trains: by Accelerate's launcher where its configurations are."""
    return command("train") if INSTALLED else "accelerate launch trainer/train.py"
