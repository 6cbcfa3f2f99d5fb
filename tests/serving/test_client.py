"""The typed client against a real service."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.bundle.write import write
from recsys.keys import FILE, make_key
from recsys.serving.client import Client, ServiceError
from tests.helpers.service import Running, content, publish_toy, running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str, str]]:
    """(a service, a key, the id of a bundle that is not served)."""
    folder = tmp_path_factory.mktemp("client")
    publish_toy(folder / "bundles")
    second = write(folder / "bundles", content(2)).name
    key, _ = make_key(folder / "state" / FILE, "shop", ["read", "admin"])
    options = ("--state", str(folder / "state"), "--root-path", "/shop", "--idle-check-s", "0")
    with running(folder / "bundles", folder / "log", *options) as service:
        yield service, key, second


def test_lists_pages_and_similar_items(service: tuple[Running, str, str]) -> None:
    running, key, _ = service
    with Client(f"{running.url}/shop/", key=key) as client:
        answer = client.recommend(user_id="u1", history=[{"item_id": "007"}], k=3, placement="home")
        assert (len(answer.items), answer.source, answer.cursor) == (3, "history", None)
        assert answer.items[0].score > answer.items[1].score
        assert running.lines()[-1]["placement"] == "home"
        pages = list(client.pages(user_id="u1", k=20))
        ids = [item.item_id for page in pages for item in page.items]
        assert len(ids) == len(set(ids)) == 53
        whole = client.recommend(user_id="u1", k=100)
        assert ids == [item.item_id for item in whole.items]
        assert [len(one.items) for one in client.recommend_batch([{"k": 2}, {"user_id": "u1", "k": 4}])] == [
            2,
            4,
        ]
        assert len(client.similar("a/b", k=3, domain="film")) == 3
        lines = len(running.lines())
        client.recommend(user_id="u1", shadow=True)
        assert len(running.lines()) == lines


def test_refusals_are_errors_with_a_code(service: tuple[Running, str, str]) -> None:
    running, key, _ = service
    with Client(running.url, key=key) as client, Client(running.url) as stranger:
        for ask, status, code in (
            (lambda: client.recommend(k=0), 422, "invalid_request"),
            (lambda: client.similar("none"), 404, "unknown_item"),
            (lambda: stranger.model(), 401, "unauthorized"),
            (lambda: client.activate("none"), 404, "unknown_bundle"),
        ):
            with pytest.raises(ServiceError, match=code) as refused:
                ask()
            assert (refused.value.status, refused.value.code) == (status, code)
            assert refused.value.request_id
            assert key not in str(refused.value)
    with pytest.raises(ValueError, match="http://"):
        Client("service:8000")


def test_what_is_served_is_changed_with_an_etag(service: tuple[Running, str, str]) -> None:
    running, key, second = service
    with Client(running.url, key=key) as client:
        etag = client.model()["deployment"]["etag"]
        changed = client.activate(second, if_match=etag)
        for _ in range(200):
            if client.activate(second).done:
                break
        with pytest.raises(ServiceError, match="precondition_failed"):
            client.activate(running.bundle_id, if_match=etag)
        assert client.roll_back(if_match=changed.etag).bundle_id == running.bundle_id
        assert {one["version"] for one in client.status()} == {running.bundle_id, second}


class Flaky(http.server.BaseHTTPRequestHandler):
    """Closes the first connection, sheds the second request, refuses without a document, then answers."""

    protocol_version, asked = "HTTP/1.1", 0

    def do_POST(self) -> None:
        type(self).asked += 1
        self.rfile.read(int(self.headers["content-length"]))
        if self.asked == 1:
            self.close_connection = True
            return
        status, body = (
            (429, b"{}") if self.asked == 2 else (502, b"<html>") if self.asked == 4 else (200, ANSWER)
        )
        self.send_response(status)
        self.send_header("retry-after", "0")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


ANSWER = json.dumps(
    {
        "request_id": "r",
        "bundle_id": "b",
        "source": "known",
        "why": "w",
        "items": [],
        "ignored": [],
        "later": 1,
    }
).encode()


def test_it_asks_again_where_that_may_help_and_leaves_out_what_it_does_not_know() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), Flaky)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with Client(f"http://127.0.0.1:{server.server_port}") as client:
            assert client.recommend().bundle_id == "b"
            assert Flaky.asked == 3
            with pytest.raises(ServiceError, match="no_problem_document") as refused:
                client.recommend()
            assert refused.value.status == 502
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_file_needs_nothing_but_python(tmp_path: Path) -> None:
    (tmp_path / "copied.py").write_text(Path(sys.modules[Client.__module__].__file__ or "").read_text())
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import copied
print([name for name in sys.modules if name.split(".")[0] in ("recsys", "orjson", "numpy", "pydantic")])
"""
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
