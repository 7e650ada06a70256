"""The tracking server dies, freezes, is replaced, is locked: training continues, and no point is lost or sent twice.

Real servers and real trainings; faults are signals and locks from outside. Each `fault_trial` names the promise.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.support import runs
from tests.support.discs import make_discs
from tests.support.mlflow_server import Proxy, Server
from tests.support.program import TINY, Command, Program, reached, saved, train_command

USER, PASSWORD, TOKEN = "someone-of-ours", "pa55word-of-ours", "t0ken-of-ours"
STEPS = 240
RUN = [
    *("--train.epochs", f"{STEPS // 2}", "--train.eval_every", "40", "--train.threads", "1"),
    *("--train.mixed_precision", "no", "--tracking.watch", "2"),
]
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def few_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 images, 8 of which train: 2 steps in each epoch."""
    return make_discs(tmp_path_factory.mktemp("data") / "discs")


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory, few_images: Path) -> runs.Curves:
    """Curves of the same training, not tracked and without a fault."""
    program = Program(tmp_path_factory.mktemp("golden") / "program")
    program.train("--data.root", str(few_images), *RUN, "--tracking.enabled", "false", code=0)
    return runs.curves(program.run_folders()[0])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Server]:
    """One server for all tests; each test leaves it running."""
    running = Server(tmp_path_factory.mktemp("tracking") / "server", empty_store).start()
    yield running
    running.kill()


@pytest.fixture
def start(program: Program, few_images: Path) -> Callable[..., Command]:
    """Start the training of STEPS steps."""

    def start(*arguments: str, **variables: str) -> Command:
        words = train_command(1, *TINY, "--data.root", str(few_images), *RUN, *arguments)
        return program.start(*words, **variables)

    return start


def printed_by(training: Command, code: int = 0) -> str:
    """Wait for the end of a training that must end with `code`, without a traceback; return what it printed."""
    ended = training.end()
    assert ended.returncode == code, ended.output
    assert "Traceback" not in ended.output
    return ended.output


def first_batch_sent(program: Program) -> Callable[[], Path | None]:
    """Condition: the server has the first records of the newest run; gives its folder."""
    return lambda: program.newest_run(lambda folder: runs.last_step(folder) >= 10 and (folder / "sent.json").exists())


def send_from_elsewhere(program: Program, folder: Path, server: Server, tmp_path: Path) -> Path:
    """Send a run folder from another copy of the program, with no trace of the first; return its new place."""
    moved = Path(shutil.move(folder, tmp_path / "carried over"))
    shutil.rmtree(program.folder)
    elsewhere = Program(tmp_path / "elsewhere")
    shutil.rmtree(elsewhere.folder / "mlruns")
    ended = elsewhere.python("sync", str(moved), MLFLOW_TRACKING_URI=server.uri, code=0)
    assert "its model is models:/discs/" in ended.stdout
    return moved


