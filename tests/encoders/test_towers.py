"""What a tower is given stands apart, and a bag joins it in one order."""

import numpy as np

from recsys.arrays import Ragged
from recsys.encoders.features import FeatureRows
from recsys.encoders.towers.inputs import Inputs, Windows
from recsys.encoders.towers.layout import ItemLayout, UserLayout
from recsys.history import Histories

LOG = Histories(
    Ragged.of([[5, 6, 5, 7], [], [8, 9]]),
    time=np.array([10, 20, 20, 30, 40, 50]),
    weight=np.array([1, 2, 0, 4, 5, 6], np.float32),
    event=np.array([0, 1, 0, 1, 0, 1], np.int8),
)
FEATURES = FeatureRows(
    Ragged.of([[2], [], [0, 1]]), np.array([0.5, 2, 3], np.float32), np.array([[1], [2], [3]], np.float32)
)


def inputs(longest: int = 9) -> Inputs:
    row = np.array([1, -1, 0], np.int32)
    return Inputs(row, Windows.of(LOG, longest), FEATURES, np.array([35, 45, 55]))


def test_windows_are_slices_of_one_log_that_nothing_copies() -> None:
    windows = Windows(LOG, np.array([0, 1, 0]), np.array([4, 4, 0]), 2, np.array([7, 5, 5], np.int32))
    assert windows.log is LOG
    histories = windows.histories(("time", "event"))
    assert [histories.items.row(row).tolist() for row in range(3)] == [[6, 5], [6, 7], []]
    assert (histories.time.tolist(), histories.event.tolist()) == ([20, 20, 20, 30], [1, 0, 1, 1])
    assert histories.weight is None
    assert windows.take(slice(1, 3)).histories().weight.tolist() == [2, 4]


def test_the_parts_of_a_person_are_apart_with_all_that_the_log_says() -> None:
    part = inputs().take(slice(1, 3))
    past = part.history.histories(("time", "weight", "event"))
    assert (part.row.tolist(), part.now.tolist()) == ([-1, 0], [45, 55])
    assert [past.items.row(row).tolist() for row in range(2)] == [[], [8, 9]]
    assert (past.time.tolist(), past.weight.tolist(), past.event.tolist()) == ([40, 50], [5, 6], [0, 1])
    assert (part.features.rows.row(1).tolist(), part.features.dense.tolist()) == ([0, 1], [[2], [3]])


def test_a_bag_adds_the_row_then_the_history_oldest_first_then_the_features() -> None:
    """2 users, the unknown at 2, items from 3, the empty history at 13, features from 14."""
    layout = UserLayout(2, 10, True, 9)
    joined = layout.join(inputs())
    assert [joined.rows.row(row).tolist() for row in range(3)] == [
        [1, 8, 9, 8, 10, 16],
        [2, 13],
        [0, 11, 12, 14, 15],
    ]
    assert joined.weight.tolist() == [1, 1, 2, 0, 4, 0.5, 1, 1, 1, 5, 6, 2, 3]
    assert joined.place.tolist() == [-1, 2, 1, 1, 0, -1, -1, -1, -1, 1, 0, -1, -1]
    assert joined.dense.tolist() == [[1], [2], [3]]
    assert layout.join(inputs(longest=1)).rows.row(0).tolist() == [1, 10, 16]
    assert set(layout._replace(ordered=False).join(inputs()).place) == {-1, 0}


def test_an_item_is_its_row_then_its_features() -> None:
    joined = ItemLayout(4).join(Inputs(np.array([3, -1, 0], np.int32), features=FEATURES))
    assert [joined.rows.row(row).tolist() for row in range(3)] == [[3, 7], [4], [0, 5, 6]]
    assert joined.weight.tolist() == [1, 0.5, 1, 1, 2, 3]
