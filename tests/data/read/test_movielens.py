"""MovieLens in every published layout, hand-typed; and its download, whole or not at all, from a local
server."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from recsys.data.dataset import Dataset
from recsys.data.read import download as downloads
from recsys.data.read.download import Remote, download
from recsys.data.read.load import load_dataset
from recsys.durable import hold_lock
from recsys.errors import DataError
from recsys.pipelines.cli import main
from recsys.progress import Step

FLAGS = "|".join(["0"] * 19)


def flags(*on: int) -> str:
    return "|".join("1" if at in on else "0" for at in range(19))


GENRES = "\n".join(
    f"{name}|{at}" for at, name in enumerate(["unknown", "Action", "Adventure", *"cdefghijklmnopqr"])
)
LAYOUTS: dict[str, dict[str, bytes]] = {
    "ml-100k": {
        "u.data": b"196\t242\t3\t881250949\n7\t9\t5\t881250900\n196\t9\t1\t881250950\n",
        "u.item": (
            f"242|Kolya (1996)|24-Jan-1997||http://x/y|{flags(1, 2)}\n"
            f'9|Misérables, Les: "II" (1995)|01-Jan-1995||http://x|{flags()}\n'
        ).encode("latin-1"),
        "u.genre": GENRES.encode() + b"\n\n",
        "ua.base": b"",
    },
    "ml-1m": {
        "ratings.dat": b"196::242::3::881250949\n7::9::5::881250900\n196::9::1::881250950\n",
        "movies.dat": '242::Kolya (1996)::Action|Adventure\n9::Misérables, Les: "II" (1995)::\n'.encode(
            "latin-1"
        ),
        "users.dat": b"7::F::1::10::48067\n",
    },
    "ml-10m": {
        "ratings.dat": b"196::242::3::881250949\n7::9::5::881250900\n196::9::1::881250950\n",
        "movies.dat": (
            (
                '242::Kolya (1996)::Action|Adventure\n9::Misérables, Les: "II" (1995)::(no genres listed)\n'
            ).encode()
        ),
    },
    "ml-25m": {
        "ratings.csv": (
            b"userId,movieId,rating,timestamp\n"
            b"196,242,3.0,881250949\n7,9,5.0,881250900\n196,9,1.0,881250950\n"
        ),
        "movies.csv": (
            "movieId,title,genres\n242,Kolya (1996),Action|Adventure\n"
            '9,"Misérables, Les: ""II"" (1995)",(no genres listed)\n'.encode()
        ),
        "tags.csv": b"userId,movieId,tag,timestamp\n",
    },
}


def zip_layout(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, content in LAYOUTS[name].items():
            archive.writestr(f"{name}/{file}", content)
        archive.writestr(f"{name}/padding.bin", np.random.default_rng(1).bytes(60_000))
    return stream.getvalue()


def assert_whole(data: Dataset) -> None:
    events = data.interactions
    assert events.time is not None
    rows = zip(events.user, events.item, events.time.tolist(), events.weights.tolist(), strict=True)
    assert [(data.user_ids[u], data.item_ids[i], t, w) for u, i, t, w in rows] == [
        ("7", "9", 881250900, 5.0),
        ("196", "242", 881250949, 3.0),
        ("196", "9", 881250950, 1.0),
    ]
    films = dict(zip(data.item_ids, data.items.to_pylist(), strict=True))
    assert films["242"] == {"title": "Kolya (1996)", "categories": ["Action", "Adventure"]}
    assert films["9"] == {"title": 'Misérables, Les: "II" (1995)', "categories": None}


@pytest.mark.parametrize("shape", ["folder", "nested", "zip", "named"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_reads_the_same(
    name: str, shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "own" / (name if shape == "nested" else "")
    folder.mkdir(parents=True)
    if shape in ("folder", "nested"):
        for file, content in LAYOUTS[name].items():
            (folder / file).write_bytes(content)
        source = str(tmp_path / "own")
    else:
        (folder / f"{name}.zip").write_bytes(zip_layout(name))
        monkeypatch.setenv("RECSYS_DATA", str(folder))
        source = name if shape == "named" else str(folder / f"{name}.zip")
    assert_whole(load_dataset(source))


def test_halves_of_stars_are_kept(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_bytes(b"1::2::0.5::5\n1::3::4.5::6\n")
    (tmp_path / "movies.dat").write_bytes(b"2::A::Drama\n")
    assert load_dataset(str(tmp_path)).interactions.weights.tolist() == [0.5, 4.5]


@pytest.mark.parametrize("bad", [b"1::2::x\n", b"", b"\xff\xfe"])
def test_damaged_ratings_and_zips_are_refused_in_one_sentence(bad: bytes, tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_bytes(bad)
    (tmp_path / "movies.dat").write_bytes(b"2::A::Drama\n")
    with pytest.raises(DataError):
        load_dataset(str(tmp_path))
    (tmp_path / "cut.zip").write_bytes(zip_layout("ml-1m")[:500])
    with pytest.raises(DataError, match=r"cut\.zip cannot be read"):
        load_dataset(str(tmp_path / "cut.zip"))


class Server:
    """Serves one file; `cut` answers break off after so many bytes, `ranges` says whether parts can be asked
    for."""

    def __init__(self, content: bytes) -> None:
        self.content, self.cut, self.ranges = content, [], True  # type: tuple[bytes, list[int], bool]
        self.asked: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                outer.asked.append(asked)
                if not self.path.endswith("/ml-1m.zip"):
                    self.send_error(404)
                    return
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and outer.ranges else 0
                if start >= len(outer.content):
                    self.send_error(416)
                    return
                body = outer.content[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: outer.cut.pop(0)] if outer.cut else body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}/movielens"

    def stop(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    content = zip_layout("ml-1m")
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(downloads.REMOTES, "ml-1m", Remote("ml-1m.zip", digest, "toy"))
    monkeypatch.setattr(downloads, "_CHUNK", 4_096)
    running = Server(content)
    yield running
    running.stop()


def test_the_command_downloads_into_the_cache_and_the_name_then_works(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("RECSYS_DATA", raising=False)
    said = CliRunner().invoke(main, ["data", "download", "ml-1m", "--mirror", server.address])
    assert said.exit_code == 0, said.output
    path = tmp_path / "recsys" / "data" / "ml-1m.zip"
    assert path.read_bytes() == server.content
    assert [file.name for file in path.parent.iterdir()] == ["ml-1m.zip"]
    assert_whole(load_dataset("ml-1m"))
    again = CliRunner().invoke(main, ["data", "download", "ml-1m", "--mirror", "http://127.0.0.1:1"])
    assert again.exit_code == 0
    assert len(server.asked) == 1


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cut = [5_000, 7_000]
    steps: list[Step] = []
    path = download("ml-1m", base=server.address, folder=tmp_path, progress=steps.append)
    assert path.read_bytes() == server.content
    assert server.asked == [None, "bytes=5000-", "bytes=12000-"]
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == steps[-1].total == len(server.content)


def test_what_an_interruption_leaves_is_no_data_set_and_the_next_attempt_goes_on(
    server: Server, tmp_path: Path
) -> None:
    server.cut = [3_000, 1_000, 1_000]
    with pytest.raises(
        DataError, match=r"cannot be downloaded: .*Check the connection and run the command again"
    ):
        download("ml-1m", base=server.address, folder=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["ml-1m.zip.part"]
    assert download("ml-1m", base=server.address, folder=tmp_path).read_bytes() == server.content
    assert server.asked[-1] == "bytes=5000-"
    assert [file.name for file in tmp_path.iterdir()] == ["ml-1m.zip"]


def test_a_person_who_interrupts_can_go_on_later(server: Server, tmp_path: Path) -> None:
    def impatient(step: Step) -> None:
        if step.done > 20_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download("ml-1m", base=server.address, folder=tmp_path, progress=impatient)
    assert not (tmp_path / "ml-1m.zip").exists()
    assert download("ml-1m", base=server.address, folder=tmp_path).read_bytes() == server.content


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.cut, server.ranges = [9_000], False
    assert download("ml-1m", base=server.address, folder=tmp_path).read_bytes() == server.content


def test_a_wrong_digest_is_refused_and_nothing_is_left(server: Server, tmp_path: Path) -> None:
    right = server.content
    server.content = right[:-1] + bytes([right[-1] ^ 1])
    with pytest.raises(
        DataError, match=r"must have the published MD5 [0-9a-f]{32}, got [0-9a-f]{32}; .* thrown away"
    ):
        download("ml-1m", base=server.address, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    server.content = right
    assert download("ml-1m", base=server.address, folder=tmp_path).read_bytes() == right


def test_a_part_of_another_file_does_not_survive(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ml-1m.zip.part").write_bytes(b"of an older download")
    with pytest.raises(DataError, match="must have the published MD5"):
        download("ml-1m", base=server.address, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_changes_over_time_is_never_resumed_nor_verified(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(downloads.REMOTES, "ml-1m", Remote("ml-1m.zip", None, "changes"))
    server.cut = [3_000] * 3
    with pytest.raises(DataError, match="cannot be downloaded"):
        download("ml-1m", base=server.address, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    said = CliRunner().invoke(
        main, ["data", "download", "ml-1m", "--mirror", server.address, "--folder", str(tmp_path)]
    )
    assert said.exit_code == 0
    assert "no digest could be held against it" in said.stderr
    (tmp_path / "ml-1m.zip").unlink()
    server.content = b"<html>a page instead of a file</html>"
    with pytest.raises(DataError, match="no zip file; what came was thrown away"):
        download("ml-1m", base=server.address, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_wrong_names_addresses_and_absent_files_are_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'ml-2m' cannot be downloaded; known ones are ml-100k, ml-1m"):
        download("ml-2m", folder=tmp_path)
    with pytest.raises(DataError, match="answers 404"):
        download("ml-10m", base=server.address, folder=tmp_path)
    for address in ("file:///etc", "ftp://x"):
        with pytest.raises(DataError, match="must start with https"):
            download("ml-1m", base=address, folder=tmp_path)
    with pytest.raises(DataError, match=r"cannot be downloaded: .*refused"):
        download("ml-1m", base="http://127.0.0.1:1", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_do_not_write_one_file(server: Server, tmp_path: Path) -> None:
    left = tmp_path / "ml-1m.zip.part"
    left.write_bytes(b"half")
    with (
        hold_lock(tmp_path / ".ml-1m.zip.lock"),
        pytest.raises(DataError, match="is being downloaded by another process"),
    ):
        download("ml-1m", base=server.address, folder=tmp_path)
    assert left.read_bytes() == b"half"
