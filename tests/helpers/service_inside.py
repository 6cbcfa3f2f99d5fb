"""The app under uvicorn within this process; as a script, a whole life of it and then a look at what got
imported.

python -m tests.helpers.service_inside ROOT LOG FIRST_BUNDLE SECOND_BUNDLE FORBIDDEN_MODULE...
"""

import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

Ask = Callable[..., tuple[int, str]]


@contextmanager
def in_process(app: FastAPI) -> Iterator[Ask]:
    """Yields a function (method, path, body) -> (status, text)."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, http="h11", ws="none", loop="asyncio"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    host, port = listener.getsockname()[:2]

    def ask(method: str, path: str, body: str = "{}") -> tuple[int, str]:
        connection = http.client.HTTPConnection(host, port, timeout=10)
        sent = body.encode() if method == "POST" else None
        connection.request(method, path, sent, {"content-type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text

    try:
        yield ask
    finally:
        server.should_exit = True
        thread.join()


def live(root: Path, log: Path, bundles: list[str]) -> tuple[int, int]:
    """Answers every route from each bundle in turn; the number of answers and OpenMP's threads in a
    search."""
    import faiss

    from recsys.bundle.root import point_to
    from recsys.serving.app import create_app
    from recsys.serving.lists import lists
    from recsys.serving.settings import ServingSettings

    openmp, answer = set(), lists.answer  # type: ignore[attr-defined]

    def watch_answer(*arguments: object) -> object:
        openmp.add(faiss.omp_get_max_threads())
        return answer(*arguments)  # type: ignore[arg-type]

    lists.answer = watch_answer  # type: ignore[attr-defined,assignment]
    answered = 0
    with in_process(create_app(root, ServingSettings(poll_s=0.05, exposures=log, idle_check_s=0))) as ask:
        for bundle in bundles:
            point_to(root, bundle)
            deadline = time.monotonic() + 15
            while bundle not in ask("GET", "/v1/health/ready")[1]:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            for method, path, body, status in ROUTES:
                reply = ask(method, path, body)
                assert reply[0] == status, (path, reply)
                answered += 1
    return answered, max(openmp)


PERSON = (
    '{"user_id": "u1", "history": [{"item_id": "007", "timestamp": 9}], "domain": "film", "deny": ["i10"]}'
)
ROUTES = [
    ("POST", "/v1/recommend", '{"user_id": "u1"}', 200),
    ("POST", "/v1/recommend", PERSON, 200),
    ("POST", "/v1/recommend", "{}", 200),
    ("POST", "/v1/recommend", "[", 400),
    ("POST", "/v1/recommend:batch", '{"requests": [{}, {"k": 3}]}', 200),
    ("GET", "/v1/items/007/similar", "", 200),
    ("GET", "/v1/items/none/similar", "", 404),
    ("GET", "/v1/health/live", "", 200),
    ("GET", "/v1/health/ready", "", 200),
    ("GET", "/v1/model", "", 200),
    ("GET", "/openapi.json", "", 200),
]

if __name__ == "__main__":
    root, log, first, second, *forbidden = sys.argv[1:]
    answered, openmp = live(Path(root), Path(log), [first, second])
    present = [name for name in forbidden if name in sys.modules]
    print(json.dumps({"answered": answered, "threads_of_openmp": openmp, "present": present}))
