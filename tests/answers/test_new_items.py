"""Items that came after training: placed by their features, in batch and in the service, and retrieved at
once."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from recsys.answers.new_items import encoded_items, place_items, with_items
from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.root import current
from recsys.bundle.write import publish
from recsys.errors import DataError, RequestError
from recsys.pipelines.cli import main
from tests.helpers.service import Running, running
from tests.helpers.towers import COLOUR, colour_checkerboard, everyone, publish_towers

BY_COLOUR: dict[str, Any] = {"item_features": COLOUR, "id_dropout": 0.5, "user_ids": False}
NEW = "item_id,title,colour\nnew even,An even one,even\ni3,Known already,even\nnew odd,An odd one,odd\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    publish_towers(folder, colour_checkerboard(), **BY_COLOUR)
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "new.csv"
    path.write_text(NEW)
    return path


def extend(bundle: Bundle) -> Any:
    ids = ["new even", "i3", "new odd"]
    described = pa.table({"item_id": ids, "colour": ["even", "even", "odd"]})
    return with_items(bundle, ids, pa.table({"title": ["An even one", "Known", "An odd one"]}), described)


def test_new_items_reach_those_whose_taste_they_are(root: Path, tmp_path: Path) -> None:
    old = load(current(root))
    extension = extend(old)
    assert (extension.added, extension.kept) == (2, 1)
    new = load(publish(tmp_path, extension.content))
    assert new.manifest["space_id"] == old.manifest["space_id"]
    assert list(new.item_ids)[-2:] == ["new even", "new odd"]
    assert new.recommender.fallback.tolist() == [*old.recommender.fallback, 40, 41]
    assert new.manifest["lineage"]["added_items"] == [{"to": old.bundle_id, "count": 2}]
    np.testing.assert_array_equal(new.item_vectors[:40], old.item_vectors)
    users = everyone(colour_checkerboard())
    np.testing.assert_array_equal(
        new.recommender.ranker.encoder.encode(users)[0],  # type: ignore[attr-defined]
        old.recommender.ranker.encoder.encode(users)[0],  # type: ignore[attr-defined]
    )
    for user in range(40):
        asked = Question(f"u{user}", k=2, allow=["new even", "new odd"])
        best = respond(new, asked).items[0]
        assert best.item_id == ("new odd" if user % 2 else "new even")
        assert best.title == ("An odd one" if user % 2 else "An even one")
    clicks = [Event("new odd"), Event("i3")]
    only, both = (respond(new, Question(history=events)) for events in (clicks[:1], clicks))
    assert (only.source, only.ignored, both.source, both.ignored) == ("history", [], "history", [])
    assert "new odd" not in {item.item_id for item in only.items}  # it was had
    odd = {item.item_id for item in only.items[:10]}
    assert odd <= {"new odd", *(f"i{item}" for item in range(1, 40, 2))}


def test_a_bundle_can_grow_twice_and_says_so(root: Path, tmp_path: Path) -> None:
    once = load(publish(tmp_path, extend(load(current(root))).content))
    more = with_items(
        once, ["later"], pa.table({"title": ["L"], "domain": ["film"]}), pa.table({"colour": ["odd"]})
    )
    twice = load(publish(tmp_path, more.content))
    counts = [step["count"] for step in twice.manifest["lineage"]["added_items"]]
    assert (counts, twice.manifest["counts"]["items"]) == ([2, 1], 43)
    assert (twice.catalogue.domain(42), twice.catalogue.domain(0), twice.catalogue.domain(41)) == (
        "film",
        "books",
        None,
    )


@pytest.mark.parametrize(
    ("features", "error", "words"),
    [
        ({"color": "even"}, RequestError, ["(colour)", "color"]),
        ({"colour": ["even"]}, DataError, ["'colour'", "categories"]),
    ],
)
def test_what_cannot_be_placed_is_refused(root: Path, features: Any, error: Any, words: list[str]) -> None:
    bundle = load(current(root))
    described = pa.table({name: [value] for name, value in features.items()})
    with pytest.raises(error) as said:
        encoded_items(bundle, described)
    assert all(word in str(said.value) for word in words)
    with pytest.raises(RequestError):
        place_items(bundle, [features])


def test_a_model_of_ids_alone_says_that_it_cannot(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="two_tower or fasttext model with item_features"):
        place_items(publish_towers(tmp_path, colour_checkerboard(), epochs=1), [{"colour": "odd"}])


def test_a_wrong_row_is_named_as_the_caller_counts(root: Path) -> None:
    cells = pa.array([["x"] if row == 20_000 else ["x", "y"] for row in range(20_001)])
    with pytest.raises(DataError, match="colour"):
        encoded_items(load(current(root)), pa.table({"colour": cells}))


def encode_items(service: Running, body: Any) -> Any:
    return service.ask("POST", "/v1/items:encode", body)


def test_the_service_places_a_new_item_and_retrieves_it_once_added(
    root: Path, file: Path, tmp_path: Path
) -> None:
    with running(root, tmp_path / "exposures.jsonl") as service:
        rows = [
            {"item_id": "x", "features": {"colour": "odd", "unheard of": 3}},
            {"features": {"colour": "even"}},
        ]
        answer = encode_items(service, {"items": rows, "k": 3})
        assert answer.status == 200, answer.body
        vectors = encoded_items(load(current(root)), pa.table({"colour": ["odd", "even"]}))
        np.testing.assert_allclose([item["vector"] for item in answer.json["items"]], vectors, rtol=1e-6)
        assert [item["item_id"] for item in answer.json["items"]] == ["x", None]
        for item, parity in zip(answer.json["items"], (1, 0), strict=True):
            assert {int(near["item_id"][1:]) % 2 for near in item["similar"]} == {parity}
            assert item["similar"][0]["score"] >= item["similar"][2]["score"] > 0.5
        for body, status, code in (
            ({"items": [{"features": {"colour": {"a": 1}}}]}, 422, "invalid_request"),
            ({"items": [{"features": {"color": "odd"}}]}, 422, "invalid_request"),
            (
                {"items": [{"features": {"colour": "odd"}}, {"features": {"colour": 1}}]},
                422,
                "invalid_request",
            ),
            ({"items": [{"features": {"colour": "odd"}}], "k": 1001}, 422, "invalid_request"),
            ({"items": []}, 422, "invalid_request"),
        ):
            refused = encode_items(service, body)
            assert (refused.status, refused.json["code"]) == (status, code), body
        done = CliRunner().invoke(main, ["items", "add", str(root), str(file)])
        assert done.exit_code == 0, done.output
        until = time.monotonic() + 20
        while service.similar("new odd", 1).status != 200 and time.monotonic() < until:
            time.sleep(0.1)
        assert int(service.similar("new odd", 1).json["items"][0]["item_id"][1:]) % 2 == 1
        assert {item["item_id"] for item in service.recommend(user_id="u1", k=1000)["items"]} >= {"new odd"}


def test_vectors_for_another_index(root: Path, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "vectors.parquet"
    done = CliRunner().invoke(main, ["items", "encode", str(root), str(file), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    table, bundle = pq.read_table(out), load(current(root))
    assert table["item_id"].to_pylist() == ["new even", "i3", "new odd"]
    expected = encoded_items(bundle, pa.table({"colour": ["even", "even", "odd"]}))
    np.testing.assert_array_equal(np.stack(table["vector"].to_numpy()), expected)
    assert table.schema.metadata[b"space_id"].decode() == bundle.manifest["space_id"]


def test_adding_refuses_what_would_lose_something(root: Path, file: Path, tmp_path: Path) -> None:
    run, before = CliRunner(), current(root)
    one = run.invoke(main, ["items", "add", str(current(root)), str(file)])
    assert (one.exit_code, "--to" in one.output) == (2, True)
    file.write_text("item_id,colour\ni1,odd\n")
    known = run.invoke(main, ["items", "add", str(root), str(file)])
    assert (known.exit_code, "nothing was published" in known.output) == (0, True)  # every night, by a clock
    assert current(root) == before
    file.write_text("item_id,colour\na,odd\na,even\n")
    twice = run.invoke(main, ["items", "encode", str(root), str(file), "--out", str(tmp_path / "v.parquet")])
    assert (twice.exit_code, "Describe each item once" in twice.output) == (2, True)
