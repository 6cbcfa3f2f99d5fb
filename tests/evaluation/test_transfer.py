"""What domains bring to each other: who is asked for what, who counts as one person, and what the report
says."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.arrays import F64
from recsys.data.dataset import Dataset
from recsys.data.planted.world import WorldSettings, make_world
from recsys.data.split.holdout import Holdout, SplitSettings
from recsys.data.split.split import split
from recsys.errors import SettingError
from recsys.evaluation.evaluate import evaluate, users_of
from recsys.evaluation.transfer import (
    CONTROL,
    CROSS,
    OWN,
    TransferReport,
    by_domain,
    split_people,
    transfer_report,
    within,
)
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.retrieval.recommender import Recommender, recommender_of
from recsys.testing.toys import dataset

METRIC = "ndcg_at_10"


@pytest.fixture(scope="module")
def world() -> Dataset:
    settings = WorldSettings(
        users=1_500, items=120, shared_taste=1.0, events_per_user=14, new_share=0.0, wave=0.0
    )
    return make_world(settings).dataset


@pytest.fixture(scope="module")
def holdout(world: Dataset) -> Holdout:
    return split(world, SplitSettings(kind="leave_last_out"), seed=1).test


def engine(train: Dataset, **settings: Any) -> Recommender:
    learned: Any = make_model("als", {"dim": 8, "epochs": 3} | settings).fit(train, seed=1)
    return recommender_of(learned, fallback_order(train.interactions, None), "exclude")


def test_each_domain_asks_those_who_have_a_target_in_it_for_its_items_alone(
    world: Dataset, holdout: Holdout
) -> None:
    names, codes = world.domains
    questions = by_domain(holdout)
    assert list(questions) == ["films", "books"] == list(names)
    asked = np.concatenate([question.holdout.user for question in questions.values()])
    assert sorted(asked.tolist()) == holdout.user.tolist()  # everybody has one target
    answers = engine(holdout.train)
    for name, question in questions.items():
        code = names.index(name)
        assert (codes[question.holdout.targets.values] == code).all()
        domain = question.users().domain
        assert domain is not None
        assert domain.tolist() == [code] * len(question.holdout.user)
        counted = [(codes[question.holdout.history.items.row(row)] == code).sum() for row in range(50)]
        assert question.events[:50].tolist() == counted
        shown = dataclasses.replace(answers, available=question.inside).recommend(question.users(), 5).ids
        assert (codes[shown] == code).all()
        whole = evaluate(
            answers, users_of(question.holdout), question.holdout.targets, metrics=(METRIC,)
        ).values[METRIC]
        assert question.values(answers, METRIC).mean() > whole.mean()  # half the items are out of the way


def test_own_history_is_what_it_holds_of_the_domain(holdout: Holdout) -> None:
    question = by_domain(holdout)["books"]
    own, whole = question.users(own=True).history, question.users().history
    assert (within(whole, question.inside).items.values == own.items.values).all()
    assert question.inside[own.items.values].all()
    assert len(own) == question.events.sum() < len(whole)


def test_people_are_split_by_domain_and_more_joined_add_to_fewer(world: Dataset) -> None:
    _, codes = world.domains
    assert split_people(world, 1.0, 1) is world
    before, joined = world.interactions, {}
    films, books = (np.unique(before.user[codes[before.item] == code]) for code in (0, 1))
    in_both = len(np.intersect1d(films, books))
    for share in (0.0, 0.3, 0.7):
        events = split_people(world, share, 1).interactions
        np.testing.assert_array_equal(np.sort(events.item), np.sort(before.item))
        assert events.user_counts().sum() == len(before)
        films, books = (np.unique(events.user[codes[events.item] == code]) for code in (0, 1))
        joined[share] = set(np.intersect1d(films, books).tolist())
        assert len(joined[share]) == pytest.approx(share * in_both, abs=80)
        assert (films < world.n_users).all()
    assert joined[0.0] == set()
    assert joined[0.3] < joined[0.7]
    data = split_people(world, 0.3, 1)
    who = int(np.setdiff1d(np.arange(world.n_users), list(joined[0.3]))[0])
    items = {id_: set(data.interactions.item[data.interactions.user == row].tolist()) for row, id_ in
             ((who, "films"), (data.user_ids.indices([(
                 f"{world.user_ids[who]} in "
                 "books"
)])[0], "books"))}  # fmt: skip
    assert items["films"] | items["books"] == set(before.item[before.user == who].tolist())


def report(world: Dataset, holdout: Holdout, values: Any) -> TransferReport:
    questions = by_domain(holdout)
    by_domain_and_share = {(name, 1.0): values(question) for name, question in questions.items()}
    return transfer_report(questions, by_domain_and_share, METRIC)


def test_a_gain_is_shown_where_there_is_one_and_where_it_came_from(world: Dataset, holdout: Holdout) -> None:
    rng = np.random.default_rng(1)

    def values(question: Any) -> dict[str, F64]:
        control = rng.random(len(question.holdout.user))
        own = control + 0.01
        return {CONTROL: control, OWN: own, CROSS: own + (0.05 + 0.01 * rng.standard_normal(len(own)))}

    transfer = report(world, holdout, values)
    everybody = [row for row in transfer.rows if row.segment == "all"]
    assert [row.domain for row in everybody] == ["films", "books"]
    for row in everybody:
        assert row.transfer.verdict == row.history.verdict == row.training.verdict == "better"
        assert row.transfer.difference.mean == pytest.approx(0.06, abs=0.002)
        assert row.training.difference.mean == pytest.approx(0.01, abs=1e-6)
        assert row.means[CROSS] - row.means[CONTROL] == pytest.approx(row.transfer.difference.mean)
        assert "the other domains bring: +0.0" in row.sentence
    parts = {row.segment: row.people for row in transfer.rows if row.domain == "films"}
    assert parts["all"] == sum(people for segment, people in parts.items() if segment != "all")
    assert "films, everybody, 100% joined" in transfer.text


def test_no_gain_is_said_where_there_is_none(world: Dataset, holdout: Holdout) -> None:
    rng = np.random.default_rng(2)

    def values(question: Any) -> dict[str, F64]:
        n = len(question.holdout.user)
        return {name: 0.5 + 0.1 * rng.standard_normal(n) for name in (CONTROL, OWN, CROSS)}

    alike = report(world, holdout, values)
    assert all("no gain shown" in row.sentence or "too few" in row.sentence for row in alike.rows)


def test_films_help_books_where_taste_is_shared(world: Dataset, holdout: Holdout) -> None:
    """als of all domains against als of each: on 1,500 people who like the same in both."""
    questions = by_domain(holdout)
    cross = engine(holdout.train)
    gains = []
    for name, question in questions.items():
        control = engine(holdout.train.in_domain(name))
        gains.append(question.values(cross, METRIC).mean() - question.values(control, METRIC).mean())
    assert np.mean(gains) > 0.005


def test_data_without_two_domains_are_refused() -> None:
    data = dataset(np.repeat(np.arange(6), 4), np.tile(np.arange(4), 6), 6, 8)
    for items, told in (
        (data.items.drop(["domain"]), "no domains"),
        (
            data.items.drop(["domain"]).append_column("domain", pa.array(["shop"] * 8)),
            "one domain alone, 'shop'",
        ),
    ):
        holdout = split(
            dataclasses.replace(data, items=items), SplitSettings(kind="leave_last_out"), seed=1
        ).test
        with pytest.raises(SettingError, match=told):
            by_domain(holdout)
