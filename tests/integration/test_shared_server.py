"""A server that several machines log to: PostgreSQL, passwords, rights, S3, backups."""

import http.client
import io
import json
import re
import shlex
import shutil
import signal
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import runs
from tests.support.discs import make_discs
from tests.support.installed import link_environment
from tests.support.program import ONE_THREAD, TINY, Command, Ended, Program, saved, train_command
from tests.support.shared_server import DATABASE_PASSWORD, Postgres, SharedServer, free_port, missing, postgres

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

PASSWORDS = {"anna": "anna's own passphrase", "bernd miller": "Bernd's words: many", "karl": "karl looks only"}
RIGHTS = {"anna": "admin", "bernd miller": "edit", "karl": "read"}
LEARNING = [
    *("--train.epochs", "6", "--optim.lr", "0.01", "--model.depth", "2", "--train.mixed_precision", "no"),
    *("--model.encoder", "none", "--train.checkpoint_minutes", "0", "--tracking.experiment", "discs of the lab"),
    *("--registry.name", "discs"),
]


def login(name: str) -> dict[str, str]:
    """Environment of a user."""
    return {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": PASSWORDS[name]}


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as found:
        yield found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_discs(tmp_path_factory.mktemp("data") / "discs")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, database: Postgres) -> Iterator[SharedServer]:
    """A server that runs, with three users."""
    folder = tmp_path_factory.mktemp("server")
    found = SharedServer(Program(folder / "program"), database, str(folder / "all the artifacts"))
    refused = found.call("start", code=2)
    assert "no user may log in yet; make the first one: bash launch/server.sh user NAME admin" in refused.stderr
    for name, right in RIGHTS.items():
        found.call("user", name, right, SERVER_USER_PASSWORD=PASSWORDS[name])
    assert found.call("users").stdout.split("\n") == ["admin   anna", "edit    bernd miller", "read    karl", ""]
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, server: SharedServer) -> Program:
    """The program on a machine that logs to the server."""
    variables = ONE_THREAD | {"MLFLOW_TRACKING_URI": server.uri, "HOME": str(tmp_path_factory.mktemp("home"))}
    return Program(tmp_path_factory.mktemp("machine") / "program", variables=variables)


@pytest.fixture(scope="module")
def trained(program: Program, data: Path) -> tuple[Path, Ended]:
    """Run folder of a training that was stopped and resumed, and how it ended."""
    words = train_command(1, *TINY, "--data.root", str(data), *LEARNING)
    with program.start(*words, **login("bernd miller")) as training:
        folder = training.wait_for(saved(program, 2), "a checkpoint")
        training.signal(signal.SIGTERM)
        training.end()
    assert runs.status(folder)["state"] == "preempted"
    return folder, program.run(*words, "--resume", str(folder), code=0, **login("bernd miller"))


def test_train_resume_register_promote_predict(
    trained: tuple[Path, Ended], program: Program, server: SharedServer, data: Path, tmp_path: Path
) -> None:
    folder, ended = trained
    assert "registered models:/discs/1, the new champion" in ended.stdout
    assert runs.status(folder)["unsent_records"] == 0
    run_id = json.loads((folder / "run.json").read_text())["run_id"]
    rows = server.database.sql(f"select key, step, timestamp, value from metrics where run_uuid = '{run_id}'")
    points: runs.Points = {}
    for key, step, time, value in rows:
        points.setdefault(key, []).append((step, time, value))
    assert {key: sorted(found) for key, found in points.items()} == runs.journal_points(folder)
    assert server.database.sql("select status from runs") == [("FINISHED",)]
    credentials = Path(program.variables["HOME"], ".mlflow", "credentials")
    credentials.parent.mkdir()
    credentials.write_text(
        f"[mlflow]\nmlflow_tracking_username = karl\nmlflow_tracking_password = {PASSWORDS['karl']}\n"
    )
    predicted = program.python(
        "predict", "--model", "models:/discs@champion", "--input", str(data / "JPEGImages"), "--output",
        str(tmp_path / "out"), code=0,
    )  # fmt: skip
    assert "alias champion" in predicted.stdout
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 10
    credentials.unlink()


