"""Places of the program and of what it leaves, and the command that installs more of it."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
"""Folder that holds this package: the repository, or where pip has installed it."""

INSTALLED = any(REPOSITORY.glob("segtrainer-*.dist-info"))
"""Whether pip has installed the package there, among others. Nothing is written beside its code then."""


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # removed meanwhile; what is opened in it says so
        return Path()


MLRUNS = (_working_folder() if INSTALLED else REPOSITORY) / "mlruns"
"""Folder of everything that runs leave: in the repository, or else in the working directory."""


def install_command(extra: str) -> str:
    """Command of a shell that installs an extra of this program, such as hf."""
    if INSTALLED:
        return f"pip install 'segtrainer[{extra}]'"
    return f"pip install -c launch/constraints.txt -e '.[{extra}]'"
