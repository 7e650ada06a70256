"""Provenance of a run: commit, user and package versions."""

import getpass
import os
import socket
import subprocess
import sys
from importlib import metadata

from trainer.config import INSTALLED, REPOSITORY

PACKAGES = ("torch", "accelerate", "mlflow", "numpy", "pillow", "kornia")
"""Packages that results depend on."""


def source_tags() -> dict[str, str]:
    """Tags of MLflow for the source of a run: program, user, commit, and whether files differ from the commit."""
    tags = {
        "mlflow.source.name": "trainer/train.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": user(),
        "host": socket.gethostname(),
    }
    commit = git("rev-parse", "HEAD")
    if commit:
        tags |= {"mlflow.source.git.commit": commit, "git.dirty": str(bool(git("status", "--porcelain"))).lower()}
    return tags


def user() -> str:
    """Name of the user: of the environment, or else of the system; the number of a user without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # KeyError before Python 3.13: a container that runs under a number of its own
        return f"{os.getuid()}"


def program_version() -> str:
    """Version of this program; "unknown" where it runs without being installed."""
    try:
        return metadata.version("segtrainer")
    except metadata.PackageNotFoundError:
        return "unknown"


def git(*arguments: str) -> str:
    """Output of a git command in this repository; empty without git or a repository.

    An installed program has none: the one that its environment may lie in is another.
    """
    if INSTALLED:
        return ""
    try:
        return subprocess.run(
            ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def versions() -> dict[str, str]:
    """Versions of Python, this program and PACKAGES, by key of the run's params, without those not installed."""
    found = {"versions.python": sys.version.split()[0], "versions.segtrainer": program_version()}
    for name in PACKAGES:
        try:
            found[f"versions.{name}"] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
