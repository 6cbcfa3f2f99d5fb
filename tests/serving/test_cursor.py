"""Pages that never repeat, of one list, for whoever it was begun for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.bundle.root import assign
from recsys.bundle.write import publish, write
from recsys.keys import FILE, make_key
from recsys.serving.access.cursor import make_cursor, read_cursor
from recsys.serving.problems import Problem
from recsys.serving.schemas import MAX_CURSOR
from tests.helpers import bundles
from tests.helpers.service import Running, content, publish_toy, running
from tests.serving.test_life import wait_for


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """600 items in two domains."""
    folder = tmp_path_factory.mktemp("pages")
    publish(folder / "bundles", bundles.content(n_users=50, n_items=600, dim=16, seed=3))
    with running(folder / "bundles", folder / "log") as service:
        yield service


def pages(service: Running, count: int, **asked: Any) -> list[list[str]]:
    lists, cursor = [], ""
    for _ in range(count):
        answer = service.recommend(**asked, cursor=cursor)
        lists.append([item["item_id"] for item in answer["items"]])
        cursor = answer["cursor"]
    return lists


ITEMS = [f"i{number}" for number in range(600)]
RULES: list[dict[str, Any]] = [
    {},
    {"domain": "films"},
    {"allow": ITEMS[50:550]},
    {"deny": ITEMS[100:300]},
    {"domain": "books", "deny": ITEMS[:80], "allow": ITEMS[20:]},
]


@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("person", [{"user_id": "u1"}, {"history": [{"item_id": "i7"}]}, {}], ids=str)
def test_pages_are_the_one_list(service: Running, rules: dict[str, Any], person: dict[str, Any]) -> None:
    whole = [item["item_id"] for item in service.recommend(**person, **rules, k=200)["items"]]
    lists = pages(service, 20, **person, **rules, k=10)
    assert [item for page in lists for item in page] == whole
    assert len(set(whole)) == 200


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_nothing_comes_twice_whatever_is_clicked_between_pages(
    service: Running, rules: dict[str, Any]
) -> None:
    shown, clicks, cursor = list[str](), list[dict[str, str]](), ""
    for _ in range(20):
        answer = service.recommend(user_id="u2", history=clicks, k=10, **rules, cursor=cursor)
        page, cursor = [item["item_id"] for item in answer["items"]], answer["cursor"]
        shown += page
        clicks.append({"item_id": page[len(clicks) % 10]})
    assert len(set(shown)) == len(shown) == 200
    assert shown != [item["item_id"] for item in service.recommend(user_id="u2", k=200, **rules)["items"]]


def test_pages_end_with_the_list(service: Running) -> None:
    allow = ITEMS[:25]
    first = service.recommend(allow=allow, k=20, cursor="")
    second = service.recommend(allow=allow, k=20, cursor=first["cursor"])
    assert (len(first["items"]), len(second["items"]), second["cursor"]) == (20, 5, None)
    assert service.recommend(k=5)["cursor"] is None  # nobody asked for pages


def test_a_page_may_be_asked_for_in_a_batch_and_stands_in_the_log(service: Running) -> None:
    cursor = service.recommend(user_id="u3", k=3, cursor="")["cursor"]
    again = service.recommend(user_id="u3", k=3, cursor=cursor)
    batch = service.ask(
        "POST", "/v1/recommend:batch", {"requests": [{"user_id": "u3", "k": 3, "cursor": cursor}]}
    )
    assert batch.json["answers"][0]["items"] == again["items"]
    denied = service.lines()[-1]["question"]["deny"]
    assert len(denied) == 3
    assert not set(denied) & {item["item_id"] for item in again["items"]}


def test_a_cursor_is_of_one_person_and_of_this_service(service: Running) -> None:
    cursor = service.recommend(user_id="u1", cursor="")["cursor"]
    others: list[dict[str, Any]] = [{"user_id": "u2"}, {}, {"unit_id": "u1"}]
    changed = [
        cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :] for at in range(len(cursor))
    ]
    forged = [*changed, cursor + "=", cursor + "?", " " + cursor, "AAAA", "?", "ü", cursor * 2]
    refused = [service.ask("POST", "/v1/recommend", {**who, "cursor": cursor}) for who in others]
    refused += [service.ask("POST", "/v1/recommend", {"user_id": "u1", "cursor": text}) for text in forged]
    assert {(one.status, one.json["code"]) for one in refused} == {(422, "invalid_cursor")}


@pytest.mark.slow
def test_a_cursor_of_another_bundle_is_gone_and_one_of_the_same_outlives_workers_and_restarts(
    tmp_path: Path,
) -> None:
    root, state = tmp_path / "bundles", tmp_path / "state"
    first = publish_toy(root)
    key, _ = make_key(state / FILE, "shop", ["read"])
    headers = {"Authorization": f"Bearer {key}"}
    options = ("--state", str(state), "--workers", "2")
    seen = set[str]()
    with running(root, Path("off"), *options) as service:
        cursor = ""
        for _ in range(4):
            answer = service.ask(
                "POST", "/v1/recommend", {"user_id": "u1", "k": 5, "cursor": cursor}, headers
            ).json
            seen |= {item["item_id"] for item in answer["items"]}
            cursor = answer["cursor"]
        assert len(seen) == 20
    with running(root, Path("off"), *options) as service:
        asked = {"user_id": "u1", "k": 5, "cursor": cursor}
        answer = service.ask("POST", "/v1/recommend", asked, headers).json
        assert not seen & {item["item_id"] for item in answer["items"]}
        second = write(root, content(2)).name
        assign(root, "champion", second)
        wait_for(lambda: {served_by(service, headers) for _ in range(6)} == {second})
        gone = service.ask("POST", "/v1/recommend", asked, headers)
        assert (gone.status, gone.json["code"]) == (410, "cursor_expired")
        assert first != second


def served_by(service: Running, headers: dict[str, str]) -> str:
    bundle_id: str = service.ask("GET", "/v1/model", headers=headers).json["bundle_id"]
    return bundle_id


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [0, 1, 200, 1000])
def test_a_cursor_gives_back_what_was_shown_and_is_short_enough(seed: int, count: int) -> None:
    shown = np.random.default_rng(seed).choice(2**31 - 1, count, replace=False).astype(np.int32)
    cursor = make_cursor(b"s" * 32, "bundle", "user ü", shown)
    assert read_cursor(b"s" * 32, "bundle", "user ü", cursor).tolist() == sorted(shown.tolist())
    assert len(cursor) <= MAX_CURSOR
    for secret, bundle, person, code in (
        (b"t" * 32, "bundle", "user ü", "invalid_cursor"),
        (b"s" * 32, "other", "user ü", "cursor_expired"),
        (b"s" * 32, "bundle", "user u", "invalid_cursor"),
    ):
        with pytest.raises(Problem) as refused:
            read_cursor(secret, bundle, person, cursor)
        assert refused.value.code == code
