"""The tuner: it measures by real people what is served, and takes an index only where it finds enough and is
faster."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.bundle.bundle import load
from recsys.bundle.manifest import read_manifest
from recsys.bundle.root import current
from recsys.bundle.write import exact_recommender, publish, write
from recsys.encoders.users import Users
from recsys.errors import BundleError, ModelError
from recsys.retrieval import tuner
from recsys.retrieval.approximate import FILE, Approximate, IndexSettings
from recsys.retrieval.tuner import FOLDED_IN, KNOWN, THREE_EVENTS, measure_index, people_of, tune_index
from tests.helpers.bundles import content, popularity

MADE = content(n_users=300, n_items=3_000, dim=16, events=12)
WEAK = IndexSettings(factory="IVF32,Flat", effort=1)
GOOD = IndexSettings(factory="IVF32,SQ8", effort=32, fetch=1.5, filtered=((0.5, 32),))


def test_people_are_drawn_by_seed_and_nobody_both_chooses_and_judges() -> None:
    drawn = {half: people_of(MADE.histories, 100, 7, half) for half in ("tune", "measure")}
    rows = {half: set(people[KNOWN].index.tolist()) for half, people in drawn.items()}
    assert not rows["tune"] & rows["measure"]
    assert [len(one) for one in rows.values()] == [100, 100]
    assert rows["tune"] == set(people_of(MADE.histories, 100, 7, "tune")[KNOWN].index.tolist())
    assert rows["tune"] != set(people_of(MADE.histories, 100, 8, "tune")[KNOWN].index.tolist())
    people = drawn["tune"]
    assert (people[FOLDED_IN].index == -1).all()
    assert people[FOLDED_IN].history.lengths.tolist() == [12] * 100
    assert people[THREE_EVENTS].history.lengths.tolist() == [3] * 100
    for row in range(100):
        whole, last = people[KNOWN].history.items.row(row), people[THREE_EVENTS].history.items.row(row)
        np.testing.assert_array_equal(last, whole[-3:])


def test_recall_is_counted_as_a_slow_loop_counts_it() -> None:
    exact, people = exact_recommender(MADE), people_of(MADE.histories, 40, 0, "tune")
    index = Approximate.build(
        MADE.embeddings.items, WEAK.model_copy(update={"effort": 3, "filtered": ((0.5, 3),)})
    )
    quality, seconds = measure_index(exact, index, people, 20)
    through, every = tuner.with_index(exact, index), []
    for source, users in people.items():
        recalls = []
        for row in range(len(users)):
            one = users.take(np.array([row]))
            truth, items = exact.recommend(one, 20).ids[0], through.recommend(one, 20).ids[0]
            recalls.append(len(set(truth.tolist()) & set(items.tolist())) / 20)
        assert quality[source].recall == pytest.approx(np.mean(recalls))
        assert quality[source].recall_p5 == pytest.approx(np.percentile(recalls, 5))
        assert quality[source].recall < 1
        every += recalls
    assert quality["all"].recall == pytest.approx(np.mean(every))
    assert len(seconds) == quality["all"].people == 120
    assert tuner.with_index(exact, index).ranker is not exact.ranker


def test_the_scan_stays_where_nothing_is_faster_or_nothing_finds_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact = exact_recommender(MADE)
    monkeypatch.setattr(tuner, "_FASTER", 0.0)
    monkeypatch.setattr(tuner, "_HOPELESS", float("inf"))
    tuned = tune_index(exact, MADE.histories, people=20, names=["SQfp16", "IVF32,Flat"])
    assert tuned.chosen.exact
    assert tuned.measured["all"].recall == 1
    assert [trial.settings.factory for trial in tuned.trials][:2] == ["Flat", "SQfp16"]
    assert tuned.trials[-1].meets
    monkeypatch.setattr(tuner, "_FASTER", np.inf)
    monkeypatch.setattr(tuner, "_HOPELESS", float("inf"))
    monkeypatch.setattr(tuner, "reaches", lambda settings, quality: False)
    assert tune_index(exact, MADE.histories, people=20, names=["SQfp16"]).chosen.exact


def test_what_is_taken_finds_enough_for_others_and_its_effort_was_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tuner, "_FASTER", np.inf)
    monkeypatch.setattr(tuner, "_HOPELESS", float("inf"))
    steps: list[Any] = []
    wanted = IndexSettings(k=50, target=0.95, target_p5=0.8)
    tuned = tune_index(
        exact_recommender(MADE),
        MADE.histories,
        wanted=wanted,
        people=60,
        names=["IVF32,SQ8"],
        progress=steps.append,
    )
    trials = [trial for trial in tuned.trials if trial.settings.factory == "IVF32,SQ8"]
    assert [trial.meets for trial in trials] == [False] * (len(trials) - 1) + [True]
    assert [trial.settings.effort for trial in trials] == sorted(trial.settings.effort for trial in trials)
    assert tuned.measured["all"].people == 450
    assert tuned.measured["all"].recall > 0.94
    assert [(step.done, step.total) for step in steps] == [(1, 2), (2, 2)]
    shares, efforts = zip(*tuned.chosen.filtered, strict=True) if tuned.chosen.filtered else ((), ())
    assert list(shares) == sorted(shares, reverse=True)
    assert list(efforts) == sorted(efforts)


@pytest.mark.parametrize("n", [1, 2, 50])
def test_few_items_keep_the_scan(n: int) -> None:
    made = content(n_users=4, n_items=n + 1, dim=4, events=1)
    assert tune_index(exact_recommender(made), made.histories, people=4).chosen.exact


def test_where_nobody_can_be_asked_the_scan_stays() -> None:
    made = content(n_users=4, n_items=60, dim=4, events=2)
    nobody = replace(made, histories=made.histories.empty(4))
    tuned = tune_index(exact_recommender(nobody), nobody.histories, people=4)
    assert (tuned.chosen.exact, tuned.measured) == (True, {})
    alike = replace(made, embeddings=popularity(np.arange(60, dtype=np.float32)))
    assert tune_index(exact_recommender(alike), alike.histories, people=4).chosen.exact


def test_a_bundle_with_an_index_says_what_it_finds_and_answers_through_it(tmp_path: Path) -> None:
    folder = publish(tmp_path, replace(MADE, index=GOOD))
    stated = read_manifest(folder)["index"]
    assert (stated["factory"], stated["effort"], stated["people"]) == ("IVF32,SQ8", 32, 450)
    assert 0.99 <= stated["recall"] <= 1
    assert set(stated["by_source"]) == {KNOWN, FOLDED_IN, THREE_EVENTS}
    loaded = load(folder)
    assert not loaded.recommender.ranker.index.exact  # type: ignore[attr-defined]
    users = Users.of_rows(np.arange(30), MADE.histories.take(np.arange(30)), np.full(30, 1_800_000_000))
    truth, lists = exact_recommender(MADE).recommend(users, 50), loaded.recommender.recommend(users, 50)
    assert (
        np.mean([len(np.intersect1d(*pair)) / 50 for pair in zip(truth.ids, lists.ids, strict=True)]) > 0.98
    )
    np.testing.assert_array_equal(loaded.recommender.exactly().recommend(users, 50).ids, truth.ids)
    again = publish(
        tmp_path, loaded.content()
    )  # as when items are hidden: the index is made and measured again
    assert read_manifest(again)["index"] == stated
    assert current(tmp_path) == again


def test_an_index_that_finds_too_little_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"IVF32,Flat finds 0\.\d+ of the best 100 items of people who are"):
        write(tmp_path, replace(MADE, index=WEAK))
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_an_index_of_other_vectors_fails_the_golden_questions(tmp_path: Path) -> None:
    from tests.bundle.test_damage import reseal

    folder = publish(tmp_path, replace(MADE, index=GOOD))
    other = content(n_users=300, n_items=3_000, dim=16, events=12, seed=9)
    Approximate.build(other.embeddings.items, GOOD.model_copy(update={"effort": 2})).save(
        folder / "index" / FILE
    )
    stated = read_manifest(folder)["index"] | {"effort": 2, "fetch": 1.0, "filtered": [[0.5, 2]]}
    with pytest.raises(BundleError, match=r"its index finds \d+ of \d+ items of the golden answers"):
        load(reseal(folder, index=stated))


def test_who_judges_may_ask_for_more_effort_than_who_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what was just enough for some would be refused at its publication."""
    exact = exact_recommender(MADE)
    ranker: Any = exact.ranker
    best = IndexSettings(
        factory="IVF32,Flat", effort=2, filtered=((0.5, 4),), k=20, target=0.9, target_p5=0.5
    )
    people = people_of(MADE.histories, 100, 0, "measure")
    settings, quality = tuner._confirm_index(exact, ranker, best, people)
    assert settings.effort > 2
    assert settings.filtered == ((0.5, max(4, settings.effort)),)
    assert all(tuner.reaches(settings, one) for one in quality.values())
    monkeypatch.setattr(tuner, "reaches", lambda settings, quality: False)
    settings, quality = tuner._confirm_index(exact, ranker, best, people)
    assert (settings.exact, settings.effort, quality["all"].recall) == (True, 0, 1.0)
