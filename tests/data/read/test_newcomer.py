"""What a newcomer stumbles over first: separators, names of columns, paths, and an extra that is not
installed."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from recsys.data.check.check import check
from recsys.data.read.load import find
from recsys.data.read.tables import dataset_of
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.errors import DataError
from recsys.pipelines.cli import main

COLUMNS = {"user_id": "visitor", "item_id": "article", "timestamp": "at"}
ROWS = [
    ["visitor", "article", "at"],
    ["Kundin Müller", "Öl, nativ", "2026-01-01T00:00:00+01:00"],
    ["007", "Käse; jung | alt", "2026-01-01T00:00:00+00:00"],
]


def table(separator: str, *, quoted_header: bool = False) -> str:
    lines = [separator.join(f'"{field}"' for field in row) for row in ROWS]
    return "\n".join(lines if quoted_header else [separator.join(ROWS[0]), *lines[1:]]) + "\n"


@pytest.mark.parametrize("quoted_header", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_header_tells_the_separator(
    tmp_path: Path, separator: str, packed: bool, quoted_header: bool
) -> None:
    text = ("\ufeff" + table(separator, quoted_header=quoted_header)).encode()
    path = tmp_path / ("clicks.csv.gz" if packed else "clicks.csv")
    path.write_bytes(gzip.compress(text) if packed else text)
    data = dataset_of(path, columns=COLUMNS)
    assert list(data.user_ids) == ["Kundin Müller", "007"]
    assert list(data.item_ids) == ["Öl, nativ", "Käse; jung | alt"]
    assert data.interactions.time.tolist() == [1_767_222_000, 1_767_225_600]  # type: ignore[union-attr]
    assert not check(path, COLUMNS, split=False).errors


def test_marks_inside_a_quoted_name_separate_nothing(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text('user_id,item_id,"a|b;c;d"\nu,i,x\n')
    assert list(dataset_of(path).item_ids) == ["i"]
    path.write_text("user_id,item_id,a;b\nu,i,x\n")
    assert list(dataset_of(path).item_ids) == ["i"]


def test_a_row_with_too_many_semicolons_is_found(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text("user_id;item_id\nu;i\nu;i;i\nv;i\n")
    (fault,) = [finding for finding in check(path).findings if finding.kind == "ragged_row"]
    assert fault.first_row == 2


def test_a_column_that_is_not_there_names_the_option(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text(table(";"))
    said = CliRunner().invoke(main, ["data", "check", str(path)])
    assert said.exit_code == 2
    assert "--user-col NAME" in said.output
    said = CliRunner().invoke(
        main, ["data", "check", str(path), "--user-col", "visitor", "--item-col", "artikel"]
    )
    assert "has no column 'artikel'" in said.output
    assert "--item-col NAME" in said.output


def test_a_misspelt_path_names_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "clicks.csv.gz").write_text("")
    with pytest.raises(DataError, match=r"Did you mean '.*/clicks\.csv\.gz'\?.* or mend the path"):
        find(str(tmp_path / "click.csv.gz"))


def test_a_log_without_times_names_the_option(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text(table(","))
    with pytest.raises(DataError, match="Name its column of times \\(--time-col\\)"):
        split(dataset_of(path, columns={"user_id": "visitor", "item_id": "article"}), SplitSettings(), seed=1)


def test_a_library_that_is_not_installed_is_one_sentence() -> None:
    script = (
        "import sys; sys.modules['scipy'] = None; from recsys.pipelines.cli import main; main(['models'])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert said.returncode == 2
    assert not said.stdout
    assert said.stderr.count("\n") == 1
    assert "scipy" in said.stderr
    assert "'recsys-embeddings[train]'" in said.stderr
