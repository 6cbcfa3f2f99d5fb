"""Data in a bucket: read as from a folder, in fact from an S3 server on this machine; what goes wrong is one sentence."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

pytest.importorskip("moto", reason="dev extra")
s3fs = pytest.importorskip("s3fs", reason="cloud extra")

from recsys.data.read.event_table import Reading  # noqa: E402
from recsys.data.read.load import load_dataset  # noqa: E402
from recsys.pipelines.cli import main  # noqa: E402
from tests.data.read.storage.test_exports import EXPORTS  # noqa: E402

WAIT_S = 60


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of an S3 server in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + WAIT_S
        while not _listens(port):
            assert server.poll() is None, "the S3 server ended"
            assert time.monotonic() < until, "the S3 server does not answer"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty bucket `shop`, and the environment in which it is found, as for AWS itself."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    files.mkdir("shop")
    yield files
    files.rm("shop", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.filterwarnings("ignore:column .* has no time zone")
@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.__name__)
def test_a_bucket_is_read_as_a_folder_is(export: Any, bucket: Any, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    columns = export(folder)
    bucket.put(str(folder), "shop/export", recursive=True)
    assert load_dataset("s3://shop/export", columns).digest == load_dataset(str(folder), columns).digest
