"""The gate and the champion's history through the commands: another fold, a folder set apart, killed and completed."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.support.discs import make_discs
from tests.support.program import Program, train_command
from trainer.model.score_table import read_table
from trainer.model.training_images import trained_on

LEARNING = ["--model.depth", "2", "--optim.lr", "0.01", "--train.mixed_precision", "no", "--train.threads", "1"]
TINY = ["--model.width", "8", "--data.image_size", "32", "--train.batch_size", "4", "--data.workers", "1"]
TINY += ["--train.eval_every", "2", "--train.epochs", "8", "--tracking.watch", "1"]

DIES = """
import os, signal, sys
from trainer.tracking import registry
from trainer.train import main
registry.set_champion = lambda *_given: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_folds_a_holdout_folder_and_a_kill(tmp_path: Path, empty_store: Path, fault_trial: Callable[..., Any]) -> None:
    data, apart = make_discs(tmp_path / "discs", 12), make_discs(tmp_path / "apart", 6, 56)
    program = Program(tmp_path / "program", tables=empty_store)
    words = [*TINY, *LEARNING, "--data.root", str(data)]
    program.run(*train_command(1, *words), code=0, timeout_s=600)
    (first,) = program.run_folders()
    trained, table = trained_on(first / "model"), read_table(first / "evaluation" / "scores.json")
    assert trained is not None
    assert len(trained) + len(table.images) == 12
    assert not trained & {one.image for one in table.images}

    refused = program.run(*train_command(1, *words, "--data.fold", "1"), code=0, timeout_s=600)
    text = " ".join(refused.stdout.split())
    assert (
        "registered models:/discs/2, not the champion: it cannot be compared with the champion (version 1): 0 of"
        in text
    )
    assert "give registry.eval_root" in text

    holdout = ["--registry.eval_root", str(apart)]
    compared = program.run(*train_command(1, *words, "--data.fold", "1", *holdout), code=0, timeout_s=600)
    assert "of registry.eval_root" in " ".join(compared.stdout.split())
    client = MlflowClient(program.store)
    third = client.get_model_version("discs", "3")
    decision = json.loads(Path(client.download_artifacts(third.run_id, "promotion.json", str(tmp_path))).read_text())
    assert decision["comparison"]["images"] == 6
    assert third.tags["promotion.images"] == "6"
    champion = str(client.get_model_version_by_alias("discs", "champion").version)

    with fault_trial(42, "killed between the record of a move and the move"):
        forced = train_command(1, *words, "--registry.promote", "force", script=program.script(DIES))
        program.run(*forced, code=-signal.SIGKILL, timeout_s=600)
        assert str(client.get_model_version_by_alias("discs", "champion").version) == champion
        shown = program.python("promote", "discs", "--history", code=0).stdout
        assert shown.count("NOT DONE") == 1
        assert "models:/discs/4, models:/discs@champion" in program.python("sync", code=0).stdout
        assert str(client.get_model_version_by_alias("discs", "champion").version) == "4"
        moves = json.loads(program.python("promote", "discs", "--history", "--json", code=0).stdout)["moves"]
        assert [one["state"] for one in moves][-2:] == ["not done", "done"]
        program.python("promote", "discs", "--rollback", "--why", "it was a test", code=0)
        assert str(client.get_model_version_by_alias("discs", "champion").version) == champion
