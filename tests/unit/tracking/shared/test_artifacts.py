"""Artifacts in S3, listed for a backup and looked for by a restore, in a real S3 server on this machine."""

from collections.abc import Iterator
from typing import Any

import pytest

from trainer import InputError
from trainer.tracking.shared.artifacts import check, describe_listed, list_stored, require_listed

moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
pytestmark = pytest.mark.long

PLACE = "s3://the-bucket/of/mlflow"
COUNT = 1003
"""Artifacts: more than S3 lists in one answer."""


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Client of a server whose bucket holds artifacts of different sizes, and files of others."""
    with pytest.MonkeyPatch.context() as environment:
        server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        _, port = server.get_host_and_port()
        variables = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
        for name, value in {**variables, "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
            environment.setenv(name, value)
        found = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
        found.create_bucket(Bucket="the-bucket")
        for number in range(COUNT):
            found.put_object(Bucket="the-bucket", Key=f"of/mlflow/1/ä {number}", Body=b"x" * (number % 3))
        found.put_object(Bucket="the-bucket", Key="of/mlflow-others/file", Body=b"x")
        yield found
        server.stop()


def test_all_artifacts_are_listed_and_looked_for(client: Any) -> None:
    check(PLACE)
    listed = list_stored(PLACE)
    assert listed == {f"1/ä {number}": number % 3 for number in range(COUNT)}
    assert f"{COUNT} artifacts, 0.0 MB, stay in {PLACE} and are not in it: " in describe_listed(PLACE, listed)
    assert list_stored(f"{PLACE}/") == listed
    assert require_listed(PLACE, listed, False) == f"{COUNT} of its {COUNT} artifacts are in {PLACE}"
    client.put_object(Bucket="the-bucket", Key="of/mlflow/1/ä 1", Body=b"longer")
    client.delete_object(Bucket="the-bucket", Key="of/mlflow/1/ä 7")
    with pytest.raises(
        InputError, match=rf"1 of the {COUNT} artifacts .* not there, '1/ä 7' the first; .*--incomplete"
    ):
        require_listed(PLACE, listed, False)
    found = require_listed(PLACE, listed, True)
    assert found == f"{COUNT - 1} of its {COUNT} artifacts are in {PLACE}, 1 of them of another size since"


def test_what_cannot_be_listed_is_said(client: Any) -> None:
    assert list_stored("gs://bucket/path") is None
    assert "save them as that store is saved" in describe_listed("gs://bucket/path", None)
    assert "was not checked" in require_listed("gs://bucket/path", {"a": 1}, False)
    assert "does not list them" in require_listed(PLACE, None, False)
    with pytest.raises(InputError, match="NoSuchBucket"):
        list_stored("s3://no-bucket/path")
