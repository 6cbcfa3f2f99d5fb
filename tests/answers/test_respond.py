"""One question to one answer: whose history counts, which rules hold, and whether the reasons are true."""

import json
from dataclasses import replace

import numpy as np
import pytest

from recsys.answers.question import Event, Question
from recsys.answers.respond import answer, respond
from recsys.answers.similar import similar
from recsys.bundle import bundle
from recsys.bundle.write import publish
from recsys.errors import RequestError
from tests.helpers.bundles import START, WEIGHTS, content, popularity

MADE = content()
TWICE = ["i2", "i5", "i2", "i2"]
STORED = [f"i{item}" for item in MADE.histories.items.row(4)]
HOUR = 3600


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return bundle.load(publish(tmp_path_factory.mktemp("root"), MADE))


class Spy:
    """A recommender that keeps what it was asked."""

    def __init__(self, recommender):
        self.ranker, self.available, self.seen = recommender.ranker, recommender.available, recommender.seen
        self._recommender = recommender
        self.users = None

    def recommend(self, users, k, **rules):
        self.users = users
        return self._recommender.recommend(users, k, **rules)


def history_of(shop, question):
    """The merged history, as (item id, unix seconds), that a question leads to, and the reply."""
    spy = Spy(shop.recommender)
    reply = respond(replace(shop, recommender=spy), question)
    values = spy.users.history.items.values
    return [(f"i{item}", int(time)) for item, time in zip(values, spy.users.history.time, strict=True)], reply


def fold_in(history):
    """The user vector and each event's share of it, by hand, in float64: float64 (dim,), (events, dim)."""
    vectors = MADE.embeddings.items.astype(np.float64)
    y = vectors[[int(id_[1:]) for id_ in history]]
    a = WEIGHTS["unobserved_weight"]
    ridge = WEIGHTS["regularization"] * (len(y) + a * len(vectors))
    shares = np.linalg.solve(a * vectors.T @ vectors + y.T @ y + ridge * np.eye(8), y.T).T
    return shares.sum(axis=0), shares


def test_stored_and_brought_events_become_one_history_oldest_first(shop):
    stored = [(id_, START + hour * HOUR) for hour, id_ in enumerate(STORED)]
    fresh = [Event("i7", START + 90), Event("i0", START - 5)]
    history, reply = history_of(shop, Question("u4", fresh))
    assert history == sorted([*stored, ("i7", START + 90), ("i0", START - 5)], key=lambda event: event[1])
    assert reply.source == "history"


def test_the_same_event_counts_once_and_another_time_counts_again(shop):
    stored = [(id_, START + hour * HOUR) for hour, id_ in enumerate(STORED)]
    again = [
        Event(STORED[2], START + 2 * HOUR),
        Event("i7", START),
        Event("i7", START),
        Event("i7", START + 1),
    ]
    history, _ = history_of(shop, Question("u4", again))
    assert history == [stored[0], ("i7", START), ("i7", START + 1), *stored[1:]]


def test_events_of_one_second_stay_in_the_order_given(shop):
    given = [Event(id_, START) for id_ in ("i9", "i3", "i5", "i3")]
    history, _ = history_of(shop, Question(None, given))
    assert [id_ for id_, _ in history] == ["i9", "i3", "i5"]


def test_an_event_without_time_comes_after_the_stored_ones(shop):
    history, _ = history_of(shop, Question("u4", [Event("i7"), Event("i3")]))
    assert [id_ for id_, _ in history] == [*STORED, "i7", "i3"]


def test_unknown_items_are_reported_and_change_nothing_else(shop):
    plain = respond(shop, Question("u4", [Event("i7", START)]))
    odd = respond(
        shop, Question("u4", [Event("nope", START), Event("i7", START), Event("I7")], deny=["absent"])
    )
    assert odd.items == plain.items
    assert odd.ignored == ["nope", "I7"]
    assert plain.ignored == []


