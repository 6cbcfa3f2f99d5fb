"""Histories: one type for what people did, whose columns are spelled in its module and nowhere else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recsys.arrays import Ragged
from recsys.history import DTYPES, Histories, merged

ROOT = Path(__file__).parents[1]
NAMES = set(DTYPES)


def three() -> Histories:
    items = Ragged.of([[4, 5], [], [6]])
    return Histories(
        items, time=np.array([1, 2, 3]), weight=np.float32([0, 2, 3]), event=np.array([0, 1, -1], np.int8)
    )


def test_rows_and_events_are_taken_with_all_that_stands_beside_them() -> None:
    taken = three().take(np.array([2, 0]))
    assert (taken.items.row(0).tolist(), taken.items.row(1).tolist()) == ([6], [4, 5])
    assert {name: column.tolist() for name, column in taken.columns().items()} == {
        "time": [3, 1, 2],
        "weight": [3, 0, 2],
        "event": [-1, 0, 1],
    }
    kept = three().keep(three().learnable(n_items=6))  # without the one of weight 0, and without item 6
    assert (kept.rows, kept.items.values.tolist(), kept.columns()["time"].tolist()) == (3, [5], [2])
    nobody = three().empty(2)
    assert (nobody.rows, len(nobody), set(nobody.columns())) == (2, 0, NAMES)


def test_a_column_of_another_length_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="histories of 3 events have 2 values of weight"):
        Histories(three().items, weight=np.ones(2, np.float32))


def test_merging_keeps_the_columns_of_what_is_stored_and_brought_weights() -> None:
    plain = Histories(Ragged.of([[4]]))
    brought = Histories(
        Ragged.of([[5]]), time=np.array([9]), weight=np.float32([2]), event=np.array([1], np.int8)
    )
    both = merged(plain, brought)
    assert both.items.values.tolist() == [4, 5]
    assert {name: column.tolist() for name, column in both.columns().items()} == {"weight": [1, 2]}


def spelling_lines(tree: ast.Module) -> Iterator[int]:
    """The lines at which two or more columns of a history are declared, handed on one by one, or listed."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ClassDef):
            names = [ast.unparse(one.target) for one in node.body if isinstance(one, ast.AnnAssign)]
        elif isinstance(node, ast.FunctionDef):
            names = [one.arg for one in (*node.args.args, *node.args.kwonlyargs)]
        elif isinstance(node, ast.Call) and makes_an_object(node):
            values = [*node.args, *(one.value for one in node.keywords)]
            names = [at.attr for value in values for at in ast.walk(value) if isinstance(at, ast.Attribute)]
        elif isinstance(node, ast.Tuple | ast.List):
            names = [one.attr for one in node.elts if isinstance(one, ast.Attribute)]
            names += [str(one.value) for one in node.elts if isinstance(one, ast.Constant)]
        of_a_file = {"timestamp", "unit"} & set(
            names
        )  # the columns of a table of events have names of their own
        apart = {f"history_{name}" for name in NAMES}
        if (len(set(names) & NAMES) > 1 and not of_a_file) or apart & set(names):
            yield node.lineno


def makes_an_object(call: ast.Call) -> bool:
    """Whether a call is of a class, by the spelling of its name, or of `replace`."""
    name = ast.unparse(call.func).split(".")[-1]
    return name[:1].isupper() or name == "replace"


def test_nobody_but_the_module_of_histories_spells_their_columns() -> None:
    places = []
    for path in (*ROOT.glob("recsys/**/*.py"), *ROOT.glob("pipelines/**/*.py"), *ROOT.glob("serving/*.py")):
        if path != ROOT / "recsys" / "history.py":
            places += [
                f"{path.relative_to(ROOT)}:{line}" for line in spelling_lines(ast.parse(path.read_text()))
            ]
    assert not places


@pytest.mark.parametrize(
    "code",
    [
        "class Users:\n    time: int\n    weight: float",
        "def fit(time, weight): ...",
        "Users(index, past.time, past.weight)",
        "Users(index, time=past.time, event=None if past.event is None else past.event[rows])",
        "columns = ('time', 'weight')",
        "columns = [past.time, past.event]",
        "def fit(history_time): ...",
    ],
)
def test_each_way_of_spelling_them_is_noticed(code: str) -> None:
    assert list(spelling_lines(ast.parse(code)))
