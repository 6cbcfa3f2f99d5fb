"""What every learner keeps, as tests for a suite of your own. Needs pytest.

Inherit from the contracts that your learner promises, and name it as the settings of a run would:

    class TestMine(LearnerContract, TasteContract, VectorContract):
        case = Case("my_package.my_module:MyModel", {"dim": 8})

`pytest.register_assert_rewrite("recsys.testing")` in a conftest.py shows what an assertion compared.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from recsys.arrays import F32, Array, Ragged
from recsys.data.dataset import Dataset
from recsys.encoders.encoder import FALLBACK, load_encoder
from recsys.encoders.users import Users
from recsys.models.base import fit_with
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.progress import Step, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.ranker import TrainedRanker
from recsys.retrieval.recommender import Recommender, recommender_of
from recsys.retrieval.vector_ranker import ranker_of
from recsys.testing.toys import checkerboard, dataset, random_log


class Case(NamedTuple):
    """A learner, by its name in the registry or "module:Class", with settings that learn toys in moments."""

    name: str
    settings: Mapping[str, Any] = {}

    def fit(self, data: Dataset, seed: int = 1) -> Any:
        """What it learns from a data set."""
        return fit_with(make_model(self.name, self.settings), data, seed=seed, progress=silent)

    def fit_once(self, data: Dataset, seed: int = 1) -> Any:
        """The same as `fit`, kept for all the tests that only look at it."""
        return self._keep(f"{data.digest} {seed}", lambda: self.fit(data, seed))

    def refit(self, first: Dataset, second: Dataset) -> Any:
        """What one and the same object learns from the second data set after the first; kept as well."""

        def fit_again() -> Any:
            model = make_model(self.name, self.settings)
            fit_with(model, first, seed=1)
            return fit_with(model, second, seed=1)

        return self._keep(f"{first.digest} {second.digest}", fit_again)

    def _keep(self, what: str, make: Callable[[], Any]) -> Any:
        key = f"{self} {what}"
        if key not in _KEPT:
            _KEPT[key] = make()
        return _KEPT[key]


_KEPT: dict[str, Any] = {}


def everyone(data: Dataset) -> Users:
    """Every user of a data set by their row, with their history."""
    return Users.of_rows(np.arange(data.n_users), data.interactions.histories().items)


def strangers(data: Dataset) -> Users:
    """The same people as users without a row, who bring their history."""
    return Users.unknown(everyone(data).history)


def recommender(learned: Embeddings | TrainedRanker, data: Dataset, seen: str = "exclude") -> Recommender:
    """The recommender of what was learned, with popularity of all time to fall back on."""
    return recommender_of(learned, fallback_order(data.interactions, None), seen)


def answers(learned: Embeddings | TrainedRanker, data: Dataset) -> list[bytes]:
    """All that a learned model answers to all users, with and without their rows, as bytes."""
    engine = recommender(learned, data, seen="allow")
    replies = [engine.recommend(users, data.n_items) for users in (everyone(data), strangers(data))]
    return [array.tobytes() for answer in replies for array in (answer.ids, answer.scores, answer.source)]


def scores_of(learned: Embeddings | TrainedRanker, histories: Ragged, n_items: int) -> F32:
    """float32 (n, n_items): the score of every item for people with these histories; 0 for what is not
    answered."""
    users = Users.unknown(histories)
    answer = ranker_of(learned).top(users, n_items, forbid=Ragged.empty(len(users)))
    scores = np.zeros((len(users), n_items + 1), np.float32)  # the last column takes the pads
    np.put_along_axis(scores, answer.ids, np.where(answer.ids >= 0, answer.scores, 0), axis=1)
    return scores[:, :n_items]


class Contract:
    """Where the learner of a test comes from: the attribute `case`, or a fixture of this name in its
    place."""

    case = Case("")

    @pytest.fixture(name="learner")
    def _learner(self) -> Case:
        return self.case

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A certain answer is certain whatever the seed: for three, or as many as an option `--seeds` of
        yours says."""
        if "certain_seed" in metafunc.fixturenames:
            metafunc.parametrize("certain_seed", range(1, metafunc.config.getoption("--seeds", 3) + 1))


