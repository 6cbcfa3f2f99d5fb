"""`check` reads what a run reads: the tables of items and users, what the split refuses; and a run says the
same."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from recsys.data.check.check import Checked, check
from recsys.data.read.load import load_dataset
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.errors import DataError
from recsys.pipelines.cli import main

START = 1_700_000_000
FEATURE = 'model={name="two_tower",item_features=[{column="price",kind="number"}]}'


def events(n: int = 300) -> dict[str, Any]:
    random = np.random.default_rng(1)
    users, items = random.integers(0, 30, n), random.integers(0, 20, n)
    return {
        "user_id": [f"u{k}" for k in users],
        "item_id": [f"i{k}" for k in items],
        "timestamp": (START + np.sort(random.integers(0, 10**6, n))).tolist(),
    }


def make_columns(who: str, n: int, **columns: Any) -> dict[str, Any]:
    return {f"{who}_id": [f"{who[0]}{k}" for k in range(n)], "price": [str(k) for k in range(n)], **columns}


def shop(path: Path, parts: bool = False, **tables: dict[str, Any]) -> Path:
    """A folder of CSV files; the items in two parts where that is asked for."""
    for name, columns in {"events": events(), **tables}.items():
        table = pa.table(columns)
        halves = (
            {f"{name}/a": table[:10], f"{name}/b": table[10:]}
            if parts and name != "events"
            else {name: table}
        )
        for file, half in halves.items():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            pa.csv.write_csv(half, path / f"{file}.csv")
    return path


def sentences_of(checked: Checked) -> dict[str, str]:
    return {finding.kind: finding.sentence(checked.where) for finding in checked.findings}


def refusal(path: Path) -> str:
    """What a run says of a folder."""
    with pytest.raises(DataError) as refused:
        split(load_dataset(str(path)), SplitSettings(), seed=1)
    return str(refused.value)


@pytest.mark.parametrize(("who", "n"), [("item", 20), ("user", 30)])
@pytest.mark.parametrize(
    ("kind", "words"),
    [("described_twice", "'{}3', first row {}"), ("missing_id", "an empty id, first row {1}")],
)
def test_a_row_of_another_table_is_named_in_its_file(
    who: str, n: int, kind: str, words: str, tmp_path: Path
) -> None:
    columns = make_columns(who, n)
    columns[f"{who}_id"][15] = f"{who[0]}3" if kind == "described_twice" else ""
    path = shop(tmp_path / "d", **{f"{who}s": columns})
    sentence = sentences_of(check(str(path)))[kind]
    assert f"column '{who}_id' of {path}/{who}s.csv: 1 of {n} rows" in sentence
    assert words.format(who[0], 16) in sentence
    assert refusal(path) == sentence
    path = shop(tmp_path / "parts", parts=True, **{f"{who}s": columns})
    sentence = sentences_of(check(str(path)))[kind]
    assert f"first row 6 of {path}/{who}s/b.csv" in sentence
    assert refusal(path) == sentence


def test_a_table_without_ids_names_its_columns(tmp_path: Path) -> None:
    path = shop(tmp_path / "d", users={"visitor": ["u1"], "age": [1]})
    assert (
        f"{path}/users.csv is no table of users: it has no column 'user_id'"
        in sentences_of(check(str(path)))["user_table"]
    )
    assert "visitor, age" in sentences_of(check(str(path)))["user_table"]


def test_a_column_that_no_bundle_can_hold_is_said_as_a_run_says_it(tmp_path: Path) -> None:
    path = shop(tmp_path / "d")
    parquet.write_table(pa.table(make_columns("item", 20, title=[["a"]] * 20)), path / "items.parquet")
    assert sentences_of(check(str(path)))["refused"] == refusal(path)
    assert f"'title' of {path}/items.parquet" in refusal(path)


def test_the_tables_of_the_options_come_before_those_of_the_folder(tmp_path: Path) -> None:
    path = shop(tmp_path / "d", items=make_columns("item", 20), users=make_columns("user", 30))
    other = shop(tmp_path / "o", items=make_columns("item", 19), users=make_columns("user", 29))
    assert sentences_of(check(str(path))) == {}
    findings = sentences_of(check(str(path), items=other / "items.csv", users=other / "users.csv"))
    assert set(findings) == {"undescribed_item", "undescribed_user"}
    call = CliRunner().invoke(main, ["data", "check", str(path), "--users", str(other / "users.csv")])
    assert "1 of 30 users are not in the user table" in call.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user_id": ["u"] * 300}, "events of one user alone"),
        ({"item_id": ["i"] * 300}, "events of one item alone"),
        ({"timestamp": [START] * 300}, "too small or too short in time"),
        ({"user_id": ["u", "v"] * 150, "item_id": ["i", "j"] * 150}, "anything to be asked for that is new"),
        ({"timestamp": None}, "neither timestamps nor a published split"),
        ({"timestamp": None, "split": ["train"] * 300}, "needs events to train on and to judge on"),
        ({"timestamp": None, "pos": ["first"] * 300, "split": ["train", "test"] * 150}, "'pos'"),
    ],
)
def test_what_a_run_refuses_though_each_row_is_right(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    columns = {name: values for name, values in {**events(), **change}.items() if values is not None}
    path = shop(tmp_path / "d", events=columns)
    call = CliRunner().invoke(main, ["data", "check", str(path)])
    assert (call.exit_code, words in call.stdout) == (1, True)
    data = CliRunner().invoke(
        main, ["data", "check", str(path), "seed=1"]
    )  # by settings: as in a run, step by step
    assert (data.exit_code, words in data.stdout) == (1, True)


def test_the_settings_of_a_run_tell_what_it_refuses(tmp_path: Path) -> None:
    columns = {name: values for name, values in events().items() if name != "timestamp"}
    path = shop(tmp_path / "d", events=columns | {"weight": [1.0] * 300}, items=make_columns("item", 20))

    def call(*settings: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["data", "check", str(path), *settings])
        return done.exit_code, done.output

    assert call("split.kind=leave_last_out")[0] == 0
    assert "min_rating = 3" in call("split.kind=leave_last_out", "prepare.min_rating=3")[1]
    assert call("split.kind=leave_last_out", FEATURE)[0] == 0
    shop(
        path,
        events=columns,
        items=make_columns("item", 20, price=[*map(str, range(15)), "—", *map(str, range(4))]),
    )
    code, text = call("split.kind=leave_last_out", FEATURE)
    assert (code, f"row 16 of {path}/items.csv (item 'i15') holds '—'" in text) == (1, True)
    nested = f'model={{name="mixture",weights=[1],parts=[{FEATURE[6:]}]}}'
    assert call("split.kind=leave_last_out", nested)[0] == 1
    assert call("split.kind=leave_last_out", "--model", "als")[0] == 0


def test_a_check_takes_no_training_library(tmp_path: Path) -> None:
    path = shop(tmp_path / "d", items=make_columns("item", 20), users=make_columns("user", 30))
    script = f"""
import sys
LIBRARIES = "torch pandas mlflow numba scipy sklearn rich optuna onnx matplotlib sqlalchemy".split()
LIBRARIES.append("threadpoolctl")
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in LIBRARIES:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from recsys.pipelines.cli import main
main(["data", "check", {str(path)!r}, "--user-col", "user_id"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing to report" in done.stdout