def test_who_may_not_is_told_in_one_line(
    trained: tuple[Path, Ended], program: Program, server: SharedServer, data: Path, tmp_path: Path
) -> None:
    before = server.database.content()
    train = train_command(1, *TINY, "--data.root", str(data), *LEARNING)
    predict = [sys.executable, "trainer/predict.py", "--model", "models:/discs@champion"]
    predict += ["--input", str(data / "JPEGImages"), "--output", str(tmp_path / "out")]
    sync = [sys.executable, "trainer/sync.py", str(trained[0])]
    nobody = "does not know a user without name and password (401)"
    wrong = {"MLFLOW_TRACKING_USERNAME": "karl", "MLFLOW_TRACKING_PASSWORD": "karl looks everywhere"}
    unknown = "does not know the user 'karl' with this password (401)"
    other_model = ["--registry.name", "null"]
    for words, variables, message in [
        (train, {}, nobody),
        (predict, {}, nobody),
        (sync, {}, nobody),
        (train, wrong, unknown),
        (predict, wrong, unknown),
        (train, login("karl"), "the user 'karl' with this password may not register a version of the model 'discs' ("),
        ([*train, *other_model], login("karl"), "may not add a run to the experiment 'discs of the lab' (403)"),
    ]:
        ended = program.run(*words, code=2, **variables)
        (line,) = ended.stderr.splitlines()
        assert message in line
        assert not any(
            word in ended.output for word in ("Traceback", *PASSWORDS.values(), *wrong.values()) if " " in word
        )
    assert len(program.run_folders()) == 1
    assert server.database.content() == before


@pytest.fixture(scope="module")
def of_karl(program: Program, data: Path) -> Ended:
    """Training of a user who may only look at what others have, in an experiment of one's own."""
    own = ["--tracking.experiment", "karl's", "--registry.name", "karls discs", "--train.epochs", "1"]
    return program.train("--data.root", str(data), *LEARNING, *own, code=0, **login("karl"))


def test_what_one_made_is_ones_own(trained: tuple[Path, Ended], of_karl: Ended, server: SharedServer) -> None:
    assert "registered models:/karls discs/1" in of_karl.stdout
    status, _ = server.ask(
        "/api/2.0/mlflow/registered-models/alias", {"name": "discs", "alias": "champion", "version": "1"},
        ("karl", PASSWORDS["karl"]),
    )  # fmt: skip
    assert status == 403


def refused(ended: Ended, message: str) -> None:
    """Require one line that says who may not do what, and no password."""
    (line,) = ended.stderr.splitlines()
    assert message in line
    assert not any(word in ended.output for word in ("Traceback", *PASSWORDS.values()))


def test_evaluate(trained: tuple[Path, Ended], program: Program, server: SharedServer, data: Path) -> None:
    before = server.database.content()
    words = ["--model", "models:/discs@champion", "--data.root", str(data)]
    refused(program.python("evaluate", *words, code=2), "does not know a user without name and password (401)")
    not_karl = program.python("evaluate", *words, code=2, **login("karl"))
    refused(not_karl, "the user 'karl' with this password may not add a run to the experiment 'discs of the lab' (403)")
    assert "evaluating" not in not_karl.stdout
    assert server.database.content() == before
    ended = program.python("evaluate", *words, code=0, **login("bernd miller"))
    assert "none of these pictures" not in ended.stdout
    kinds = "select r.status, t.value from runs r join tags t on t.run_uuid = r.run_uuid where t.key = 'kind'"
    assert ("FINISHED", "evaluation") in server.database.sql(kinds)
    own = program.python("evaluate", *words, "--tracking.experiment", "karl's looks", code=0, **login("karl"))
    assert "warning: the scores are in the run alone, not with the model discs v1: " in own.stdout
    assert "not sent" not in own.stdout
    experiments = "select e.name, r.status from runs r join experiments e on e.experiment_id = r.experiment_id"
    assert ("karl's looks", "FINISHED") in server.database.sql(experiments)


