"""What comes from people who mean harm: drawn requests, raw bytes, damaged bundles, strings that are more
than text.

Short forms of benchmarks/service_contract.py, service_bytes.py and bundle_corruptions.py, and hostile
strings.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from benchmarks.bundle_corruptions import FAULTS, corrupt
from benchmarks.service_bytes import attack
from benchmarks.service_contract import check, example_service
from recsys.bundle.catalogue import Catalogue
from recsys.bundle.write import publish
from recsys.events.store import EventStore
from recsys.ids import IdMap
from recsys.keys import AUDIT, FILE, make_key
from recsys.pipelines.events.export import export
from recsys.text import text_table
from tests.helpers.service import ITEMS, USERS, Running, content, publish_toy, running


@pytest.mark.slow
@pytest.mark.parametrize("keyed", [True, False], ids=["with keys", "without"])
def test_drawn_requests_are_answered_as_the_document_says(tmp_path: Path, keyed: bool) -> None:
    with example_service(tmp_path, keyed=keyed) as (url, key):
        report = check(url, key, examples=3, seed=1)
    assert report["status"] == 0, report["said"]
    assert report["failures"] == 0
    assert report["cases"] > 150


@pytest.mark.slow
@pytest.mark.parametrize("keyed", [True, False], ids=["with keys", "without"])
def test_whatever_bytes_come_the_service_goes_on(tmp_path: Path, keyed: bool) -> None:
    with example_service(tmp_path, keyed=keyed) as (url, key):
        host, port = url.removeprefix("http://").split(":")
        report = attack((host, int(port)), None if key is None else key.encode(), 300, seed=2)
    assert (report["hangs"], report["faults"], report["answers_after"]) == (0, 0, True)
    assert {200, 400, 404} <= set(report["statuses"])


@pytest.mark.slow
def test_a_damaged_bundle_is_refused() -> None:
    rows = corrupt(60, seed=3, every=20)
    assert sum(row["cases"] for row in rows) == 60
    assert {row["fault"] for row in rows} <= set(FAULTS)
    assert sum(row["published"] for row in rows) == 3
    assert all(row["accepted"] == row["lost"] == 0 for row in rows)


KINDS: dict[str, list[str]] = {
    "markup": [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</title><svg/onload=alert(1)>",
        "&lt;b&gt;",
    ],
    "lines": [
        "a\r\nSet-Cookie: x=1",
        'a\n{"level": "error", "message": "forged"}',
        "a\x0bb\x85c\u2028d\u2029e",
        "a\x00b",
    ],
    "terminal": ["\x1b[2J\x1b[31mred", "\x1b]0;title\x07", "\x9b31m", "a\x08\x08\x08b", "\x7f"],
    "formula": [
        '=HYPERLINK("http://x","y")',
        "+1+1",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        '"quoted","cells"',
        "a;b|c,d",
    ],
    "look-alike": [
        *("\u0440\u0430ypal", "\uff41\uff44\uff4d\uff49\uff4e", "a\u202egnp.exe", "a\u200bb", "\ufeffid"),
        *("\u0130", "\xdf", "e\u0301", "\xe9"),
    ],
    "path": [
        "../../etc/passwd",
        "..\\..\\x",
        "/etc/passwd",
        "C:\\x",
        "%2e%2e%2f",
        "file:///etc/passwd",
        "~root",
    ],
    "code": [
        "{{7*7}}",
        "${jndi:ldap://x}",
        "'; DROP TABLE users;--",
        "`id`",
        "$(id)",
        "%s%s%n",
        "__proto__",
        "NaN",
        "null",
    ],
}


def hostile_strings(count: int = 500) -> list[str]:
    """So many different strings, each a bad one, alone or within others."""
    draw, plain = random.Random(1), [text for texts in KINDS.values() for text in texts]
    strings = dict.fromkeys(plain)
    while len(strings) < count:
        strings["".join(draw.choice((*plain, "x", " ", "42")) for _ in range(draw.randrange(2, 4)))] = None
    return list(strings)[:count]


HOSTILE = hostile_strings()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, str], Path]]:
    """A service whose ids, titles and domains are hostile; a key's header; its folder."""
    folder = tmp_path_factory.mktemp("hostile")
    made = content()
    ids = [text[:900] for text in HOSTILE[: len(ITEMS)]]
    table = pa.table(
        {
            "title": HOSTILE[100 : 100 + len(ITEMS)],
            "domain": [KINDS["markup"][n % 2] for n in range(len(ITEMS))],
        }
    )
    people = IdMap.of(HOSTILE[200 : 200 + len(USERS)])
    publish(
        folder / "bundles",
        replace(made, item_ids=IdMap.of(ids), user_ids=people, catalogue=Catalogue.of(table)),
    )
    key, _ = make_key(folder / "state" / FILE, "hostile", ["read", "write", "admin"])
    options = ("--state", str(folder / "state"), "--access-log", str(folder / "access"), "--admin-port", "0")
    with running(folder / "bundles", folder / "log", *options) as service:
        yield service, {"Authorization": f"Bearer {key}"}, folder


