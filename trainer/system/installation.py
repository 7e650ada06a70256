"""How the program is installed: which packages each part needs, and the commands that work here.

The packages of prediction come with the program; the others are extras of its installation, and may be missing.
"""

import importlib.util
import sys
from pathlib import Path

from trainer import InputError
from trainer.config import INSTALLED

COMMAND = "segtrainer"
"""Name of the package, and of the command that an installation makes."""

EXTRAS = {
    "train": ("accelerate", "jsonargparse", "kornia", "mlflow", "psutil"),
    "registry": ("mlflow",),
    "onnx": ("onnx", "onnxscript"),
}
"""Extra of the installation -> packages that are imported, and may be missing without it."""


def install_command(extra: str) -> str:
    """Command of a shell that installs an extra."""
    if INSTALLED:
        return f"pip install '{COMMAND}[{extra}]'"
    return f"pip install -c launch/constraints.txt -e '.[{extra}]'"


def require(extra: str, what: str) -> None:
    """Raise InputError, with the command that installs it, where a package of an extra is missing; `what` needs it."""
    missing = [name for name in EXTRAS[extra] if name not in sys.modules and importlib.util.find_spec(name) is None]
    if missing:
        plural = "packages" if len(missing) > 1 else "package"
        raise InputError(f"{what} needs the {plural} {', '.join(missing)}: {install_command(extra)}")


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


def launch_command(options: str = "") -> str:
    """Beginning of a command of a shell that trains by Accelerate's launcher, with its options."""
    script = "-m trainer.train" if INSTALLED else "trainer/train.py"
    return f"accelerate launch {options} {script}" if options else f"accelerate launch {script}"