def test_compare(
    trained: tuple[Path, Ended], of_karl: Ended, program: Program, server: SharedServer, tmp_path: Path
) -> None:
    """All may look; the sheet is added to the runs that are one's own."""
    before = server.database.content()
    words = ["models:/discs/1", "models:/karls discs/1", "--output", str(tmp_path / "compare.html")]
    refused(program.python("compare", *words, code=2), "does not know a user without name and password (401)")
    assert not (tmp_path / "compare.html").exists()
    assert server.database.content() == before
    for name, added in (("anna", 2), ("karl", 1)):
        ended = program.python("compare", *words, code=0, **login(name))
        assert "is better than" in ended.stdout or "no difference found" in ended.stdout
        assert f"added to {added} of 2 runs in MLflow" in ended.stdout
        assert ("warning: not added to 1 of 2 runs" in ended.stdout) == (added == 1)
        assert (tmp_path / "compare.html").stat().st_size > 20_000
        (tmp_path / "compare.html").unlink()


def test_promote(trained: tuple[Path, Ended], program: Program, server: SharedServer, data: Path) -> None:
    worse = ["--train.epochs", "1", "--optim.lr", "1e-6", "--train.seed", "2"]
    ended = program.train("--data.root", str(data), *LEARNING, *worse, code=0, **login("bernd miller"))
    assert "registered models:/discs/2" in ended.stdout
    assert "the new champion" not in ended.stdout
    before = server.database.content()
    move = ["discs", "--to", "2", "--why", "to try it"]
    for words in (["discs", "--history"], move, ["discs", "--rollback", "--why", "no"]):
        refused(program.python("promote", *words, code=2), "does not know a user without name and password (401)")
    wrong = {"MLFLOW_TRACKING_USERNAME": "karl", "MLFLOW_TRACKING_PASSWORD": "karl looks everywhere"}
    refused(program.python("promote", *move, code=2, **wrong), "does not know the user 'karl' with this password (401)")
    what = "the user 'karl' with this password may not move the champion of the model 'discs' (403)"
    refused(program.python("promote", *move, code=2, **login("karl")), what)
    assert "version 1" in program.python("promote", "discs", "--history", code=0, **login("karl")).stdout
    assert server.database.content() == before
    program.python("promote", *move, code=0, **login("bernd miller"))
    assert server.database.sql("select version from registered_model_aliases where alias = 'champion'") == [(2,)]
    program.python("promote", "discs", "--rollback", "--why", "worse", code=0, **login("bernd miller"))
    shown = program.python("promote", "discs", "--history", code=0, **login("karl")).stdout
    assert all(text in shown for text in ("to try it", "worse"))
    assert server.database.sql("select version from registered_model_aliases where alias = 'champion'") == [(1,)]


def test_no_password_is_seen(trained: tuple[Path, Ended], server: SharedServer, tmp_path: Path) -> None:
    assert server.command is not None
    home = server.program.folder / "mlruns" / "server"
    server.call("backup", str(tmp_path / "saved.tar"))
    shown = [server.command.output(), *(" ".join(one.cmdline()) for one in server.command.members())]
    shown += [path.read_text() for path in home.iterdir()]
    shown += [(tmp_path / "saved.tar").read_bytes().decode(errors="replace")]
    assert any("mlflow server" in text for text in shown)
    for password in (*PASSWORDS.values(), DATABASE_PASSWORD, "a%20p%40ss"):
        assert not any(password in text for text in shown), password
    assert all(path.stat().st_mode & 0o077 == 0 for path in home.iterdir() if path.is_file())