class LearnerContract(Contract):
    """What every learner promises, whatever it knows of its users."""

    def test_a_refit_on_other_data_equals_a_fresh_fit(self, learner: Case) -> None:
        again, fresh = learner.refit(random_log(1), random_log(2)), learner.fit_once(random_log(2))
        assert answers(again, random_log(2)) == answers(fresh, random_log(2))

    def test_the_same_seed_gives_the_same_bytes(self, learner: Case) -> None:
        first, second = learner.fit_once(random_log(1)), learner.fit(random_log(1))
        assert answers(first, random_log(1)) == answers(second, random_log(1))

    def test_it_says_which_items_it_knows(self, learner: Case) -> None:
        data = dataset(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 3]), 2, 6, time=np.arange(4))
        learned = learner.fit_once(data)
        assert learned.trained.tolist() == [True, True, False, True, False, False]
        assert ranker_of(learned).n_items == 6

    def test_one_user_at_a_time_gets_what_all_get_together(self, learner: Case) -> None:
        """Scores within rounding of the largest, and other items only where their scores are that near."""
        data = random_log(1)
        engine = recommender(learner.fit_once(data), data)
        for users in (everyone(data), strangers(data)):  # 40 rows: also a last block of one
            together = engine.recommend(users, 5)
            rounding = 1e-4 * float(np.abs(together.scores).max())
            for row in range(len(users)):
                alone = engine.recommend(users.take(np.array([row])), 5)
                np.testing.assert_allclose(alone.scores[0], together.scores[row], rtol=1e-4, atol=rounding)
                differ = np.flatnonzero(alone.ids[0] != together.ids[row])
                near = np.abs(np.diff(together.scores[row], append=-np.inf, prepend=np.inf))
                assert (np.minimum(near[:-1], near[1:])[differ] <= rounding).all()

    def test_an_unknown_user_without_history_gets_an_answer(self, learner: Case) -> None:
        data = random_log(1)
        learned = learner.fit_once(data)
        answer = recommender(learned, data).recommend(Users.unknown(Ragged.of([[]])), 5)
        assert (answer.ids[0] >= 0).all()
        assert (answer.source[0] == FALLBACK) == ranker_of(learned).folds_in

    def test_a_user_who_has_seen_everything_gets_nothing(self, learner: Case) -> None:
        data = dataset(np.repeat([0, 1], [6, 2]), np.array([0, 1, 2, 3, 4, 5, 0, 1]), 2, 6, time=np.arange(8))
        answer = recommender(learner.fit_once(data), data).recommend(everyone(data), 3)
        assert (answer.ids[0] == -1).all()
        assert np.isneginf(answer.scores[0]).all()
        assert set(answer.ids[1]) < {2, 3, 4, 5}

    def test_k_beyond_the_catalogue_gives_every_allowed_item_once(self, learner: Case) -> None:
        data = random_log(1)
        answer = recommender(learner.fit_once(data), data, seen="allow").recommend(everyone(data), 100)
        for row in answer.ids:
            assert sorted(row[row >= 0]) == list(range(data.n_items))
            assert (row[data.n_items :] == -1).all()

    def test_item_and_user_zero_are_real(self, learner: Case, certain_seed: int) -> None:
        user, item = np.repeat(np.arange(8), 3), np.tile([0, 1, 2], 8)
        data = dataset(user, item, 9, 4, time=np.arange(24))
        answer = recommender(learner.fit_once(data, certain_seed), data).recommend(
            Users.unknown(Ragged.of([[1, 2]])), 1
        )
        assert answer.ids[0, 0] == 0
        known = recommender(learner.fit_once(data, certain_seed), data, seen="allow").recommend(
            everyone(data), 1
        )
        assert known.source[0] != FALLBACK

    def test_items_without_events_are_never_recommended(self, learner: Case) -> None:
        data = dataset(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 3]), 2, 6, time=np.arange(4))
        answer = recommender(learner.fit_once(data), data, seen="allow").recommend(everyone(data), 6)
        assert set(answer.ids.ravel()) == {-1, 0, 1, 3}

    def test_progress_ends_at_its_total(self, learner: Case) -> None:
        steps: list[Step] = []

        def report(step: Step) -> None:
            steps.append(step)

        make_model(learner.name, learner.settings).fit(random_log(1), seed=1, progress=report)
        assert steps
        assert steps[-1].done == steps[-1].total


