"""Passwords and tokens in every setting and variable: in no file, no record and no output, whatever form they have."""

import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.discs import make_discs
from tests.support.program import ONE_THREAD, TINY, Ended, Program
from trainer import predict, prepare, sync, train

FaultTrial = Callable[[int, str], AbstractContextManager[None]]
MARK = "Pl4nt"
"""Beginning of every secret that is planted."""

VARIABLES = {
    "MLFLOW_TRACKING_PASSWORD": f"{MARK}-of-mlflow",
    "MLFLOW_TRACKING_TOKEN": f"{MARK} token/of mlflow",
    "AWS_SECRET_ACCESS_KEY": f"{MARK}/of+aws",
    "AWS_SESSION_TOKEN": f"{MARK}==session",
    "DATABRICKS_TOKEN": f"{MARK}-of-databricks",
}
ADDRESSES = [
    f"http://user:{MARK}pw@host:5000/x",
    f"https://{MARK}token@host/x.git",
    f"postgresql://user:{MARK} a'b\"c/d#e?f@host/db",
    f"mysql+pymysql://user:{MARK}@a/b@host/db",
    f"s3://{MARK}key:{MARK}/secret@bucket/x",
]
WORDS = [
    *(f"{name}={MARK}word" for name in ("password", "passwd", "token", "api_key", "API-KEY", "secret", "access_key")),
    f"password='{MARK} two words' and more",
    f"https://host/x?size=1&access_token={MARK}word&sig={MARK}sig",
    f"Authorization: Bearer {MARK}bearer",
    *(f"see {value}" for value in VARIABLES.values()),
]
RAISES = """
import sys
from trainer import train
from trainer.data import sources

def broken(*_):
    raise RuntimeError("no answer from " + sys.argv[sys.argv.index("--tracking.run_name") + 1])

sources.find_sources = broken
sys.exit(train.main())
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    program = Program(tmp_path / "program", variables=VARIABLES | ONE_THREAD)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(program.folder)]
    remote = ["remote", "add", "origin", f"https://oauth2:{MARK}remote@host/a.git"]
    for command in (["init", "-q"], ["add", "trainer"], ["commit", "-qm", "Begin"], remote):
        subprocess.run([*git, *command], check=True)
    return program


def leaks(program: Program, *ended: Ended) -> list[str]:
    """Places where a secret is: files that the program wrote, and output."""
    files = [path for path in (program.folder / "mlruns").rglob("*") if path.is_file()]
    texts: Mapping[str, bytes] = {str(path): path.read_bytes() for path in files}
    found = [name for name, text in texts.items() if MARK.encode() in text]
    return found + [one.output for one in ended if MARK in one.output]


@pytest.mark.long
def test_a_whole_training(program: Program, tmp_path: Path, fault_trial: FaultTrial) -> None:
    """Every file below mlruns/, the database included, and all output; the run is found and resumed as any other."""
    root = make_discs(tmp_path / f"set password={MARK}root", count=6)
    settings = ["--data.root", str(root), "--tracking.experiment", " ".join(ADDRESSES)[:250]]
    settings += ["--tracking.run_name", "; ".join(WORDS)[:250], "--registry.name", "null", "--model.depth", "2"]
    with fault_trial(45, "settings, environment, git remote: a training"):
        trained = program.train(*settings, "--train.epochs", "1", code=0)
        again = program.train(*settings, "--train.epochs", "1", "--resume", "latest", code=0)
        assert "nothing is left to do" in again.output
        (folder,) = program.run_folders()
        assert (folder / "checkpoints").is_dir()
        sent = program.python("sync", str(folder), code=0)
        assert leaks(program, trained, again, sent) == []


def test_wrong_command_lines(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors repeat what was given, without the secret in it: each option with another secret in turn."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    keys = ("data.root", "optim.lr", "registry.name", "no.key", "config", "resume", "data.value_map", "train.compile")
    for number, secret in enumerate(ADDRESSES + WORDS):
        wrong: list[tuple[ModuleType, list[str]]] = [
            (train, ["--data.root", "nowhere", f"--{keys[number % len(keys)]}", secret]),
            (predict, ["--model", secret, "--input", secret, "--output", "out"]),
            (predict, ["--model", "m", "--input", "i", "--output", "o", "--batch_size", secret]),
            (prepare, ["labelme", secret, secret, "--labels", secret]),
            (sync, [secret]),
        ]
        for entry, arguments in wrong:
            try:
                code = entry.main([*arguments, "--tracking.enabled", "false"] if entry is train else arguments)
            except SystemExit as end:
                code = end.code
            assert code == 2
        printed = "".join(capfd.readouterr())
        assert printed.count(".py: ") == len(wrong)
        assert MARK not in printed


@pytest.mark.long
@pytest.mark.parametrize("secret", ADDRESSES[2:3])
def test_tracebacks(secret: str, program: Program, fault_trial: FaultTrial) -> None:
    with fault_trial(45, "a traceback"):
        words = [*TINY, "--tracking.enabled", "false", "--tracking.run_name", secret]
        ended = program.run("python", program.script(RAISES), *words, code=1)
        assert "RuntimeError: no answer from " in ended.output
        assert leaks(program, ended) == []


@pytest.mark.long
@pytest.mark.parametrize("address", [one for one in ADDRESSES if not one.startswith("s3")])
def test_addresses_of_stores(address: str, program: Program) -> None:
    """A store that does not answer, or whose address is none, is named without its password, in one line."""
    known = {"MLFLOW_TRACKING_URI": address.replace("host", "127.0.0.1").replace(":5000", ":9")}
    (program.folder / "pictures").mkdir()
    commands = {
        "train": [*TINY, "--data.root", "pictures"],
        "predict": ["--model", "models:/x@champion", "--input", "pictures", "--output", "out"],
        "serve": ["--model", "models:/x@champion", "--port", "0"],
        "sync": [],
    }
    ends = [program.python(entry, *words, **known) for entry, words in commands.items()]
    assert [one.returncode for one in ends] == [2, 2, 2, 2], ends
    assert all("Traceback" not in one.output for one in ends)
    assert leaks(program, *ends) == []