def asked_as(server: SharedServer, name: str) -> int:
    """Status of the answer to a request without a login that calls the server by a name."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/api/2.0/mlflow/experiments/search", headers={"Host": name})
    return connection.getresponse().status


def test_only_this_machine_and_known_names(server: SharedServer) -> None:
    listening = {
        connection.laddr.ip
        for process in (server.command.members() if server.command else [])
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    refused = server.call("start", "--host", "0.0.0.0", code=2)
    assert "server.sh: --host 0.0.0.0: say by which names others may call it" in refused.stderr
    assert [asked_as(server, name) for name in (f"localhost:{server.port}", "evil.example")] == [401, 403]


def test_users_change_at_once(server: SharedServer) -> None:
    search = "/api/2.0/mlflow/experiments/search"
    assert server.ask(search, {"max_results": 1}, ("dora", "dora comes later"))[0] == 401
    server.call("user", "dora", SERVER_USER_PASSWORD="dora comes later")
    assert "edit    dora" in server.call("users").stdout
    assert server.ask(search, {"max_results": 1}, ("dora", "dora comes later"))[0] == 200
    server.call("password", "dora", SERVER_USER_PASSWORD="dora comes again")
    assert server.ask(search, {"max_results": 1}, ("dora", "dora comes again"))[0] == 200
    server.call("user", "dora", "manage")
    assert "manage  dora" in server.call("users").stdout
    server.call("user", "dora", "read")
    assert "read    dora" in server.call("users").stdout
    server.call("remove", "dora")
    assert "dora" not in server.call("users").stdout
    assert "is the only administrator" in server.call("user", "anna", "read", code=2).stderr
    assert "of ASCII" in server.call("user", "jörg", SERVER_USER_PASSWORD="long enough for all", code=2).stderr
    assert "of ASCII" in server.call("user", "emil", SERVER_USER_PASSWORD="länger als zwölf Zeichen", code=2).stderr
    assert "12 characters or more" in server.call("user", "emil", SERVER_USER_PASSWORD="short", code=2).stderr


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_backup_drop_restore(trained: tuple[Path, Ended], server: SharedServer, program: Program, data: Path) -> None:
    place = Path(server.variables["MLFLOW_ARTIFACTS_DESTINATION"])
    saved_file = place.parent / "saved on monday.tar"
    killed = saved_file.with_name(f".{saved_file.name}.abc.partial")
    killed.write_text("half a backup")
    assert "the database and" in server.call("backup", str(saved_file)).stdout  # while the server runs
    assert not killed.exists()
    assert saved_file.stat().st_mode & 0o077 == 0
    assert "other connections use it; stop the server" in server.call("restore", str(saved_file), code=2).stderr
    server.stop()
    rows, artifacts = server.database.content(), files(place)
    assert len(artifacts) > 20
    assert rows["metrics"] != "None"
    count = len(server.database.sql("select 1 from runs"))
    assert (
        f"{count} runs are there" in server.call("restore", str(saved_file), code=2).stderr
    )  # nobody is there to say yes
    assert server.database.content() == rows

    damaged = saved_file.with_name("damaged.tar")
    whole = saved_file.read_bytes()
    for name, content in {
        "its end": whole[: len(whole) // 2],
        "a byte": whole[:20000] + bytes([whole[20000] ^ 1]) + whole[20001:],
        "nothing": b"",
        "a text": b"no tar at all" * 1000,
    }.items():
        damaged.write_bytes(content)
        ended = server.call("restore", str(damaged), "--yes", code=2)
        assert "not a complete backup" in ended.stderr, name
        assert len(ended.stderr.splitlines()) == 1
        assert (server.database.content(), files(place)) == (rows, artifacts), name
    with tarfile.open(damaged, "w") as tar:
        tar.add(saved_file, "../outside")
    assert "does not belong there" in server.call("restore", str(damaged), "--yes", code=2).stderr

    server.database.drop()
    shutil.rmtree(place)
    server.database.create()
    (place.parent / place.name).mkdir()
    (place / "made by another program").write_text("goes")
    assert "restored" in server.call("restore", str(saved_file)).stdout
    assert (server.database.content(), files(place)) == (rows, artifacts)
    assert sorted(path.name for path in place.parent.iterdir() if path.name.startswith(".")) == []
    server.start("--allowed-hosts", "mlflow.lab:5000")
    assert [asked_as(server, name) for name in ("mlflow.lab:5000", "evil.example")] == [401, 403]
    nothing_left = program.python("sync", str(trained[0]), code=0, **login("bernd miller"))
    assert "records sent" not in nothing_left.stdout
    versions = len(server.database.sql("select 1 from model_versions where name = 'discs'"))
    again = program.train("--data.root", str(data), *LEARNING, "--train.seed", "1", code=0, **login("bernd miller"))
    assert f"registered models:/discs/{versions + 1}" in again.stdout


CUT_OFF = """
import os, sys
from trainer.tracking.shared import backup
from trainer.tracking.shared.__main__ import main
real = backup._restore_database
def cut_off(*arguments):
    if os.environ["CUT"] == "before":
        os._exit(9)
    real(*arguments)
    os._exit(9)
