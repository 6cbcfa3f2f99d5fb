"""What a sequence model learns: which item follows which, of whom, and when; and that all its forms say the
same."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.arrays import F32, Array, Ragged
from recsys.bundle.bundle import load
from recsys.bundle.write import publish
from recsys.data.dataset import Dataset
from recsys.encoders.encoder import FALLBACK, HISTORY, load_encoder
from recsys.encoders.users import Users
from recsys.errors import ModelError, SettingError
from recsys.history import Histories
from recsys.models.export import content_of
from recsys.models.registry import make_model
from recsys.models.towers.sequence_fit import SequenceFit
from recsys.progress import silent
from recsys.retrieval.embeddings import Embeddings
from recsys.testing.toys import dataset, random_log
from recsys.training.loop import ALONE

SMALL = {"dim": 16, "epochs": 30, "batch_size": 128, "learning_rate": 0.01, "dropout": 0.0, "widened": 32}
NETS = pytest.mark.parametrize("net", ["transformer", "masked", "hstu", "gru"])
STEPS = 6  # items in the circle


def circle(people: int = 60, length: int = 9) -> Dataset:
    """Everybody goes round a circle of items: the odd ones onward, the even ones back. So the last item alone
    does not say what comes next, the last two do; and which items somebody had says nothing at all."""
    start, way = np.arange(people) % STEPS, np.where(np.arange(people) % 2, 1, -1)
    item = (start[:, None] + way[:, None] * np.arange(length)) % STEPS
    user = np.repeat(np.arange(people), length)
    time = 1_700_000_000 + np.tile(np.arange(length), people) * 60
    return dataset(user, item.ravel(), people, STEPS, time=time)


def fit(data: Dataset, seed: int = 1, **settings: Any) -> Embeddings:
    learned: Any = make_model("sequence", SMALL | settings).fit(data, seed=seed)
    return learned


def next_item(learned: Embeddings, history: list[int], **columns: Any) -> int:
    past = Histories(Ragged.of([history]), **columns)
    return int((learned.items @ learned.encoder.encode(Users.unknown(past)).vectors[0]).argmax())


@pytest.mark.parametrize("net", ["transformer", "hstu", "gru"])
def test_it_goes_on_in_the_direction_of_the_last_events(net: str, certain_seed: int) -> None:
    learned = fit(circle(), certain_seed, net=net)
    for at in range(STEPS):
        onward, back = [(at + step) % STEPS for step in range(4)], [(at - step) % STEPS for step in range(4)]
        assert next_item(learned, onward) == (at + 4) % STEPS
        assert next_item(learned, back) == (at - 4) % STEPS


@pytest.mark.parametrize("more", [{}, {"domains": False, "negatives": 5}])
def test_what_people_come_back_to_is_found_or_what_is_new(more: dict[str, Any], certain_seed: int) -> None:
    home, item = STEPS, np.full((60, 8), STEPS)  # between two new places of the circle everybody goes home
    item[:, ::2] = (np.arange(60)[:, None] + np.arange(4)) % STEPS
    data = dataset(np.repeat(np.arange(60), 8), item.ravel(), 60, STEPS + 1)
    back, new = (fit(data, certain_seed, repeats=repeats, **more) for repeats in (True, False))
    for at in range(STEPS):
        history = [at, home, (at + 1) % STEPS]
        assert next_item(back, history) == home
        assert next_item(new, history) == (at + 2) % STEPS


def test_looking_ahead_finds_what_comes_soon_and_not_only_next(certain_seed: int) -> None:
    item = (np.arange(60)[:, None] + np.arange(20)) % STEPS
    onward = dataset(np.repeat(np.arange(60), 20), item.ravel(), 60, STEPS)
    apart = []
    for ahead in (1, 2):
        learned = fit(onward, certain_seed, ahead=ahead, epochs=10)
        vectors = learned.encoder.encode(
            Users.unknown(Histories(Ragged.of([[at] for at in range(STEPS)])))
        ).vectors
        scores = np.stack([np.roll(of_item, -at) for at, of_item in enumerate(vectors @ learned.items.T)])
        assert set(scores.argmax(axis=1).tolist()) <= set(range(1, ahead + 1))
        apart.append(scores[:, 1] - scores[:, 2])
    assert apart[0].min() > 2
    assert np.abs(apart[1]).max() < 1


def test_filling_gaps_teaches_what_comes_next(certain_seed: int) -> None:
    """Everybody goes onward: it takes one event to know what comes next, and a bag of events to know nothing
    of it."""
    item = (np.arange(60)[:, None] + np.arange(9)) % STEPS
    data = dataset(np.repeat(np.arange(60), 9), item.ravel(), 60, STEPS)
    learned = fit(data, certain_seed, net="masked", epochs=100, domains=False)
    for at in range(STEPS):
        assert next_item(learned, [(at + step) % STEPS for step in range(3)]) == (at + 3) % STEPS


@pytest.mark.parametrize("loss", ["softmax", "gbce"])
def test_drawn_items_teach_the_same(loss: str, certain_seed: int) -> None:
    learned = fit(circle(), certain_seed, negatives=3, loss=loss)
    assert next_item(learned, [0, 1, 2]) == 3
    assert next_item(learned, [3, 2, 1]) == 0


def test_items_may_start_at_who_had_them(certain_seed: int) -> None:
    data, started = circle(), []
    for initial in ("random", "spectral"):
        model: Any = make_model("sequence", SMALL | {"initial": initial})
        started.append(SequenceFit(model.settings, data, certain_seed).item_tower.table.table[:STEPS].numpy())
    lengths = np.linalg.norm(started[1] - started[0], axis=1)
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-4)
    assert lengths[0] > 0
    learned = fit(data, certain_seed, initial="spectral")
    assert next_item(learned, [0, 1, 2]) == 3
    assert next_item(learned, [3, 2, 1]) == 0


def test_lengths_need_not_count(certain_seed: int) -> None:
    learned = fit(circle(), certain_seed, similarity="cosine", temperature=0.05)
    np.testing.assert_allclose(np.linalg.norm(learned.items, axis=1), 1, rtol=1e-5)
    assert next_item(learned, [0, 1, 2]) == 3
    assert next_item(learned, [3, 2, 1]) == 0


def later(gaps: list[int], people: int = 80) -> Dataset:
    """Everybody has item 0, and after one gap item 1, after the other item 2."""
    which = np.arange(people) % 2
    time = 1_700_000_000 + np.stack([np.zeros(people, int), np.array(gaps)[which]], axis=1)
    item = np.stack([np.zeros(people, int), 1 + which], axis=1)
    return dataset(np.repeat(np.arange(people), 2), item.ravel(), people, 3, time=time.ravel())


def test_the_moment_of_asking_makes_another_answer(certain_seed: int) -> None:
    minute, month = 60, 30 * 86_400
    learned, had = fit(later([minute, month]), certain_seed), 1_700_000_000
    past = Histories(Ragged.of([[0]] * 2), time=np.array([had] * 2))
    vectors = learned.encoder.encode(Users.unknown(past, np.array([had + minute, had + month]))).vectors
    assert (vectors @ learned.items.T)[:, 1:].argmax(axis=1).tolist() == [0, 1]
    unknown = learned.encoder.encode(Users.unknown(past)).vectors @ learned.items.T
    assert abs(unknown[0, 1] - unknown[0, 2]) < 1  # nobody said when: neither is far ahead


def test_the_type_of_an_event_counts(certain_seed: int) -> None:
    """After an item was looked at comes item 1, after it was bought item 2."""
    people = 80
    which = np.arange(people) % 2
    item = np.stack([np.zeros(people, int), 1 + which], axis=1)
    event = np.stack([which, np.zeros(people, int)], axis=1)
    data = dataset(
        np.repeat(np.arange(people), 2),
        item.ravel(),
        people,
        3,
        event=event.ravel().astype(np.int8),
        event_names=("view", "buy"),
    )
    learned = fit(data, certain_seed)
    assert "event" in learned.encoder.needs
    for code in (0, 1):
        assert next_item(learned, [0], event=np.array([code], np.int8)) == 1 + code


@NETS
@pytest.mark.parametrize("times", [True, False])
def test_torch_and_the_graph_say_the_same_of_any_mix_of_lengths(net: str, times: bool) -> None:
    """Without times, where the net allows, a sum of the events counts beside it."""
    rng = np.random.default_rng(3)
    lengths = np.concatenate([[1, 2, 7, 50, 200], rng.integers(1, 201, 20)])
    user = np.repeat(np.arange(len(lengths)), lengths)
    more = {"time": np.sort(rng.integers(1, 10**8, len(user)))} if times else {}
    data = dataset(user, rng.integers(40, size=len(user)), len(lengths), 40, **more)
    settings = SMALL | {"net": net, "epochs": 2, "heads": 4, "precision": "float32"}
    settings |= {} if times or net == "masked" else {"half_life": 3.0}
    model: Any = make_model("sequence", settings)
    fitted = SequenceFit(model.settings, data, 1)
    learned = fitted.run(silent, ALONE)
    past = data.interactions.histories()
    vectors = learned.encoder.encode(Users.unknown(past)).vectors
    expected = by_torch(fitted, learned.items, past)
    assert "half_life" not in settings or fitted.net.whole["recent"].abs().min() > 0
    np.testing.assert_allclose(vectors, expected, atol=1e-5 * float(np.abs(expected).max()))
    order = rng.permutation(past.rows)
    again = learned.encoder.encode(Users.unknown(past.take(order))).vectors
    np.testing.assert_allclose(again, vectors[order], rtol=1e-5, atol=1e-6)


def test_what_is_older_than_the_window_counts_as_it_was_learned() -> None:
    """The last events are the same in all histories, and what was before says what comes next. No net has a
    part in this, but for reading no further."""
    people, read = 60, 3
    before = np.arange(people) % 2
    item = np.concatenate([np.repeat(before, 4).reshape(people, 4), np.tile([2, 3, 4], (people, 1))], axis=1)
    item = np.concatenate([item, (5 + before)[:, None]], axis=1)
    data = dataset(np.repeat(np.arange(people), item.shape[1]), item.ravel(), people, 7)
    for older in (10, 0):
        learned = fit(data, longest_history=read, older_history=older, epochs=60)
        next_items = [next_item(learned, [which] * 4 + [2, 3, 4]) for which in (0, 1)]
        assert (next_items == [5, 6]) == bool(older)
    for which in (0, 1):
        assert next_item(fit(data, longest_history=8), [which] * 4 + [2, 3, 4]) == 5 + which


def by_torch(fitted: SequenceFit, items: F32, past: Histories) -> F32:
    """float32 (n, dim): the vectors of whole histories, one at a time, by the net that learned."""
    import torch

    from recsys.encoders.towers.sequence_net import gaps_after

    vectors, gaps = [], gaps_after(past, None)
    with fitted.averages.in_place(), torch.no_grad():
        for row in range(past.rows):
            at = np.arange(past.items.offsets[row], past.items.offsets[row + 1])[None]
            events = torch.from_numpy(items[past.items.values[at]])
            rows = {"gaps": gaps[at]} if "gaps" in fitted.net.whole else {}
            if fitted.domains is not None:
                rows["domains"] = fitted.domains.domain[past.items.values[at]].astype(np.int64) + 1
            vectors.append(fitted.net.compute(events, rows)[0, -1].numpy())
    return np.stack(vectors)


def test_what_stands_before_the_window_and_what_nobody_learned_counts_for_nothing() -> None:
    data = dataset(np.repeat([0, 1], 12), np.tile(np.arange(6), 4), 2, 8)
    learned = fit(data, longest_history=5, epochs=2)
    alone = learned.encoder.encode(Users.unknown(Ragged.of([[1, 2, 3, 4, 5]]))).vectors
    more = Ragged.of([[7, 1, 2, 6, 3, 4, 5]])  # 6 and 7 have no events
    np.testing.assert_allclose(
        learned.encoder.encode(Users.unknown(more)).vectors, alone, rtol=1e-5, atol=1e-6
    )
    nothing = learned.encoder.encode(Users.unknown(Ragged.of([[6, 7], [], [1]])))
    assert nothing.source.tolist() == [FALLBACK, FALLBACK, HISTORY]
    assert not nothing.vectors[:2].any()


def test_a_stored_history_of_a_hundred_thousand_events_is_answered() -> None:
    learned = fit(circle(), epochs=1)
    long = Users.unknown(Ragged.of([np.tile(np.arange(STEPS), 17_000)]))
    assert np.isfinite(learned.encoder.encode(long).vectors).all()


def test_an_item_without_events_has_its_place_by_its_features(certain_seed: int, tmp_path: Path) -> None:
    """In a circle of colours each person has items of the next colour in turn; one item of each colour is
    brand new."""
    rng, people, length, colours = np.random.default_rng(certain_seed), 80, 8, 4
    colour = (np.arange(people)[:, None] + np.arange(length)) % colours
    item = colour + colours * rng.integers(
        5, size=colour.shape
    )  # five items of each, and a sixth without events
    data = dataset(np.repeat(np.arange(people), length), item.ravel(), people, colours * 6)
    table = pa.table({"colour": [f"c{item % colours}" for item in range(colours * 6)]})
    data = dataclasses.replace(data, item_features=table)
    learned = fit(data, certain_seed, item_features=[{"column": "colour"}], id_dropout=0.5)
    new = np.arange(colours * 5, colours * 6)
    vectors = learned.encoder.encode(Users.unknown(Ragged.of([[0, 1], [1, 2], [2, 3], [3, 0]]))).vectors
    assert (vectors @ learned.items[new].T).argmax(axis=1).tolist() == [2, 3, 0, 1]
    assert learned.item_encoder is not None
    np.testing.assert_allclose(
        learned.item_encoder.encode(table.slice(20, 4)), learned.items[new], rtol=1e-4, atol=1e-5
    )
    learned.encoder.save(tmp_path)
    loaded = load_encoder(tmp_path, learned.items)
    past = Users.unknown(Ragged.of([[20, 21]]))  # new items in a history count too
    np.testing.assert_array_equal(loaded.encode(past).vectors, learned.encoder.encode(past).vectors)
    assert int((loaded.encode(past).vectors @ learned.items[new].T).argmax()) == 2


@pytest.mark.parametrize("net", ["transformer", "hstu", "gru"])
def test_half_precision_is_near(net: str) -> None:
    whole, half = (fit(circle(), net=net, precision=precision) for precision in ("float32", "bf16"))
    for learned in (whole, half):
        assert next_item(learned, [0, 1, 2]) == 3


def test_nobody_with_two_events_and_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ModelError, match="nobody has two events"):
        fit(dataset(np.arange(5), np.arange(5), 5, 5))
    with pytest.raises(SettingError, match="heads"):
        fit(circle(), heads=3)
    with pytest.raises(ModelError, match="nobody has two different items"):
        fit(dataset(np.repeat(np.arange(5), 3), np.repeat(np.arange(5), 3), 5, 5), repeats=False)
    for name, value in (("half_life", 3.0), ("ahead", 2), ("repeats", False)):
        with pytest.raises(SettingError, match=f"{name} goes with nets that look back"):
            fit(circle(), net="masked", **{name: value})
    with pytest.raises(SettingError, match="negatives"):
        fit(circle(), loss="gbce", negatives=0)


def test_the_space_is_that_of_the_weights() -> None:
    first, second, other = (
        fit(random_log(1), epochs=1),
        fit(random_log(1), epochs=1),
        fit(random_log(1), 2, epochs=1),
    )
    assert first.encoder.space_id == second.encoder.space_id != other.encoder.space_id


def windows_of(lengths: Array, longest: int, seed: int) -> Array:
    from recsys.training.towers.sequences import WindowedHistories

    past = Histories(
        Ragged(np.concatenate([[0], np.cumsum(lengths)]), np.zeros(int(lengths.sum()), np.int32))
    )
    return np.concatenate(list(WindowedHistories(past, longest).batches(32, np.random.default_rng(seed))))


def test_each_event_after_the_first_of_a_history_is_found_once_an_epoch(certain_seed: int) -> None:
    lengths = np.random.default_rng(certain_seed).integers(0, 40, 50)
    windows = windows_of(lengths, 8, certain_seed)
    assert (windows[:, 1] - windows[:, 0] <= 8).all()
    events = np.concatenate([np.arange(start + 1, stop + 1) for start, stop in windows])
    first = np.cumsum(lengths) - lengths
    assert sorted(events) == sorted(set(range(int(lengths.sum()))) - set(first.tolist()))
    assert not np.array_equal(np.sort(windows[:, 0]), np.sort(windows_of(lengths, 8, certain_seed + 1)[:, 0]))


def test_a_bundle_answers_in_the_order_of_the_clicks_and_says_what_an_item_is_like(tmp_path: Path) -> None:
    data = circle()
    bundle = load(publish(tmp_path, content_of("sequence", fit(data), data)))
    for history, best in (([0, 1, 2], 3), ([3, 2, 1], 0)):
        clicks = [Event(f"i{item}") for item in history]
        first = respond(bundle, Question(None, clicks, k=1)).items[0]
        assert first.item_id == f"i{best}"
        assert first.reason_code in ("like", None)  # never a cause
        assert first.because is None
