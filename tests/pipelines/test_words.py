"""What commands print: tables that stay whole, sentences where there is no figure, and lists of ids as
typed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from recsys.bundle.catalogue import Catalogue
from recsys.bundle.write import publish
from recsys.evaluation.planted import attainable_gain
from recsys.evaluation.significance import compare, p_text
from recsys.evaluation.tables import against, plain_interval
from recsys.ids import IdMap
from recsys.pipelines.cli import main
from recsys.pipelines.demo import gain_said
from recsys.text import WIDEST, text_table
from tests.helpers.bundles import content

NASTY = ["a|b", "two\nlines\r\nof\ttext", "x" * 5_000, "\x1b[31mred\x1b[0m", "back\\|slash", "", "Amélie ☕"]


def cells(line: str) -> list[str]:
    """The cells of a Markdown row: cut at the bars that are not escaped."""
    marked = line.replace("\\|", "\0")
    return [cell.strip().replace("\0", "|") for cell in marked.strip("|").split("|")]


def test_a_table_stays_whole_whatever_its_cells_hold() -> None:
    lines = text_table(["title|s", "score"], [[title, "0.5"] for title in NASTY]).split("\n")
    assert len(lines) == len(NASTY) + 2
    assert {len(cells(line)) for line in lines} == {2}
    assert {len(line) for line in lines} == {len(lines[0])}
    assert all(line.isprintable() for line in lines)
    shown = [cells(line)[0] for line in lines[2:]]
    assert cells(lines[0])[0] == "title|s"
    assert shown[0] == "a|b"
    assert shown[1].split() == ["two", "lines", "of", "text"]
    assert shown[2] == "x" * (WIDEST - 1) + "…"
    assert shown[6] == "Amélie ☕"


def test_where_the_informed_ranker_is_no_better_there_is_a_sentence_and_no_figure() -> None:
    rng = np.random.default_rng(1)
    popularity = rng.random(500)
    for informed in (popularity, popularity - 0.1, popularity + rng.normal(0, 1, 500) - 0.05, np.zeros(500)):
        gain = attainable_gain(popularity, popularity, informed)
        assert np.isnan(gain).all()
        assert "none to measure, for here the informed ranker is no better than popularity" in gain_said(
            "als", "popularity", gain
        )
        assert json.loads(json.dumps(plain_interval(gain))) == {"mean": None, "low": None, "high": None}
    some = attainable_gain(popularity + 0.05, popularity, popularity + 0.1)
    assert gain_said("als", "popularity", some) == (
        "Attainable gain of als: 0.500 [0.500, 0.500] = (als - popularity) / (informed - popularity)"
    )


def test_a_chance_too_small_for_a_float_is_not_said_to_be_none() -> None:
    values = np.arange(4_000) / 4_000
    comparisons = compare(
        values + 1,
        {"flat": values, "near": values + 1 - np.random.default_rng(0).random(4_000) * 1e-2},
        warm=999,
    )
    assert comparisons["flat"].p_holm == 0.0
    assert "p < 1e-300: better" in against(comparisons["flat"])
    assert "p < 1e-300" in against(comparisons["near"])
    assert [p_text(p) for p in (1.0, 0.0312, 2e-173, 1e-310, 0.0)] == [
        "p = 1",
        "p = 0.031",
        "p = 2e-173",
        "p < 1e-300",
        "p < 1e-300",
    ]


@pytest.fixture(scope="module")
def odd_ids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose items have commas, quotes and blanks in their ids."""
    made = content(n_items=40)
    ids = [f"red, {item}" if item < 20 else f'the "{item}"' for item in range(40)]
    titles = pa.table({"title": [f"T|{item}\nx" for item in range(40)]})
    root = tmp_path_factory.mktemp("odd")
    publish(root, replace(made, item_ids=IdMap.of(ids), catalogue=Catalogue.of(titles)))
    return root


def why_and_unknown(root: Path, *history: str) -> tuple[str, str]:
    """The words of an answer to this history, and the ids that it does not know."""
    arguments = [word for one in history for word in ("--history", one)]
    said = CliRunner().invoke(main, ["recommend", str(root), *arguments, "-k", "3", "--json"])
    assert said.exit_code == 0, said.output
    reply = json.loads(said.stdout)
    return reply["why"], ", ".join(reply["ignored"])


@pytest.mark.parametrize(
    ("history", "events", "ignored"),
    [
        (['"red, 3"'], 1, ""),
        (['"red, 3","red, 5", "the ""27"""'], 3, ""),
        (['"red, 3"', '"red, 5"'], 2, ""),
        (["red, 3"], 0, "red, 3"),  # two ids, and none of them known
        (['"red, 3"', "a,b", ""], 1, "a, b"),
        ([" , ,"], 0, ""),
    ],
)
def test_histories_are_lists_of_ids_with_quotes_around_commas(
    odd_ids: Path, history: list[str], events: int, ignored: str
) -> None:
    why, unknown = why_and_unknown(odd_ids, *history)
    assert unknown == ignored
    assert ("a history of" in why) == (events > 0)
    if events:
        assert f"a history of {events} event" in why


def test_a_quote_that_is_never_closed_is_refused_in_one_sentence(odd_ids: Path) -> None:
    said = CliRunner().invoke(main, ["recommend", str(odd_ids), "--history", '"red, 3', "--history", 'x"'])
    assert said.exit_code == 2
    assert "--history '\"red, 3 x\"' is no list of ids" in said.output


def test_titles_with_bars_and_line_breaks_keep_the_answer_a_table(odd_ids: Path) -> None:
    said = CliRunner().invoke(main, ["recommend", str(odd_ids), "--user", "u1", "-k", "5"]).stdout
    table = [line for line in said.split("\n") if line.startswith("|")]
    assert len(table) == 7
    assert {len(cells(line)) for line in table} == {4}