backup._restore_database = cut_off
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_restore_that_is_cut_off_is_never_half(cut: str, trained: tuple[Path, Ended], server: SharedServer) -> None:
    place = Path(server.variables["MLFLOW_ARTIFACTS_DESTINATION"])
    file = place.parent / "saved.tar"
    server.call("backup", str(file))
    server.stop()
    rows, artifacts = server.database.content(), files(place)
    server.database.sql("delete from tags")
    (place / "later").write_text("made after the backup")
    script = server.program.script(CUT_OFF)
    words = (sys.executable, script, "restore", str(file), "--yes")
    server.program.run(*words, code=9, CUT=cut, **server.variables)
    for command in (["start"], ["backup", str(file.with_name("half.tar"))]):
        assert "a restore was cut off" in server.call(*command, code=2).stderr
    assert not file.with_name("half.tar").exists()
    server.call("restore", str(file), "--yes")
    assert (server.database.content(), files(place)) == (rows, artifacts)
    server.start()


def test_artifacts_in_s3(database: Postgres, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    port = free_port()
    words = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    keys = {
        "AWS_ACCESS_KEY_ID": "a-key",
        "AWS_SECRET_ACCESS_KEY": "s3-secret-of-the-lab",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    s3 = keys | {"MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    program = Program(tmp_path / "program")
    database = database.another("for s3")
    server = SharedServer(program, database, "s3://the-bucket/of/mlflow", **s3)
    with Command(words, tmp_path, program.environment()) as bucket:
        server.port, server.uri, own = port, f"http://127.0.0.1:{port}", (server.port, server.uri)
        bucket.wait_for(lambda: server.ask("/")[0] != 0, "an answer of S3")
        server.port, server.uri = own
        server.call("user", "anna", "admin", SERVER_USER_PASSWORD=PASSWORDS["anna"])
        refused = server.call("start", code=2).stderr
        assert "MLFLOW_ARTIFACTS_DESTINATION s3://the-bucket/of/mlflow: " in refused
        assert "NoSuchBucket" in refused
        assert len(refused.splitlines()) == 1
        import boto3

        client = boto3.client(
            "s3", endpoint_url=s3["MLFLOW_S3_ENDPOINT_URL"], aws_access_key_id="a-key",
            aws_secret_access_key="x", region_name="us-east-1",
        )  # fmt: skip
        client.create_bucket(Bucket="the-bucket")
        try:
            server.start()
            # No key of S3 and no library of it: the server alone talks to S3.
            machine = Program(tmp_path / "machine", variables=ONE_THREAD | {"MLFLOW_TRACKING_URI": server.uri})
            ended = machine.train("--data.root", str(data), *LEARNING, code=0, **login("anna"))
            assert "the new champion" in ended.stdout
            (command,) = [line.strip() for line in ended.stdout.splitlines() if "predict.py" in line]
            command = command.replace("PICTURES", shlex.quote(str(data / "JPEGImages"))).replace("OUT", "out")
            machine.run(*[sys.executable, *shlex.split(command)[1:]], code=0, **login("anna"))
            saved_text = server.call("backup", str(tmp_path / "saved.tar")).stdout
            assert re.search(
                r" MB, the database; \d+ artifacts, \d+\.\d MB, stay in s3://the-bucket/of/mlflow and are not in it: "
                r".*aws s3 sync s3://the-bucket/of/mlflow FOLDER; a restore checks that they are there$",
                saved_text.strip(),
            )
        finally:
            server.stop()
        keys_there = [one["Key"] for one in client.list_objects_v2(Bucket="the-bucket")["Contents"]]
        assert any(key.startswith("of/mlflow/") and key.endswith("weights.safetensors") for key in keys_there)
        rows = database.content()
        database.sql("delete from tags")
        restored = server.call("restore", str(tmp_path / "saved.tar"), "--yes").stdout
        assert database.content() == rows
        count = len(keys_there)
        assert restored.rstrip().endswith(f"; {count} of its {count} artifacts are in s3://the-bucket/of/mlflow")
        assert "s3-secret" not in server.log
        check_bucket_that_lost_artifacts(server, client, keys_there, tmp_path / "saved.tar")
    away = server.call("backup", str(tmp_path / "away.tar"), code=2)
    assert "MLFLOW_ARTIFACTS_DESTINATION s3://the-bucket/of/mlflow: " in away.stderr
    assert len(away.stderr.splitlines()) == 1
    assert not (tmp_path / "away.tar").exists()


def check_bucket_that_lost_artifacts(server: SharedServer, client: Any, keys: list[str], saved_file: Path) -> None:
    """A restore without artifacts that are gone is refused, and made where that is wanted."""
    lost = sorted(key for key in keys if "/model" in key)[0]
    client.put_object(Bucket="the-bucket", Key="of/mlflow-of-others/file", Body=b"")
    client.put_object(Bucket="the-bucket", Key=next(key for key in keys if key != lost), Body=b"another")
    client.delete_object(Bucket="the-bucket", Key=lost)
    rows = server.database.content()
    server.database.sql("delete from tags")
    changed = server.database.content()
    ended = server.call("restore", str(saved_file), "--yes", code=2)
    name = lost.removeprefix("of/mlflow/")
    message = f"1 of the {len(keys)} artifacts of this backup are not there, {name!r} the first; "
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert server.database.content() == changed
    restored = server.call("restore", str(saved_file), "--yes", "--incomplete").stdout
    assert f"; {len(keys) - 1} of its {len(keys)} artifacts are in s3://the-bucket/of/mlflow, 1 of them of " in restored
    assert server.database.content() == rows
    older = without_list(saved_file)
    assert "was not checked: the backup does not list them" in server.call("restore", str(older), "--yes").stdout
    assert server.database.content() == rows


def without_list(saved_file: Path) -> Path:
    """Backup as a program has made it that did not list what is in S3."""
    older = saved_file.with_name("older.tar")
    with tarfile.open(saved_file) as source, tarfile.open(older, "w") as target:
        for entry in source:
            content = source.extractfile(entry).read()  # type: ignore[union-attr]
            if entry.name == "manifest.json":
                manifest = json.loads(content)
                del manifest["listed"]
                content = json.dumps(manifest).encode()
                entry.size = len(content)
            target.addfile(entry, io.BytesIO(content))
    return older


def test_the_script(server: SharedServer, tmp_path: Path) -> None:
    """launch/server.sh in an environment that is up to date; files are those of the folder where it is called."""
    folder = server.program.folder
    link_environment(folder, "[server]")
    words = [
        "bash",
        "-c",
        f'cd {shlex.quote(str(tmp_path))} && bash {shlex.quote(str(folder))}/launch/server.sh "$@"',
        "-",
    ]
    listed = server.program.run(*words, "users", code=0, PIP_NO_INDEX="1", **server.variables)
    assert "admin   anna" in listed.stdout
    missing_file = server.program.run(*words, "restore", "none.tar", code=2, PIP_NO_INDEX="1", **server.variables)
    assert "server.sh: " in missing_file.stderr
