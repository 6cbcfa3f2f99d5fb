"""Data in a bucket: read as from a folder, here from an S3 server on this machine; trouble is one
sentence."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import s3fs
from click.testing import CliRunner
from pyarrow import parquet

from recsys.data.read.event_table import Reading
from recsys.data.read.load import load_dataset
from recsys.errors import DataError
from recsys.pipelines.cli import main
from tests.data.read.storage.test_exports import EXPORTS

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


def write_months(folder: Path, name: str) -> Path:
    """24 partitions of a month each, from January 2022 on; name: of a file, with the place of its year and
    month."""
    for month in range(24):
        year, of_year = 2022 + month // 12, month % 12 + 1
        at = int(datetime(year, of_year, 3, tzinfo=UTC).timestamp())
        path = folder / name.format(year, of_year)
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {
            "user_id": [f"u{(k + 3 * month) % 60}" for k in range(40)],
            "item_id": [f"i{(k * k + month) % 50}" for k in range(40)],
        }
        parquet.write_table(pa.table(columns | {"timestamp": [at + 100 * k for k in range(40)]}), path)
    return folder


MONTHS = [
    "month={}-{:02}/part-0.parquet",
    "year={}/month={:02}/part-0.parquet",
    "{}/{:02}/a.parquet",
    "log_{}{:02}.parquet",
]


@pytest.mark.parametrize("name", MONTHS)
def test_since_opens_only_the_partitions_that_it_needs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = set[str]()
    real = pa.OSFile

    def note_open(path: str, mode: str) -> Any:
        opened.add(path)
        return real(path, mode)

    monkeypatch.setattr(pa, "OSFile", note_open)
    folder = write_months(tmp_path / "log", name)
    data = load_dataset(str(folder), reading=Reading(since="30d"))
    newest = [str(folder / name.format(2023, month)) for month in (11, 12)]
    assert sorted(opened) == sorted(newest)
    assert len(data.interactions) == 80
    assert data.notes == ("since = '30d': 2 of 24 files are read",)


def test_since_opens_two_of_24_objects(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = set[str]()
    real = s3fs.S3FileSystem.open

    def note_open(self: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        opened.add(path)
        return real(self, path, *args, **kwargs)

    folder = write_months(tmp_path / "log", MONTHS[0])
    bucket.put(str(folder), "shop/log", recursive=True)
    monkeypatch.setattr(s3fs.S3FileSystem, "open", note_open)
    data = load_dataset("s3://shop/log", reading=Reading(since="30d"))
    assert opened == {f"shop/log/month=2023-{month}/part-0.parquet" for month in (11, 12)}
    assert data.digest == load_dataset(str(folder), reading=Reading(since="30d")).digest


def test_a_bucket_is_checked_with_items_of_another_place_under_their_own_names(
    bucket: Any, tmp_path: Path
) -> None:
    folder = write_months(tmp_path / "log", MONTHS[3])
    bucket.put(str(folder), "shop/log", recursive=True)
    bucket.pipe("shop/goods.csv", b"item_id,name\n" + b"".join(b"i%d,Item %d\n" % (k, k) for k in range(50)))
    data = load_dataset(
        "s3://shop/log", {"title": "name"}, items="s3://shop/goods.csv", reading=Reading(since="60w")
    )
    assert data.items["title"].to_pylist() == [f"Item {k}" for k in range(50)]
    said = ["items=s3://shop/goods.csv", "columns.title=name", "since=60w", "prepare.missing_users=drop"]
    result = CliRunner().invoke(main, ["data", "check", "s3://shop/log", *said])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(
        main, ["data", "check", "s3://shop/log", *said[1:], "items=s3://shop/none.csv"]
    )
    assert "s3://shop/none.csv is not there" in result.output
    assert result.exit_code != 0


def wrong_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")


def nothing_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    pass


TROUBLE: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None], str]] = {
    "no such bucket": ("s3://none/log", nothing_wrong, "s3://none/log is not there. Check the address"),
    "no such key": (
        "s3://shop/none.csv",
        nothing_wrong,
        "s3://shop/none.csv is not there. Check the address",
    ),
    "no key of a pattern": ("s3://shop/*.csv", nothing_wrong, "s3://shop/*.csv is not there"),
    "no keys": (
        "s3://shop/log.csv",
        wrong_keys,
        "s3://shop/log.csv cannot be reached: Unable to locate credentials.",
    ),
    "no network": ("s3://shop/log.csv", no_network, "s3://shop/log.csv cannot be reached: Could not connect"),
    "unknown": (
        "foo://shop/log.csv",
        nothing_wrong,
        "foo://shop/log.csv cannot be reached: Unsupported filesystem",
    ),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_trouble_is_one_sentence_with_the_address(
    name: str, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, spoil, said = TROUBLE[name]
    spoil(monkeypatch)
    s3fs.S3FileSystem.clear_instance_cache()
    result = CliRunner().invoke(main, ["data", "check", address])
    assert (result.exit_code, said in result.output) == (2, True), result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("error", [PermissionError("Access Denied"), ValueError("the line is cut")])
def test_trouble_amid_a_file_names_it(
    error: Exception, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_months(tmp_path / "log", MONTHS[3])
    bucket.put(str(folder), "shop/log", recursive=True)

    def broken(*_: Any) -> bytes:
        raise error

    monkeypatch.setattr(s3fs.core.S3File, "_fetch_range", broken)
    with pytest.raises(
        DataError, match=rf"^s3://shop/log/log_202201\.parquet cannot be reached: {error}\. Check"
    ):
        load_dataset("s3://shop/log")


@pytest.mark.parametrize(("address", "library"), [("gs://shop/log", "gcsfs"), ("az://shop/log", "adlfs")])
def test_a_missing_library_is_named_with_its_command(
    address: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        DataError, match=rf"^{address} needs {library}: pip install 'recsys-embeddings\[cloud\]'\.$"
    ):
        load_dataset(address)
