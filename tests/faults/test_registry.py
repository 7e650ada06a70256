"""A registry that refuses: the training ends with its reason and the command that completes the rest."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.support import runs
from tests.support.discs import make_discs
from tests.support.program import TINY, Program, train_command

REFUSES = """
import os, sys
from mlflow import MlflowClient
from mlflow.exceptions import RestException
from trainer.train import main
def refuse(*_arguments, **_options):
    raise RestException({"error_code": "PERMISSION_DENIED", "message": "a long story about rights"})
setattr(MlflowClient, os.environ["REFUSED"], refuse)
sys.exit(main(sys.argv[1:]))
"""
LEARNING = ["--train.epochs", "8", "--optim.lr", "0.01", "--model.depth", "2", "--train.mixed_precision", "no"]
CALLS = ["create_logged_model", "create_registered_model", "create_model_version", "set_model_version_tag"]
CALLS += ["log_model_artifacts", "search_model_versions", "set_registered_model_alias"]
CALLS += ["set_registered_model_tag", "get_registered_model"]

REGISTERED = ("set_registered_model_alias", "set_registered_model_tag", "get_registered_model", "set_model_version_tag")
"""Those that are made when the version is there already."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_discs(tmp_path_factory.mktemp("data") / "discs")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "refused",
    [pytest.param(one, marks=pytest.mark.long) for one in CALLS],
)
def test_a_refused_call_is_told_and_completed(
    refused: str, program: Program, data: Path, fault_trial: Callable[..., Any]
) -> None:
    with fault_trial(35, f"registry refuses {refused}"):
        arguments = [*TINY, "--data.root", str(data), *LEARNING, "--registry.name", "discs"]
        words = train_command(1, *arguments, script=program.script(REFUSES))
        ended = program.run(*words, code=1, REFUSED=refused)
        assert "Traceback" not in ended.output
        (folder,) = program.run_folders()
        text = " ".join(ended.stdout.split())
        registered = refused in REGISTERED
        what = "do this there" if registered else "register a version of the model 'discs'"
        assert f"a user without name and password may not {what} (403)" in text
        status = runs.status(folder)
        assert (status["state"], status["exit_code"]) == ("finished", 1)
        assert "(403)" in status["reason"]
        assert ("registered models:/discs/1, but" in text) is registered
        assert ("its model is not registered as discs" in text) is not registered
        assert runs.store_run(program.database, folder).info.status == "FINISHED"
        (command,) = [line.strip() for line in ended.stdout.splitlines() if "sync.py" in line]
        completed = program.run(*[sys.executable, *shlex.split(command)[1:]], code=0)
        assert "models:/discs/1, models:/discs@champion: the first version" in completed.stdout
        version = MlflowClient(program.store).get_model_version_by_alias("discs", "champion")
        assert str(version.version) == "1"
        assert version.tags["promotion.promoted"] == "True"
        again = program.python("sync", code=0)
        assert "models:/discs" not in again.stdout