def test_a_known_user_is_answered_as_one_folded_in_from_the_same_history(shop):
    known = respond(shop, Question("u4", k=20, reasons=20))
    brought = respond(shop, Question(None, [Event(id_) for id_ in STORED], k=20, reasons=20))
    assert (known.source, brought.source) == ("known", "history")
    assert [item.item_id for item in known.items] == [item.item_id for item in brought.items]
    assert [item.because for item in known.items] == [item.because for item in brought.items]
    np.testing.assert_allclose([i.score for i in known.items], [i.score for i in brought.items], rtol=1e-4)


@pytest.mark.parametrize(
    ("question", "history"),
    [
        (Question("u4", k=30, reasons=30), STORED),
        (Question("u4", [Event("i7"), Event("i11")], k=30, reasons=30), [*STORED, "i7", "i11"]),
        (
            Question("never seen", [Event("i2"), Event("i5"), Event("i8")], k=30, reasons=30),
            ["i2", "i5", "i8"],
        ),
        (
            Question(
                "never seen",
                [Event(item, START + at) for at, item in enumerate(TWICE)],
                k=30,
                reasons=30,
            ),
            TWICE,
        ),
    ],
    ids=["known", "known with clicks", "newcomer", "newcomer who came back to an item"],
)
def test_the_reason_names_the_event_that_adds_most_and_the_parts_make_the_score(shop, question, history):
    _, shares = fold_in(history)
    named = set()
    for item in respond(shop, question).items:
        events = shares @ MADE.embeddings.items[int(item.item_id[1:])].astype(np.float64)
        parts = np.array(
            [events[[other == id_ for other in history]].sum() for id_ in history]
        )  # repeats add up
        assert item.score == pytest.approx(events.sum(), rel=1e-3, abs=1e-5)
        if parts.max() <= 0:
            assert (item.reason, item.because) == (None, None)
            continue
        assert item.because == history[int(parts.argmax())]
        named.add(item.because)
        assert item.reason == f"because of {'i1' if item.because == 'i1' else 'Title ' + item.because[1:]}"
    assert len(named) > 1


def test_the_contributions_of_the_encoder_sum_to_the_score(shop):
    spy = Spy(shop.recommender)
    reply = respond(replace(shop, recommender=spy), Question("u4", k=30, reasons=30))
    parts = shop.recommender.ranker.contributions(
        spy.users, np.array([int(i.item_id[1:]) for i in reply.items])
    )
    assert parts.shape == (30, len(STORED))
    np.testing.assert_allclose(parts.sum(axis=1), [item.score for item in reply.items], rtol=1e-3, atol=1e-5)


def test_a_stranger_gets_what_is_popular_and_is_told_so(shop):
    reply = respond(shop, Question("never seen", k=4))
    best = MADE.fallback[MADE.fallback != 39][:4]
    assert reply.source == "fallback"
    assert "in the last 30 days of the log." in reply.why
    assert [item.item_id for item in reply.items] == [f"i{item}" for item in best]
    for item in reply.items:
        domain = "books" if int(item.item_id[1:]) % 2 else "films"
        assert (item.reason, item.because) == (f"popular now in {domain}", None)


def test_popularity_of_all_time_does_not_say_now(tmp_path):
    made = content(embeddings=popularity(np.arange(40.0)), fallback_days=None)
    reply = respond(bundle.load(publish(tmp_path, made)), Question("u4", [Event("i39")], k=3))
    assert [item.item_id for item in reply.items if item.item_id not in STORED]
    assert {item.reason.split(" in ")[0] for item in reply.items} == {"popular"}
    assert "i39" not in [item.item_id for item in reply.items]


def test_domain_allow_and_deny_hold_together(shop):
    wide = respond(shop, Question("u4", k=39))
    ids = [item.item_id for item in wide.items]
    assert set(ids) == {f"i{item}" for item in range(39)} - set(STORED)

    def ids_under(**rules):
        return [item.item_id for item in respond(shop, Question("u4", k=39, **rules)).items]

    odd = [id_ for id_ in ids if int(id_[1:]) % 2]
    assert ids_under(domain="books") == odd
    assert ids_under(deny=ids[:3]) == ids[3:]
    assert ids_under(allow=[ids[5], ids[2], ids[2], STORED[0], "i39"]) == [ids[2], ids[5]]
    assert (
        ids_under(domain="books", allow=ids[:10], deny=odd[:1]) == [id_ for id_ in ids[:10] if id_ in odd][1:]
    )
    assert ids_under(allow=[]) == []
    stranger = respond(shop, Question(None, k=39, domain="films", deny=["i0"]))
    assert {int(item.item_id[1:]) for item in stranger.items} == set(range(2, 39, 2))


