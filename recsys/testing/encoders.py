"""What every user encoder keeps, as tests for a suite of your own. Needs pytest.

Inherit, and make an encoder with the item vectors of its space, and users whom it knows something of:

    class TestMine(EncoderContract):
        def make_case(self) -> EncoderCase:
            return EncoderCase(MyEncoder(...), items, users)
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from recsys.arrays import F32, Ragged
from recsys.encoders.encoder import FALLBACK, HISTORY, Encoder
from recsys.encoders.users import Users
from recsys.history import Histories


class EncoderCase(NamedTuple):
    """encoder: the one to test. items: float32 (n_items, dim), of its space. users: whom it can encode, all
    of them."""

    encoder: Encoder
    items: F32
    users: Users


def _with_idle_events(histories: Histories, n_items: int) -> tuple[Histories, Histories]:
    """The histories with an event before each of theirs: of the same item at weight 0; of an item that nobody
    knows."""
    items, weight = histories.items, histories.weight
    twice = Ragged(2 * items.offsets, np.repeat(items.values, 2))
    ones = np.ones(len(histories), np.float32) if weight is None else weight
    weights, values = np.repeat(ones, 2), twice.values.copy()
    values[::2] = n_items
    foreign = Histories(Ragged(twice.offsets, values), weight=None if weight is None else weights)
    weights = weights.copy()
    weights[::2] = 0
    return Histories(twice, weight=weights), foreign


class EncoderContract:
    """What every encoder promises."""

    def make_case(self) -> EncoderCase:
        """The encoder to test, made anew."""
        raise NotImplementedError("a test of an encoder makes one: def make_case(self) -> EncoderCase")

    def test_it_gives_float32_vectors_of_its_dim_and_says_whom_it_could_encode(self) -> None:
        encoder, items, users = self.make_case()
        vectors, source = encoder.encode(users)
        assert vectors.shape == (len(users), encoder.dim)
        assert vectors.dtype == np.float32
        assert items.shape[1] == encoder.dim
        assert np.isfinite(vectors).all()
        assert source.dtype == np.int8
        assert (source < FALLBACK).all()

    def test_one_user_at_a_time_gets_the_vector_that_all_get_together(self) -> None:
        encoder, _, users = self.make_case()
        together, _ = encoder.encode(users)
        rounding = 1e-5 * float(np.abs(together).max())
        for row in range(len(users)):
            alone, _ = encoder.encode(users.take(np.array([row])))
            np.testing.assert_allclose(alone[0], together[row], rtol=1e-4, atol=rounding)

    def test_a_history_is_enough_where_it_says_so(self) -> None:
        encoder, _, users = self.make_case()
        strangers = Users.unknown(users.history)
        encoded = encoder.encode(strangers)
        if encoder.folds_in:
            assert (encoded.source == HISTORY).all()
        else:
            assert not (encoded.source == HISTORY).any() or not encoder.personal

    def test_events_that_it_cannot_use_count_for_nothing(self) -> None:
        """Events of weight 0, which were had but are not to be learned from, and those of items that it never
        saw."""
        encoder, items, users = self.make_case()
        strangers = Users.unknown(users.history)
        idle, foreign = _with_idle_events(strangers.history, len(items))
        for spoilt in (idle, foreign):
            usable = encoder.usable(spoilt)
            assert usable.shape == (len(spoilt),)
            spoilt_encoded, expected = (
                encoder.encode(Users.unknown(one)) for one in (spoilt, strangers.history)
            )
            np.testing.assert_array_equal(spoilt_encoded.source, expected.source)
            np.testing.assert_allclose(spoilt_encoded.vectors, expected.vectors, rtol=1e-5, atol=1e-6)
            for row in range(3):
                one = Users.unknown(spoilt.take(np.array([row])))
                parts = encoder.contributions(one, items)
                if parts is not None:
                    assert not parts[:, ~encoder.usable(one.history)].any()

    def test_saved_and_loaded_it_encodes_to_the_same_bytes(self, tmp_path: Path) -> None:
        encoder, items, users = self.make_case()
        encoder.save(tmp_path)
        loaded = type(encoder).load(tmp_path, items)
        for trait in ("encoder_kind", "dim", "space_id", "folds_in", "personal", "explains", "needs"):
            assert getattr(loaded, trait) == getattr(encoder, trait)
        np.testing.assert_array_equal(loaded.encode(users)[0], encoder.encode(users)[0])

    def test_what_it_knows_of_one_person_goes_and_all_others_stay(self) -> None:
        encoder, _, users = self.make_case()
        without, others = encoder.without_rows(np.array([0], np.int32)), users.index != 0
        np.testing.assert_array_equal(without.encode(users)[0][others], encoder.encode(users)[0][others])
        assert without.space_id == encoder.space_id

    def test_its_space_is_that_of_its_numbers(self) -> None:
        assert self.make_case().encoder.space_id == self.make_case().encoder.space_id

    def test_what_each_event_adds_is_the_score_where_it_explains(self) -> None:
        encoder, items, users = self.make_case()
        strangers = Users.unknown(users.history)
        encoded = encoder.encode(strangers)
        vectors, known = encoded.vectors, encoded.known
        rounding = 1e-4 * float(np.abs(vectors @ items.T).max())
        for row in np.flatnonzero(known):
            one = strangers.take(np.array([row]))
            parts = encoder.contributions(one, items)
            assert parts is not None or not encoder.explains
            if parts is not None and encoder.explains:
                assert parts.shape == (len(items), len(one.history.items.values))
                np.testing.assert_allclose(parts.sum(axis=1), items @ vectors[row], rtol=1e-3, atol=rounding)