class TasteContract(Contract):
    """What learners promise that know which items go together."""

    def test_the_checkerboard_has_one_right_answer(self, learner: Case, certain_seed: int) -> None:
        """Settings that learn the board by heart fail here: that user u never had item u can be learned,
        too."""
        data = checkerboard()
        engine = recommender(learner.fit_once(data, certain_seed), data)
        for users in (everyone(data), strangers(data)):
            np.testing.assert_array_equal(engine.recommend(users, 1).ids[:, 0], np.arange(data.n_users))

    def test_a_repeated_event_counts_like_one_of_that_weight(self, learner: Case, certain_seed: int) -> None:
        """Nearer to it, that is, than to an event that happened once: who learns event by event draws
        others."""
        user, item = np.nonzero(np.random.default_rng(0).random((12, 8)) < 0.5)
        times = np.where((user + item) % 3 == 0, 9, 1)

        def learn(which: Array, weight: Array | None = None) -> F32:
            more = {} if weight is None else {"weight": weight.astype(np.float32)}
            data = dataset(user[which], item[which], 12, 8, time=which, **more)
            scores = scores_of(learner.fit_once(data, certain_seed), Ragged.from_pairs(user, item, 12), 8)
            return scores / np.float32(np.linalg.norm(scores))

        one = np.arange(len(user))
        repeated = learn(np.repeat(one, times))
        weighted, once = (float(np.linalg.norm(repeated - learn(one, weight))) for weight in (times, None))
        assert weighted < once


class VectorContract(Contract):
    """What learners promise that end in vectors, which a bundle can hold."""

    def test_the_result_has_the_promised_shapes_and_types(self, learner: Case) -> None:
        data = random_log(1)
        embeddings = learner.fit_once(data)
        assert embeddings.items.dtype == np.float32
        assert embeddings.items.flags.c_contiguous
        assert embeddings.items.shape == (data.n_items, embeddings.encoder.dim)
        encoded = embeddings.encoder.encode(everyone(data))
        assert (encoded.vectors.shape, encoded.vectors.dtype) == (
            (data.n_users, embeddings.encoder.dim),
            np.float32,
        )
        assert encoded.known.all()

    def test_the_space_depends_on_data_and_seed_alone(self, learner: Case) -> None:
        again, fresh = learner.refit(random_log(1), random_log(2)), learner.fit_once(random_log(2))
        assert isinstance(again, Embeddings)
        assert again.encoder.space_id == fresh.encoder.space_id

    def test_a_saved_encoder_loads_equal(self, learner: Case, tmp_path: Path) -> None:
        data = random_log(1)
        embeddings = learner.fit_once(data)
        embeddings.encoder.save(tmp_path)
        loaded = load_encoder(tmp_path, embeddings.items)
        assert loaded.space_id == embeddings.encoder.space_id
        for users in (everyone(data), strangers(data)):
            np.testing.assert_array_equal(loaded.encode(users)[0], embeddings.encoder.encode(users)[0])


class ReasonContract(Contract):
    """What learners promise of reasons: exact shares of the score where their ranker `explains`, else none as
    such."""

    def test_what_each_event_adds_is_the_score_where_it_explains(self, learner: Case) -> None:
        data = random_log(1)
        ranker = ranker_of(learner.fit_once(data))
        users = strangers(data)
        answer = ranker.top(users, 7, forbid=Ragged.empty(len(users)))
        rounding = 1e-4 * float(np.abs(answer.scores).max())
        for row in range(len(users)):
            one = users.take(np.array([row]))
            parts = ranker.contributions(one, answer.ids[row])
            if not ranker.explains:
                assert parts is None or parts.shape == (7, len(one.history.items.values))
                continue
            assert parts is not None
            assert parts.shape == (7, len(one.history.items.values))
            np.testing.assert_allclose(parts.sum(axis=1), answer.scores[row], rtol=1e-3, atol=rounding)