def test_hostile_strings_stay_text(hostile: tuple[Running, dict[str, str], Path]) -> None:
    """In ids, labels and headers, 500 of them: answered, never a fault, no header or line of a log forged."""
    service, headers, folder = hostile
    known = set(HOSTILE[: len(ITEMS)])
    for number, text in enumerate(HOSTILE):
        body: dict[str, Any] = {
            "user_id": text,
            "history": [{"item_id": text, "event": text[:100]}],
            "deny": [text],
            "k": 3,
        }
        answer = service.ask("POST", "/v1/recommend", body, headers)
        assert answer.status == 200, answer.body
        assert "set-cookie" not in answer.headers
        assert {item["item_id"] for item in answer.json["items"]} < known
        if number % 5 == 0:
            for field in ("placement", "domain", "cursor", "unit_id"):
                other = service.ask("POST", "/v1/recommend", {field: text}, headers)
                assert other.status in (200, 422)
            latin = (
                text.encode("latin-1", "replace")
                .decode("latin-1")
                .translate(dict.fromkeys(range(32)) | {127: None})
            )
            given = {**headers, "x-request-id": latin, "traceparent": latin, "x-recsys-shadow": latin}
            assert service.ask("POST", "/v1/recommend", {}, given).status == 200
            assert service.similar(text).status in (401, 404)
    lines = service.lines()
    assert {line["user_id"] for line in lines} >= set(HOSTILE)
    assert [line["seq"] for line in lines] == [*range(1, len(lines) + 1)]  # no line was forged or torn
    service.process.terminate()
    _, stderr = service.process.communicate(timeout=20)
    for log in (stderr, (folder / "access").read_text(), (folder / "state" / AUDIT).read_text()):
        for line in log.splitlines():
            assert json.loads(line)
            assert "\x1b" not in line
            assert "forged" not in line
            assert line.isascii()
    raw = (folder / "log").read_bytes()
    assert b"\x1b" not in raw
    assert raw.count(b"\n") == len(lines)


def test_hostile_strings_stay_text_in_what_is_told_and_assigned(tmp_path: Path) -> None:
    """In events, identities, names of experiments and units, 500 of them: kept as they are, in the export
    too, and nothing of them in a log, a metric or the address of a redirect; then everybody is forgotten,
    whatever the name."""
    publish_toy(tmp_path / "bundles")
    state = tmp_path / "state"
    key, _ = make_key(state / FILE, "hostile", ["read", "write", "admin"])
    headers = {"Authorization": f"Bearer {key}"}
    options = ("--state", str(state), "--access-log", str(tmp_path / "access"), "--admin-port", "0")
    with running(tmp_path / "bundles", Path("off"), *options) as service:
        told = [
            {
                "event_id": f"{at} {text}",
                "kind": "outcome",
                "item_id": text,
                "user_id": text,
                "event": text[:100],
            }
            | {"unit_id": text, "request_id": text, "placement": text[:100]}
            for at, text in enumerate(HOSTILE)
        ]
        answer = service.ask("POST", "/v1/events", told, headers)
        assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (200, len(HOSTILE), [])
        for at, text in enumerate(HOSTILE):
            if at % 5 == 0:
                named = f"/v1/experiments/{quote(text, safe='')}/assignment"
                for path in (
                    f"{named}?unit_id=x",
                    f"/v1/experiments/x/assignment?unit_id={quote(text, safe='')}",
                ):
                    assert service.ask("GET", path, headers=headers).status in (404, 422)
                answer = service.ask("POST", "/v1/identities", {"from": f"{text}~", "to": text}, headers)
                assert answer.status == 200
                refused = service.ask("POST", "/v1/events", [{"event_id": text, text: text}], headers)
                assert (refused.status, len(refused.json["rejected"])) == (200, 1)
        store = EventStore(state)
        export(store, tmp_path / "out")
        rows = ds.dataset(tmp_path / "out" / "outcomes").to_table(["user_id", "item_id"]).to_pylist()
        store.close()
        assert sorted(row["item_id"] for row in rows) == sorted(HOSTILE)
        gone = 0
        for text in HOSTILE:
            answer = service.ask("DELETE", f"/v1/users/{quote(text, safe='')}", headers=headers)
            assert answer.status == 200, answer.body
            gone += answer.json["deleted"]["events"]
        assert gone == len(HOSTILE)
        with urlopen(Request(f"{service.admin}/metrics", headers=headers), timeout=10) as response:
            metrics = response.read().decode()
        service.process.terminate()
        _, stderr = service.process.communicate(timeout=20)
    access = (tmp_path / "access").read_text()
    assert {line["method"] for line in map(json.loads, access.splitlines())} == {"GET", "POST", "DELETE"}
    for log in (stderr, access, (state / AUDIT).read_text(), metrics):
        assert log.isascii()
        assert "\x1b" not in log
        for bad in ("forged", "<script", "jndi", "Set-Cookie", "passwd", "HYPERLINK"):
            # file:///etc/passwd is a plain word by the rule of placements, which stand in the metrics by name
            assert bad not in log or (bad == "passwd" and log is metrics), bad
    assert all(json.loads(line) for log in (stderr, access) for line in log.splitlines())


def test_hostile_strings_stay_cells_of_a_table() -> None:
    """What commands print for people has a line for each, and nothing that a terminal obeys."""
    table = text_table(["id"], [[text] for text in HOSTILE])
    assert len(table.splitlines()) == len(HOSTILE) + 2
    assert all(character.isprintable() for line in table.split("\n") for character in line)