def test_unknown_allowed_items_are_reported(shop):
    reply = respond(shop, Question("u4", allow=["i3", "nope"]))
    assert reply.ignored == ["nope"]


def test_what_no_answer_can_meet_is_an_error(shop):
    for k in (0, -1, 1001):
        with pytest.raises(RequestError, match="k must be"):
            respond(shop, Question("u4", k=k))
    with pytest.raises(RequestError, match="books, films") as error:
        respond(shop, Question("u4", domain="music"))
    assert error.value.code == "unknown_domain"


def test_similar_items_are_those_of_the_highest_cosine(shop):
    vectors = MADE.embeddings.items.astype(np.float64)[:-1]
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units[6]
    cosines[6] = -np.inf
    items = similar(shop, "i6", 100)
    assert [item.item_id for item in items] == [f"i{item}" for item in np.argsort(-cosines)[:38]]
    np.testing.assert_allclose(
        [item.score for item in items], np.sort(cosines)[::-1][:38], rtol=1e-4, atol=1e-6
    )
    for item_id in ("i39", "nope"):
        with pytest.raises(RequestError, match="has no vector"):
            similar(shop, item_id, 5)


def test_the_domain_asked_for_reaches_the_encoder_by_its_code(shop):
    assert shop.manifest["domains"] == list(shop.domains) == ["films", "books"]
    spy = Spy(shop.recommender)
    for domain, code in (("books", [1]), ("films", [0])):
        respond(replace(shop, recommender=spy), Question("u4", domain=domain))
        assert spy.users.domain.tolist() == code
    respond(replace(shop, recommender=spy), Question("u4"))
    assert spy.users.domain is None
    older = replace(shop, manifest={key: value for key, value in shop.manifest.items() if key != "domains"})
    assert older.domains == shop.domains


def test_an_empty_list_says_why(shop):
    for question, said in (
        (Question("u4", allow=[]), "the list of allowed items is empty"),
        (Question("u4", allow=STORED), "every allowed item was had before"),
        (
            Question("u4", domain="books", deny=[f"i{item}" for item in range(40)]),
            "every item of this domain was had",
        ),
    ):
        reply = respond(shop, question)
        assert (reply.items, said in reply.why) == ([], True)
    assert "Nothing" not in respond(shop, Question("u4", k=1)).why


def test_features_of_a_person_are_named_where_the_model_makes_nothing_of_them(shop):
    assert respond(shop, Question("u4", features={"country": "NO", "age": 3})).ignored_features == [
        "country",
        "age",
    ]
    assert respond(shop, Question("u4")).ignored_features == []


@pytest.mark.parametrize("reasons", [0, 3, 10, 500])
def test_as_many_of_the_items_get_a_reason_as_are_asked_for_from_the_best_on(shop, reasons):
    """And the answer is the same whether some get one or all."""
    whole = respond(shop, Question("u4", k=30, reasons=30)).items
    some = respond(shop, Question("u4", k=30, reasons=reasons)).items
    assert [item[:3] for item in some] == [item[:3] for item in whole]
    assert some[:reasons] == whole[:reasons]
    assert {item[3:] for item in some[reasons:]} <= {(None,) * 4}


@pytest.mark.parametrize(
    "question",
    [
        Question("u4", k=39),
        Question("never seen", k=3),
        Question("u4", allow=["i3"]),
        Question("u4", allow=[]),
    ],
    ids=["known", "stranger", "one item", "none"],
)
def test_as_bytes_the_answer_is_what_it_is_as_objects(shop, question):
    items = json.loads(answer(shop, question).items_json())
    expected = [item._asdict() for item in respond(shop, question).items]
    for item in items:
        item["score"] = float(np.float32(item["score"]))  # as the shortest decimal
    assert items == expected
