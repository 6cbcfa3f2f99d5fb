"""Connections, as they come and go: resets, pipelines, bodies in pieces, waits."""

import gc
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recsys.serving.app import create_parts
from recsys.serving.runtime.protocol import Protocol
from recsys.serving.runtime.server import Server
from recsys.serving.settings import ServingSettings
from tests.helpers.service import publish_toy

HEAD = b"POST /v1/recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
HEAD += b"content-length: %d\r\n%s\r\n"


def request(body: bytes = b'{"k": 2}', headers: bytes = b"") -> bytes:
    return HEAD % (len(body), headers) + body


@contextmanager
def serve(folder: Path, **settings: object) -> Iterator[tuple[Server, tuple[str, int]]]:
    """The server of the command line, within this process."""
    publish_toy(folder / "bundles")
    ready = threading.Event()
    given = ServingSettings(exposures=folder / "log", lame_duck_s=0, **settings)  # type: ignore[arg-type]
    parts = create_parts(folder / "bundles", given, lambda _: ready.set())
    server = Server(parts, given)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        assert ready.wait(120)
        yield server, listener.getsockname()[:2]
    finally:
        server.stop()
        thread.join()


def read_answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """(head, body) of the next answer."""
    text = b""
    while b"\r\n\r\n" not in text:
        more = connection.recv(1)
        assert more
        text += more
    length = int(text.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    body = b""
    while len(body) < length:
        body += connection.recv(length - len(body))
    return text, body


def test_nothing_is_held_of_a_connection_that_ended_by_a_reset(tmp_path: Path) -> None:
    with serve(tmp_path) as (server, address):
        for _ in range(50):
            connection = socket.create_connection(address)
            connection.sendall(request())
            read_answer(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        deadline = time.monotonic() + 120
        while server.server_state.connections and time.monotonic() < deadline:
            time.sleep(0.02)
        gc.collect()
        held = sum(issubclass(type(one), Protocol) for one in gc.get_objects())  # asks nothing of the objects
    assert held <= 1  # the last one may still be in a frame of the loop


def test_no_part_of_an_answer_waits_for_an_acknowledgement(tmp_path: Path) -> None:
    """Such a wait takes 40 ms wherever the other side delays its own."""
    with serve(tmp_path) as (server, address), socket.create_connection(address) as connection:
        connection.sendall(request())
        read_answer(connection)
        (protocol,) = server.server_state.connections
        accepted = protocol.transport.get_extra_info("socket")  # type: ignore[union-attr]
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_requests_in_a_row_are_answered_in_their_order(tmp_path: Path) -> None:
    with serve(tmp_path) as (_, address), socket.create_connection(address) as connection:
        model = b"GET /v1/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
        connection.sendall(request(b'{"k": 1}') + request(b'{"k": 2}') + model + request(b'{"k": 3}'))
        answers = [json.loads(read_answer(connection)[1]) for _ in range(4)]
    assert [len(answers[at]["items"]) for at in (0, 1, 3)] == [1, 2, 3]
    assert answers[2] == {"status": "live"}


@pytest.mark.parametrize("cut", [5, 60, 150])
def test_a_request_may_come_in_pieces(tmp_path: Path, cut: int) -> None:
    with serve(tmp_path) as (_, address), socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        whole = request(b'{"k": 1,                                                     "user_id": "u1"}')
        for piece in (whole[:cut], whole[cut:]):
            connection.sendall(piece)
            time.sleep(0.1)
        assert len(json.loads(read_answer(connection)[1])["items"]) == 1
        connection.sendall(request(b'{"k": 3}', b"connection: close\r\n"))
        head, body = read_answer(connection)
        assert b"connection: close" in head
        assert len(json.loads(body)["items"]) == 3
        assert connection.recv(1) == b""


def test_a_body_that_does_not_arrive_is_given_up(tmp_path: Path) -> None:
    with (
        serve(tmp_path, read_s=0.3) as (_, address),
        socket.create_connection(address, timeout=120) as connection,
    ):
        connection.sendall(request(b'{"k": 1}')[:-3])
        head, body = read_answer(connection)
        assert b" 408 " in head.splitlines()[0]
        assert json.loads(body)["code"] == "body_timeout"


def test_nobody_waits_longer_than_they_said(tmp_path: Path) -> None:
    heavy = json.dumps(
        {"requests": [{"user_id": "u1", "k": 1000, "history": [{"item_id": "007"}]}] * 100}
    ).encode()
    batch = request(heavy).replace(b"/v1/recommend ", b"/v1/recommend:batch ")
    with (
        serve(tmp_path, threads=1) as (_, address),
        socket.create_connection(address) as busy,
        socket.create_connection(address) as hurried,
    ):
        busy.sendall(batch)
        time.sleep(0.01)
        hurried.sendall(request(headers=b"x-request-timeout-ms: 1\r\n"))
        head, body = read_answer(hurried)
        assert b" 429 " in head.splitlines()[0]
        assert json.loads(body)["code"] == "overloaded"
        assert b" 200 " in read_answer(busy)[0].splitlines()[0]
        hurried.sendall(request(headers=b"x-request-timeout-ms: soon\r\n"))
        assert b" 422 " in read_answer(hurried)[0].splitlines()[0]


def test_whoever_waits_at_the_door_while_it_closes_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that the kernel has made is let in, though the loop had no time to see it."""
    came: list[socket.socket] = []
    with serve(tmp_path, drain_s=60) as (server, address):
        service = server._parts.service
        leave = service.leave

        def come_and_leave() -> None:  # in the loop's thread, which takes nobody in meanwhile
            for _ in range(5):
                came.append(socket.create_connection(address))
                came[-1].sendall(request())
            leave()

        monkeypatch.setattr(service, "leave", come_and_leave)
        server.should_exit = True
        deadline = time.monotonic() + 120
        while len(came) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        for connection in came:
            head, body = read_answer(connection)
            assert head.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in head
            assert len(json.loads(body)["items"]) == 2
            connection.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
