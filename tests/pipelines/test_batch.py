"""Recommendations for everyone: the same as one by one, whole after a kill, and never mixed."""

import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from recsys.answers.question import Question
from recsys.answers.respond import respond
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.write import write
from recsys.encoders.encoder import SOURCES
from recsys.errors import BundleError, RequestError
from recsys.ids import IdMap
from recsys.pipelines.batch import STATE, command, recommend_all
from recsys.pipelines.cli import main
from recsys.progress import Step
from tests.helpers import bundles

USERS, K, PART = 230, 7, 50


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load(write(tmp_path_factory.mktemp("bundles"), bundles.content(n_users=USERS)))


def rows_of(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))])


def test_everyone_gets_what_a_single_request_gets(bundle: Bundle, tmp_path: Path) -> None:
    steps: list[Step] = []
    batch = recommend_all(bundle, K, tmp_path / "out", part_users=PART, progress=steps.append)
    assert (batch.users, batch.total, batch.parts) == (USERS, USERS, 5)
    assert batch.users_per_second > 0
    assert (steps[-1].done, steps[-1].total) == (USERS, USERS)
    by_user: dict[str, list[dict[str, object]]] = {}
    for row in rows_of(tmp_path / "out").to_pylist():
        by_user.setdefault(row["user_id"], []).append(row)
    assert list(by_user) == list(bundle.user_ids)
    for user, rows in by_user.items():
        single = respond(bundle, Question(user, k=K))
        assert [row["item_id"] for row in rows] == [item.item_id for item in single.items]
        assert [row["score"] for row in rows] == pytest.approx(
            [item.score for item in single.items], rel=1e-4
        )
        assert [row["rank"] for row in rows] == list(range(1, K + 1))
        assert {row["source"] for row in rows} == {single.source}
        assert {row["bundle_id"] for row in rows} == {bundle.bundle_id}


def test_short_rows_are_short_and_not_padded(bundle: Bundle, tmp_path: Path) -> None:
    recommend_all(bundle, 40, tmp_path / "out")
    table = rows_of(tmp_path / "out")
    assert table.num_rows == USERS * (39 - 6)  # 39 items have a vector, six of them are in each history
    assert set(table["source"].to_pylist()) <= set(SOURCES)


KILLED = """
import os, signal, sys
from pathlib import Path
from recsys.pipelines.batch import recommend_all
from recsys.bundle.bundle import load

def kill(step):
    if step.done >= 120:
        os.kill(os.getpid(), signal.SIGKILL)

recommend_all(load(Path(sys.argv[1])), 7, Path(sys.argv[2]), part_users=50, progress=kill)
"""