def test_a_server_killed_and_restarted(
    server: Server,
    start: Callable[..., Command],
    program: Program,
    few_images: Path,
    golden: runs.Curves,
    fault_trial: Any,
) -> None:
    """Also the search for secrets: they are in the address, the environment, the git remote."""
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(program.folder)]
    for command in (["init", "-q"], ["add", "trainer"], ["commit", "-qm", "Begin"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run([*git, "remote", "add", "origin", f"https://oauth2:{TOKEN}@127.0.0.1/a.git"], check=True)
    secrets = {
        "MLFLOW_TRACKING_URI": server.uri.replace("://", f"://{USER}:{PASSWORD}@"),
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        "MLFLOW_TRACKING_TOKEN": TOKEN,
    }
    with fault_trial(13, "server killed, back after some steps"), start(**secrets) as training:
        folder = training.wait_for(first_batch_sent(program), "the first batch")
        server.kill()
        killed_at = runs.last_step(folder)
        training.wait_for(reached(program, min(killed_at + 10, STEPS)), "10 more steps")
        training.pause()  # while the server starts
        server.start()
        training.resume()
        printed = printed_by(training)
        runs.check_complete(server.database, folder, STEPS)
        assert "sync.py" not in printed
    with fault_trial(16, "server killed: histories as undisturbed"):
        assert runs.curves(folder) == golden
        stored = runs.store_points(server.database, runs.store_run(server.database, folder))
        assert runs.untimed(stored) == golden

    # All is sent, so nothing is sent again; where the record of what was sent is lost, nothing is doubled.
    before = server.received()
    program.python("sync", str(folder), **secrets, code=0)
    assert server.received() == before
    (folder / "sent.json").unlink()
    (folder / "version.json").unlink()
    again = program.python("sync", **secrets, code=0)
    assert server.received() > before
    runs.check_complete(server.database, folder, STEPS)

    with fault_trial(26, "secrets in address, environment, git remote, data.root"):
        root = f"https://{USER}:{PASSWORD}@127.0.0.1/data?token={TOKEN}"
        refused = program.train("--data.root", root, **secrets, code=2)
        nowhere = secrets | {"MLFLOW_TRACKING_URI": f"http://{USER}:{PASSWORD}@127.0.0.1:9"}
        unreachable = program.train("--data.root", str(few_images), **nowhere, code=2)
        unsent = program.python("sync", str(folder), **nowhere, code=2)
        printed += "".join(ended.output for ended in (again, refused, unreachable, unsent))
        assert "127.0.0.1" in printed
        places = [path for top in (program.folder / "mlruns", server.folder) for path in top.rglob("*")]
        assert any(path.name == "status.json" for path in places)
        texts = {"console": printed.encode(), "log of the server": server.output().encode()}
        texts |= {str(path): path.read_bytes() for path in places if path.is_file()}
        for secret in (USER, PASSWORD, TOKEN):
            assert [place for place, text in texts.items() if secret.encode() in text] == []


@pytest.mark.long
def test_a_server_frozen_to_the_end(
    server: Server,
    start: Callable[..., Command],
    program: Program,
    golden: runs.Curves,
    tmp_path: Path,
    fault_trial: Any,
) -> None:
    with (
        fault_trial(14, "server frozen: training unaffected, ends on time"),
        start(MLFLOW_TRACKING_URI=server.uri) as training,
    ):
        folder = training.wait_for(first_batch_sent(program), "the first batch")
        server.freeze()
        assert runs.last_step(folder) < STEPS, "the training was over before the fault"
        printed = printed_by(training, code=1)
        assert runs.curves(folder) == golden
        assert "the training is finished, but its model is not registered as cat-unet" in " ".join(printed.split())
        assert "records are not sent yet" in printed
        assert f"python trainer/sync.py {folder}" in printed
        assert runs.status(folder)["state"] == "finished"
        server.thaw()  # now it answers the requests that it received while it was frozen
        moved = send_from_elsewhere(program, folder, server, tmp_path)
        runs.check_complete(server.database, moved, STEPS)


@pytest.mark.long
def test_a_server_down_from_start_to_end(
    server: Server, start: Callable[..., Command], program: Program, golden: runs.Curves, fault_trial: Any
) -> None:
    nowhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    with (
        fault_trial(12, "server down, not required: trained, sent later"),
        start("--tracking.required", "false", **nowhere) as training,
    ):
        printed = printed_by(training)
        (folder,) = program.run_folders()
        assert f"python trainer/sync.py {folder}" in printed
        assert runs.curves(folder) == golden
        program.python("sync", MLFLOW_TRACKING_URI=server.uri, code=0)
        runs.check_complete(server.database, folder, STEPS)


OPEN_AND_SEND = """
import sys, time
from pathlib import Path
from trainer.config import MLRUNS
from trainer.system.run_folder import new_run_folder
from trainer.tracking.run import Run
from trainer.tracking.server import require_run
print("ready", flush=True)
while not Path("go").exists():
    time.sleep(0.001)
folder = new_run_folder(MLRUNS / "work", "cats", sys.argv[1], True)
run = Run(folder, require_run(folder), True)
for step in range(50):
    run.metrics({"train/loss": 1 / (step + 1)}, step)
run.end("FINISHED")
assert run.flush(60), run.last_error
run.close()
"""


def test_four_runs_at_once_on_a_fresh_database(program: Program, fault_trial: Any) -> None:
    with fault_trial(15, "4 runs opened at once on a fresh database"):
        started = [program.start(sys.executable, "-c", OPEN_AND_SEND, f"run {number}") for number in range(4)]
        for one in started:
            one.wait_for(lambda one=one: "ready" in one.output(), "its start")
        (program.folder / "go").touch()
        for one in started:
            with one:
                ended = one.end()
            assert (ended.returncode, ended.output) == (0, "ready\n")
        found = runs.histories(program.database)
        assert len(found) == 4
        assert {len(points) for points in found.values()} == {50}


@pytest.mark.parametrize("case", ["file store", "no file", "not a database", "folder not writable"])
def test_a_store_that_cannot_be_used_ends_with_code_2(
    case: str, program: Program, few_images: Path, tmp_path: Path, fault_trial: Any
) -> None:
    old = program.folder / "mlruns"
    (old / "0").mkdir()
    (old / "0" / "meta.yaml").write_text("experiment_id: '0'\nname: Default\n")
    (tmp_path / "text.db").write_text("a letter, and quite a long one at that\n" * 20)
    uri, named = {
        "file store": ("./mlruns", "migrate-filestore"),
        "no file": ("sqlite://", "sqlite:///FILE"),
        "not a database": (f"sqlite:///{tmp_path / 'text.db'}", "text.db: file is not a database"),
        "folder not writable": ("sqlite:////proc/nowhere/mlflow.db", "/proc/nowhere/mlflow.db"),
    }[case]
    with fault_trial(12, f"store that cannot be used: {case}"):
        ended = program.train("--data.root", str(few_images), MLFLOW_TRACKING_URI=uri, timeout_s=60, code=2)
        assert named in ended.stderr
        assert "Traceback" not in ended.stderr
        assert program.run_folders() == []


@pytest.mark.long
def test_a_server_killed_for_good(
    start: Callable[..., Command], program: Program, golden: runs.Curves, tmp_path: Path, fault_trial: Any
) -> None:
    server, new = Server(tmp_path / "server").start(), Server(tmp_path / "new")
    try:
        with (
            fault_trial(13, "server never back: training ends on time"),
            start(MLFLOW_TRACKING_URI=server.uri) as training,
        ):
            folder = training.wait_for(first_batch_sent(program), "the first batch")
            server.kill()
            assert f"python trainer/sync.py {folder}" in printed_by(training, code=1)
            assert runs.curves(folder) == golden
        with fault_trial(13, "server never back: all is sent to a new one, from elsewhere"):
            shutil.rmtree(server.folder)  # with everything that it had received
            moved = send_from_elsewhere(program, folder, new.start(), tmp_path)
            runs.check_complete(new.database, moved, STEPS)
    finally:
        server.kill()
        new.kill()


@pytest.mark.long
def test_a_server_down_at_the_start_and_up_before_the_end(
    start: Callable[..., Command], program: Program, tmp_path: Path, fault_trial: Any
) -> None:
    server = Server(tmp_path / "server")
    try:
        with (
            fault_trial(12, "server down at the start, not required: one run all the same"),
            start("--tracking.required", "false", MLFLOW_TRACKING_URI=server.uri) as training,
        ):
            folder = training.wait_for(reached(program, 10), "step 10")
            assert "run_id" not in (folder / "run.json").read_text()
            training.pause()
            server.start()
            training.resume()
            assert "sync.py" not in printed_by(training)
            runs.check_complete(server.database, folder, STEPS)
    finally:
        server.kill()


@pytest.mark.long
def test_a_server_that_asks_for_a_password(
    server: Server, start: Callable[..., Command], program: Program, few_images: Path, fault_trial: Any
) -> None:
    proxy = Proxy(server.uri, login=(USER, PASSWORD))
    address = proxy.uri.replace("://", f"://{USER}:{PASSWORD}@")
    with fault_trial(26, "a server with basic auth"):
        refused = program.train("--data.root", str(few_images), MLFLOW_TRACKING_URI=proxy.uri, code=2)
        assert proxy.uri in refused.stderr
        assert "Traceback" not in refused.stderr
        assert program.run_folders() == []
        assert proxy.refused > 0
        with start(MLFLOW_TRACKING_URI=address) as training:
            printed = printed_by(training)
        (folder,) = program.run_folders()
        runs.check_complete(server.database, folder, STEPS)
        texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        assert not any(PASSWORD.encode() in text for text in [printed.encode(), *texts])
    proxy.stop()


@pytest.mark.long
def test_four_trainers_on_a_fresh_database(start: Callable[..., Command], program: Program, fault_trial: Any) -> None:
    with fault_trial(15, "4 trainers at once on a fresh database"):
        for training in [start() for _ in range(4)]:
            with training:
                printed_by(training)
        assert len(program.run_folders()) == 4
        for folder in program.run_folders():
            run = runs.store_run(program.database, folder)
            assert runs.store_points(program.database, run) == runs.journal_points(folder)
            assert run.info.status == "FINISHED"


@pytest.mark.long
@pytest.mark.parametrize("when", ["at the start", "in the middle", "at the end"])
def test_a_database_locked_for_half_a_minute(
    when: str, start: Callable[..., Command], program: Program, few_images: Path, golden: runs.Curves, fault_trial: Any
) -> None:
    if when == "at the start":
        program.train("--data.root", str(few_images), "--train.epochs", "1", code=0)
        shutil.rmtree(program.folder / "mlruns" / "work")
    with fault_trial(15, f"database locked for 30 s {when}"), start() as training:
        if when != "at the start":
            condition = first_batch_sent(program) if when == "in the middle" else reached(program, STEPS)
            training.wait_for(condition, when)
        with closing(sqlite3.connect(program.database, timeout=60)) as other:
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(30)
        printed_by(training)
        (folder,) = program.run_folders()
        run = runs.store_run(program.database, folder)
        assert runs.curves(folder) == golden
        assert runs.store_points(program.database, run) == runs.journal_points(folder)
        assert run.info.status == "FINISHED"


@pytest.mark.long
def test_one_sender_at_a_time(program: Program, few_images: Path) -> None:
    program.train("--data.root", str(few_images), "--train.epochs", "1", "--registry.name", "null", code=0)
    (folder,) = program.run_folders()
    (folder / "sent.json").unlink()
    with FileLock(folder / ".sending.lock"):
        refused = program.python("sync", str(folder), code=1)
    assert "another process is sending it" in refused.stderr
    assert not (folder / "sent.json").exists()
    program.python("sync", str(folder), code=0)


EXITS = """
import sys
import trainer.engine.loop as loop
from trainer.train import main
real = loop.Trainer._step
def exiting(self, batches):
    if self.state.step == 6:
        sys.exit(0)
    return real(self, batches)
loop.Trainer._step = exiting
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.long
def test_one_run_in_mlflow_over_three_starts(program: Program, settings: list[str], fault_trial: Any) -> None:
    """sys.exit in training, then kill -9, then the end: one run with its true states, and each point once."""
    database = program.database
    settings = [*settings, "--train.epochs", "30", "--tracking.enabled", "true", "--registry.name", "null"]
    words = train_command(1, *settings, "--resume", "latest")
    with fault_trial(17, "sys.exit in training"):
        program.run(*train_command(1, *settings, script=program.script(EXITS)), code=1)
        assert runs.store_states(database) == ["FAILED"]
    with fault_trial(17, "kill -9"), program.start(*words) as training:
        training.wait_for(saved(program, 10), "a checkpoint")
        training.wait_for(lambda: runs.store_states(database) == ["RUNNING"], "the new state in the store")
    assert runs.store_states(database) == ["RUNNING"]
    with fault_trial(16, "three starts of one run"):
        program.run(*words, code=0)
        assert runs.store_states(database) == ["FINISHED"]
        (folder,) = program.run_folders()
        stored = runs.untimed({key: points for (_, key), points in runs.histories(database).items()})
        for key in ("train/loss", "train/lr", "train/grad_norm", "val/loss", "val/miou"):
            assert stored[key] == runs.curves(folder)[key]
            expected = range(1, 121) if key.startswith("train/") else range(0, 121, 4)
            assert [step for step, _ in stored[key]] == list(expected)
        images = [path.name.split("+timestamp")[0] for path in (folder / "pictures").glob("*.png")]
        assert len(set(images)) == len(images)


@pytest.mark.long
def test_resumed_without_the_address_of_its_server(
    server: Server, start: Callable[..., Command], program: Program, fault_trial: Any
) -> None:
    """Refused with the address, and nothing is recorded elsewhere; with it, the same run goes on."""
    address = {"MLFLOW_TRACKING_URI": server.uri.replace("://", f"://{USER}:{PASSWORD}@")}
    with start("--train.checkpoint_minutes", "0", **address) as training:
        folder = training.wait_for(saved(program, 10), "a checkpoint")
        training.kill()
    with fault_trial(33, "resumed without its server's address"):
        for resume in ("latest", str(folder)):
            refused = program.python("train", "--resume", resume, code=2)
            assert f"set MLFLOW_TRACKING_URI={server.uri} " in refused.stderr
            assert PASSWORD not in refused.output
        unsent = program.python("sync", str(folder), code=1)
        assert f"set MLFLOW_TRACKING_URI={server.uri} " in unsent.stderr
        assert not program.database.exists() or runs.no_tables(program.database)
        assert program.run_folders() == [folder]
        program.python("train", "--resume", "latest", **address, code=0)
        assert program.run_folders() == [folder]
        runs.check_complete(server.database, folder, STEPS)
    with fault_trial(46, "a server that refuses a metric, a param and a tag"):
        bad = [{"metrics": {"a[b]": 1.0, "fine": 2.0}, "step": 3}, {"params": {"p[q]": "1"}}, {"tags": {"t//u": "1"}}]
        with (folder / "journal.jsonl").open("a") as journal:
            journal.writelines(json.dumps({"time": 1} | record) + "\n" for record in bad)
        partly = program.python("sync", str(folder), **address, code=1)
        assert "refused by the tracking server" in partly.stderr
        assert (("fine", 2.0)) in [
            (key, points[0][2]) for (_, key), points in runs.histories(server.database).items() if len(points) == 1
        ]
        refused_names = json.loads((folder / "refused.json").read_text())
        assert {kind: list(names) for kind, names in refused_names.items()} == {
            "metrics": ["a[b]"],
            "params": ["p[q]"],
            "tags": ["t//u"],
        }
        program.python("sync", str(folder), **address, code=0)