def test_killed_in_the_middle_it_goes_on_where_it_was(bundle: Bundle, tmp_path: Path) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = [sys.executable, "-c", KILLED, str(bundle.path), str(out)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    first = {path.name: path.stat().st_ino for path in out.glob("part-*.parquet")}
    assert sorted(first) == ["part-00000.parquet", "part-00001.parquet"]
    (out / "part-00002.parquet.partial").write_bytes(b"what a kill while writing leaves")
    batch = recommend_all(bundle, K, out)
    assert (batch.users, batch.parts) == (USERS - 2 * PART, 5)
    assert {name: (out / name).stat().st_ino for name in first} == first
    recommend_all(bundle, K, whole, part_users=PART)
    assert rows_of(out).equals(rows_of(whole))
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == [
        STATE,
        *(f"part-{number:05}.parquet" for number in range(5)),
    ]
    assert recommend_all(bundle, K, out).users == 0


def test_a_lost_part_is_made_again(bundle: Bundle, tmp_path: Path) -> None:
    recommend_all(bundle, K, tmp_path, part_users=PART)
    (tmp_path / "part-00003.parquet").unlink()
    assert recommend_all(bundle, K, tmp_path).users == PART
    assert rows_of(tmp_path).num_rows == USERS * K


def test_another_bundle_another_k_or_a_strange_folder_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    recommend_all(bundle, K, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(BundleError, match="holds recommendations of k 7, and this call asks for 8"):
        recommend_all(bundle, 8, out)
    other = load(write(tmp_path / "other", bundles.content(n_users=USERS, seed=2)))
    with pytest.raises(BundleError, match="holds recommendations of bundle_id"):
        recommend_all(other, K, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match=r"is not empty \(thesis.txt\)"):
        recommend_all(bundle, K, tmp_path / "mine")
    (out / STATE).write_text("{")
    with pytest.raises(BundleError, match="cannot be read as the state"):
        recommend_all(bundle, K, out)
    with pytest.raises(RequestError, match="k must be at least 1, got 0"):
        recommend_all(bundle, 0, tmp_path / "new")


def test_a_k_above_the_catalogue_gives_all_that_there_is(bundle: Bundle, tmp_path: Path) -> None:
    recommend_all(bundle, 40, tmp_path / "all")
    recommend_all(bundle, 1_000, tmp_path / "more")
    assert rows_of(tmp_path / "more").equals(rows_of(tmp_path / "all"))
    said = command(bundle.path, 1_000, tmp_path / "more", None, None, as_json=False)
    assert said["users"] == 0  # nothing is made again: it is the same question


def test_the_folder_is_read_as_a_table_by_whoever_reads_parquet(bundle: Bundle, tmp_path: Path) -> None:
    recommend_all(bundle, K, tmp_path, part_users=PART)
    read = pd.read_parquet(tmp_path)
    assert read["user_id"].tolist() == rows_of(tmp_path)["user_id"].to_pylist()


def test_a_folder_begun_under_the_old_name_of_its_state_goes_on(bundle: Bundle, tmp_path: Path) -> None:
    recommend_all(bundle, K, tmp_path, part_users=PART)
    (tmp_path / STATE).rename(tmp_path / "recommendations.json")
    (tmp_path / "part-00001.parquet").unlink()
    assert recommend_all(bundle, K, tmp_path).users == PART
    assert not (tmp_path / "recommendations.json").exists()
    assert recommend_all(bundle, K, tmp_path).users == 0


def test_a_domain_and_a_list_of_people_get_what_single_requests_get(bundle: Bundle, tmp_path: Path) -> None:
    people = np.array([3, 60, 61, 229])
    out = tmp_path / "out"
    batch = recommend_all(bundle, K, out, people=people, domain="books", part_users=3)
    assert (batch.users, batch.total, batch.parts) == (4, 4, 2)
    by_user: dict[str, list[str]] = {}
    for row in rows_of(out).to_pylist():
        by_user.setdefault(row["user_id"], []).append(row["item_id"])
    assert by_user == {
        bundle.user_ids[int(row)]: [
            item.item_id
            for item in respond(bundle, Question(bundle.user_ids[int(row)], k=K, domain="books")).items
        ]
        for row in people
    }
    assert all(int(item[1:]) % 2 for items in by_user.values() for item in items)
    assert recommend_all(bundle, K, out, people=people, domain="books").users == 0
    with pytest.raises(
        BundleError, match="holds recommendations of domain books, and this call asks for None"
    ):
        recommend_all(bundle, K, out, people=people)
    with pytest.raises(BundleError, match="holds recommendations of people"):
        recommend_all(bundle, K, out, people=people + np.array([1, 0, 0, 0]), domain="books")
    with pytest.raises(RequestError, match="'toys' is not in this bundle; its domains are: books, films"):
        recommend_all(bundle, K, tmp_path / "toys", domain="toys")


def test_people_are_named_in_a_file(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("user_id,segment\nu7,a\nstranger,b\nu2,a\nu7,a\n")
    (tmp_path / "none.txt").write_text("stranger\n")
    given = ["recommend", str(bundle.path), "--out", str(tmp_path / "out"), "--users"]
    said = CliRunner().invoke(main, [*given, str(tmp_path / "few.csv"), "-k", "3", "--domain", "films"])
    assert said.exit_code == 0, said.output
    assert "1 of 4 users are not in the bundle; the first is 'stranger'" in said.output
    assert rows_of(tmp_path / "out")["user_id"].to_pylist() == ["u2"] * 3 + ["u7"] * 3
    for words, message in (
        ([*given, str(tmp_path / "none.txt")], "none of the 1 users"),
        ([*given, str(tmp_path / "few.csv"), "--all-users"], "one of --all-users and --users"),
        ([*given, str(tmp_path / "few.csv"), "--user", "u1"], "neither --user nor --history"),
        (["recommend", str(bundle.path), "--all-users"], "need --out"),
    ):
        refused = CliRunner().invoke(main, words)
        assert refused.exit_code == 2
        assert message in refused.output


FULL = """
import sys
from pathlib import Path
from recsys.pipelines.batch import recommend_all
from recsys.errors import BundleError
from recsys.bundle.bundle import load
try:
    recommend_all(load(Path(sys.argv[1])), 39, Path(sys.argv[2]), part_users=200)
except BundleError as error:
    sys.exit(f"refused: {error}")
"""


def test_a_full_disk_is_one_sentence_and_the_rest_is_made_later(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = subprocess.run(
        [sys.executable, "-c", FULL, str(bundle.path), str(out)],
        cwd=Path(__file__).parents[2],
        env={**os.environ},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "refused:" in said.stderr
    assert "part-00000.parquet" in said.stderr
    assert not list(out.glob("part-*"))
    assert recommend_all(bundle, 39, out).users == USERS


def test_a_name_that_ends_in_csv_is_one_table_for_a_spreadsheet(bundle: Bundle, tmp_path: Path) -> None:
    root, sheet = bundle.path, tmp_path / "lists.csv"
    told = command(root, K, sheet, None, None, True)
    command(root, K, tmp_path / "folder", None, None, True)
    assert told["folder"] == str(sheet)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")) == [
        "folder",
        "lists.csv",
    ]
    assert sheet.read_bytes().startswith(b"\xef\xbb\xbf")  # Excel reads the letters of titles by it
    table, rows = pd.read_csv(sheet, dtype={"user_id": str, "item_id": str}), rows_of(tmp_path / "folder")
    assert list(table) == ["user_id", "rank", "item_id", "title", "score", "source"]
    for name in ("user_id", "rank", "item_id", "source"):
        assert table[name].tolist() == rows[name].to_pylist()
    titles = dict(zip(bundle.item_ids, bundle.catalogue.titles_of(range(len(bundle.item_ids))), strict=True))
    shown = [None if pd.isna(title) else title for title in table["title"]]
    assert shown == [titles[one] for one in table["item_id"]]
    (tmp_path / "old.csv").mkdir()
    with pytest.raises(RequestError, match="is a folder"):
        command(root, K, tmp_path / "old.csv", None, None, True)


def test_a_spreadsheet_runs_nothing(tmp_path: Path) -> None:
    content = bundles.content(n_users=3)
    hostile = ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "-7.5"]
    ids = [*hostile, *(f"i{number}" for number in range(len(content.item_ids) - len(hostile)))]
    folder = write(tmp_path / "bundles", replace(content, item_ids=IdMap.of(ids)))
    command(folder, len(ids), tmp_path / "lists.csv", None, None, True)
    shown = set(pd.read_csv(tmp_path / "lists.csv", dtype=str)["item_id"])
    assert {"'=1+1", "'@SUM(A1)", "'+cmd|' /C calc'!A0", "-7.5"} <= shown
    assert not {one for one in shown if one[0] in "=@"}
