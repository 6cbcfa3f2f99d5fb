"""`recsys evaluate --candidates`: any system's lists by the path of our own, and files that break a rule."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from recsys.data.read.ranked_lists import read_ranked
from recsys.errors import DataError, SettingError
from recsys.evaluation.evaluate import users_of
from recsys.evaluation.metrics.item_facts import facts_of
from recsys.ids import IdMap
from recsys.models.popularity import fallback_order
from recsys.pipelines.cli import main
from recsys.pipelines.console import Steps
from recsys.pipelines.run.candidates import Judged, by_name, evaluate_candidates, judged_data, judged_table
from recsys.pipelines.run.measure import baselines, judge, recommender_for
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import RunSettings, load_settings
from recsys.testing.toys import random_log

QUIET = Steps(quiet=True)


@pytest.fixture
def settings(tmp_path: Path) -> RunSettings:
    """A log of 600 users with ids that look like numbers, and the settings to judge on it."""
    data = random_log(5, n_users=600, n_items=40, n=9_000)
    events = data.interactions
    frame = pd.DataFrame(
        {
            "visitor": [f"{user:03}" for user in events.user],
            "item_id": [f"{item:03}" for item in events.item],
            "timestamp": events.time,
        }
    )
    frame.to_csv(tmp_path / "clicks.csv", index=False)
    return load_settings(None, ["columns.user_id=visitor", "threads=1"], data=str(tmp_path / "clicks.csv"))


def lists_of(settings: RunSettings, row: str, k: int) -> pd.DataFrame:
    """The lists that one of our own rows gives the users to judge, as another system would write them."""
    run = prepare(settings, QUIET)
    holdout, train = run.holdout, run.holdout.train
    engine = recommender_for(run, baselines(run)[row])
    answer = engine.recommend(users_of(holdout), k)
    row_of, place = np.nonzero(answer.ids >= 0)
    return pd.DataFrame(
        {
            "user_id": [train.user_ids[int(user)] for user in holdout.user[row_of]],
            "item_id": [train.item_ids[int(item)] for item in answer.ids[row_of, place]],
            "rank": place + 1,
        }
    )


def judge_files(settings: RunSettings, *files: Path) -> Judged:
    return evaluate_candidates(prepare(settings, QUIET), by_name(files))


def test_our_own_lists_by_file_get_the_figures_that_they_get_inside(
    settings: RunSettings, tmp_path: Path
) -> None:
    """The same users, targets, rules and metrics: every figure equal, by rank and by score, in any order of
    rows."""
    frame = lists_of(settings, "popularity_30_days", 100)
    frame.to_parquet(tmp_path / "by_rank.parquet")
    shuffled = frame.sample(frac=1, random_state=1)
    shuffled.assign(score=-shuffled["rank"] / 7).drop(columns="rank").to_csv(
        tmp_path / "by_score.csv", index=False
    )
    result = judge_files(settings, tmp_path / "by_rank.parquet", tmp_path / "by_score.csv")
    inside = result.reports["popularity_30_days"]
    for name in ("by_rank", "by_score"):
        report = result.reports[name]
        assert report.system == inside.system
        assert set(report.values) == set(inside.values)
        for metric, values in inside.values.items():
            np.testing.assert_allclose(report.values[metric], values, rtol=1e-6)
        for segment, of in inside.segments.items():
            np.testing.assert_array_equal(report.segments[segment]["recall_at_20"], of["recall_at_20"])
        assert result.notes[name].users == len(report.source)
        assert result.notes[name].seen == 0
    same = result.comparisons["by_rank", "popularity_30_days"]
    assert (same.difference.mean, same.p_holm) == (0.0, 1.0)
    assert ("by_rank", "by_score") in result.comparisons
    assert len(result.comparisons) == 2 * 4 + 1


def test_what_is_odd_in_a_file_is_counted_and_told(settings: RunSettings, tmp_path: Path) -> None:
    holdout = prepare(settings, QUIET).holdout
    train = holdout.train
    ids = [train.user_ids[int(user)] for user in holdout.user]
    seen = [[train.item_ids[int(item)] for item in holdout.history.items.row(row)] for row in range(3)]
    targets = [[train.item_ids[int(item)] for item in holdout.targets.row(row)] for row in range(3)]
    assert all(seen)
    rows = [(ids[0], "alien", 1), (ids[0], targets[0][0], 2), (ids[0], seen[0][0], 3)]
    rows += [(ids[1], seen[1][0], 1), (ids[1], targets[1][0], 2)]
    rows += [("stranger", targets[0][0], 1), ("stranger", "alien", 2)]
    pd.DataFrame(rows, columns=["visitor", "item_id", "rank"]).to_parquet(tmp_path / "odd.parquet")
    result = judge_files(settings, tmp_path / "odd.parquet")
    notes, report = result.notes["odd"], result.reports["odd"]
    assert (notes.rows, notes.users, notes.without_list) == (7, 2, len(ids) - 2)
    assert (notes.seen, notes.short, notes.not_asked) == (2, 2, 0)
    assert (notes.unknown_users, notes.unknown_items) == (1, 1)
    # the alien keeps the first place; what the user had leaves the list and the next one moves up
    assert report.values["mrr_at_10"][:3].tolist() == [0.5, 1.0, 0.0]
    assert report.values["recall_at_10"][:2].tolist() == [1 / len(targets[0]), 1 / len(targets[1])]
    assert report.system["item_coverage_at_10"] == len({targets[0][0], targets[1][0]}) / 40
    assert all(c.verdict == "too few to compare" for c in result.comparisons.values())
    text = judged_table(result)
    assert "odd: 7 rows, 2 users judged; " in text
    assert "2 listed items that the user had before were left out (seen policy)" in text
    assert "1 users are not in the data" in text
    json.dumps(judged_data(result), allow_nan=False)


def test_with_repeats_allowed_nothing_leaves_a_list(settings: RunSettings, tmp_path: Path) -> None:
    own = ["columns.user_id=visitor", "threads=1", "seen=allow", "split.repeats=true"]
    again = load_settings(None, own, data=settings.data)
    lists_of(again, "own_history", 10).to_parquet(tmp_path / "mine.parquet")
    result = judge_files(again, tmp_path / "mine.parquet")
    assert result.notes["mine"].seen == 0
    assert "own_history" in result.reports
    mine, inside = result.reports["mine"], result.reports["own_history"]
    np.testing.assert_array_equal(mine.values["recall_at_10"], inside.values["recall_at_10"])


def test_a_worse_system_is_called_worse(settings: RunSettings, tmp_path: Path) -> None:
    """Items that nobody had, against lists that hold every target."""
    holdout = prepare(settings, QUIET).holdout
    train = holdout.train
    row = holdout.targets.row_of_value()
    named = [train.user_ids[int(user)] for user in holdout.user[row]]
    items = [train.item_ids[int(item)] for item in holdout.targets.values]
    place = np.arange(len(row)) - holdout.targets.offsets[row] + 1
    best = pd.DataFrame({"user_id": named, "item_id": items, "rank": place})
    best.to_parquet(tmp_path / "best.parquet")
    best.assign(
        item_id=[f"x{number}" if rank > 1 else items[number] for number, rank in enumerate(place)]
    ).to_csv(tmp_path / "half.csv", index=False)
    result = judge_files(settings, tmp_path / "best.parquet", tmp_path / "half.csv")
    assert result.reports["best"].interval("ndcg_at_10") == (1.0, 1.0, 1.0)
    assert result.comparisons["best", "half"].verdict == "better"
    assert result.comparisons["best", "popularity"].verdict == "better"


TWO: dict[str, Any] = {"user_id": ["u", "u"], "item_id": ["a", "b"]}
BAD: list[tuple[dict[str, Any], str]] = [
    (
        {"item_id": ["a"], "rank": [1]},
        "has no column 'user_id'; its columns are item_id, rank. Lists of another",
    ),
    ({"user_id": ["u"], "rank": [1]}, "has no column 'item_id'"),
    ({"user_id": ["u"], "item_id": ["a"]}, "has no column 'rank' or 'score'"),
    (
        {"user_id": ["u", "u", "v"], "item_id": ["a", "a", "a"], "rank": [1, 2, 1]},
        (
            "column 'item_id' of {path}: 1 of 3 rows have an item that the user's list has already, first "
            "row 2. Keep one"
        ),
    ),
    (
        {"user_id": ["u", "v", "u"], "item_id": ["a", "a", "b"], "rank": [1, 1, 1]},
        (
            "column 'rank' of {path}: 1 of 3 rows have a rank that the user's list has already, first row "
            "3. Give each"
        ),
    ),
    (TWO | {"rank": [1, 0.5]}, "1 of 2 rows have a rank that is no place in a list, first row 2"),
    (TWO | {"score": [None, 0.5]}, "1 of 2 rows have no finite score, first row 1"),
    (TWO | {"score": ["1", "x"]}, "column 'score' of {path} must hold numbers; it holds"),
    (
        {"user_id": ["u", None], "item_id": ["a", "b"], "rank": [1, 2]},
        "1 of 2 rows have an empty id, first row 2",
    ),
    (
        {"user_id": ["a", "b"], "item_id": ["u", "v"], "rank": [1, 2]},
        (
            "column 'user_id' of {path}: none of its 2 ids occurs in the data, whose ids look like 'u' and "
            "not like 'a'."
        ),
    ),
    (
        {"user_id": ["u"], "item_id": ["z"], "rank": [1]},
        "column 'item_id' of {path}: none of its 1 ids occurs in",
    ),
    ({"user_id": [], "item_id": [], "rank": []}, "has no rows; it must hold at least one user's list"),
]


@pytest.mark.parametrize(("columns", "said"), BAD, ids=[said[:30] for _, said in BAD])
def test_a_file_that_breaks_a_rule_is_refused(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    path = tmp_path / "lists.parquet"
    pd.DataFrame(columns).to_parquet(path)
    with pytest.raises(DataError) as caught:
        read_ranked(path, IdMap.of(["u", "v"]), IdMap.of(["a", "b", "c"]))
    assert said.format(path=path) in str(caught.value)


def test_equal_scores_go_to_the_lower_index_and_places_may_start_at_zero(tmp_path: Path) -> None:
    path = tmp_path / "lists.csv"
    path.write_text("user_id,item_id,score\nu,c,1\nu,z,1\nu,a,1\nu,b,2\n")
    users, items = IdMap.of(["u", "v"]), IdMap.of(["a", "b", "c"])
    ranked = read_ranked(path, users, items)
    assert ranked.lists.row(0).tolist() == [1, 0, 2, 3]
    assert ranked.lists.row(1).tolist() == []
    path.write_text("user_id,item_id,rank\nu,c,1\nu,a,0\n")
    assert read_ranked(path, users, items).lists.row(0).tolist() == [0, 2]


def test_lists_for_nobody_who_is_asked_are_refused(settings: RunSettings, tmp_path: Path) -> None:
    holdout = prepare(settings, QUIET).holdout
    data = holdout.train
    other = next(user for user in range(data.n_users) if user not in set(holdout.user.tolist()))
    pd.DataFrame({"user_id": [data.user_ids[other]], "item_id": ["000"], "rank": [1]}).to_parquet(
        tmp_path / "no.parquet"
    )
    with pytest.raises(DataError, match=r"no: none of the \d+ users to judge has a list"):
        judge_files(settings, tmp_path / "no.parquet")


def test_two_files_of_one_name_are_refused(settings: RunSettings, tmp_path: Path) -> None:
    for names in (["a.csv", "a.parquet"], ["popularity.csv"]):
        with pytest.raises(SettingError, match="two rows of the table would be called"):
            judge_files(settings, *(tmp_path / name for name in names))


def test_the_command_takes_files_and_settings_without_a_bundle(
    settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lists_of(settings, "popularity", 20).to_parquet(tmp_path / "theirs.parquet")
    (tmp_path / "mine.py").write_text("def length(lists):\n    return (lists.ids >= 0).sum(axis=1)\n")
    arguments = [
        f"data={settings.data}",
        "columns.user_id=visitor",
        'metrics=["recall_at_10", "mine:length"]',
    ]
    said = CliRunner().invoke(main, ["evaluate", "--candidates", "theirs.parquet", *arguments, "--json"])
    assert said.exit_code == 0, said.output
    report = json.loads(said.stdout.splitlines()[-1])
    assert set(report["rows"]) == {
        "popularity",
        "popularity_7_days",
        "popularity_30_days",
        "popularity_365_days",
        "theirs",
    }
    metrics = report["rows"]["theirs"]["metrics"]
    assert metrics == report["rows"]["popularity"]["metrics"]
    assert 5 < metrics["length"]["mean"] <= 10
    assert report["rows"]["theirs"]["segments"]["head"]["users"] > 0
    assert {row["second"] for row in report["comparisons"]} == set(report["rows"]) - {"theirs"}
    nothing = CliRunner().invoke(main, ["evaluate", *arguments])
    assert nothing.exit_code == 2
    assert "evaluate needs a BUNDLE or --candidates FILE" in nothing.stderr


def test_the_report_of_lists_is_that_of_the_judge(settings: RunSettings, tmp_path: Path) -> None:
    """Nothing but the file decides: a half-long file is the same system cut short."""
    lists_of(settings, "popularity", 5).to_parquet(tmp_path / "five.parquet")
    narrow = settings.model_copy(update={"metrics": ("recall_at_5", "ndcg_at_3", "novelty_at_5")})
    run = prepare(narrow, QUIET)
    engine = recommender_for(run, baselines(run)["popularity"])
    report = judge(run, engine, facts_of(run.holdout.train), lambda step: None)
    result = judge_files(narrow, tmp_path / "five.parquet")
    for metric, values in report.values.items():
        np.testing.assert_allclose(result.reports["five"].values[metric], values)
    assert result.notes["five"].short == 0


@pytest.mark.slow
def test_a_bundle_stands_beside_the_lists_with_the_figures_of_its_run(
    settings: RunSettings, tmp_path: Path
) -> None:
    """Asked by data in another numbering (other order of events, an item more), the bundle answers the
    same."""
    from recsys.bundle.bundle import load
    from recsys.bundle.catalogue import Catalogue
    from recsys.bundle.content import Content
    from recsys.bundle.root import current
    from recsys.bundle.write import publish
    from recsys.models.popularity import Popularity

    holdout = prepare(settings, QUIET).holdout
    train = holdout.train
    content = Content(
        name="popularity",
        embeddings=Popularity().fit(train, seed=1),
        user_ids=train.user_ids,
        item_ids=train.item_ids,
        catalogue=Catalogue.of(train.items),
        histories=train.interactions.histories(),
        fallback=fallback_order(train.interactions, 30),
        fallback_days=30,
        seen="exclude",
        lineage={"settings": settings.model_dump(mode="json"), "train": dict(train.interactions.summary())},
    )
    bundle = load(current(publish(tmp_path / "bundles", content).parent))
    shuffled = pd.read_csv(settings.data, dtype=str).sample(frac=1, random_state=3)
    shuffled.to_csv(tmp_path / "shuffled.csv", index=False)
    other = settings.model_copy(update={"data": str(tmp_path / "shuffled.csv")})
    lists_of(other, "popularity", 100).to_parquet(tmp_path / "theirs.parquet")
    theirs = {"theirs": tmp_path / "theirs.parquet"}
    result = evaluate_candidates(prepare(other, QUIET), theirs, bundle)
    assert prepare(other, QUIET).holdout.train.item_ids[0] != train.item_ids[0]
    assert result.reports["bundle"].sources() == result.reports["popularity"].sources()
    np.testing.assert_allclose(
        result.reports["bundle"].interval("hit_rate_at_20"),
        result.reports["popularity"].interval("hit_rate_at_20"),
        atol=0.02,
    )
    assert result.comparisons["theirs", "bundle"].p_holm > 0.05
    late = other.model_copy(update={"judge": "validation"})
    with pytest.raises(DataError, match="has seen the answers"):
        evaluate_candidates(prepare(late, QUIET), theirs, bundle)
    json.dumps(judged_data(result), allow_nan=False)


def test_lists_of_today_that_leave_out_what_is_asked_are_named_with_the_moment(
    settings: RunSettings, tmp_path: Path
) -> None:
    """Popular items without all that people had up to now: zero hits, which say nothing of the system."""
    holdout = prepare(settings, QUIET).holdout
    train = holdout.train
    had = [
        {*holdout.history.items.row(row).tolist(), *holdout.targets.row(row).tolist()}
        for row in range(len(holdout.user))
    ]
    order = np.argsort(-train.interactions.item_counts(), kind="stable")
    rows = [
        (train.user_ids[int(user)], train.item_ids[int(item)], rank)
        for user, out in zip(holdout.user, had, strict=True)
        for rank, item in enumerate([item for item in order if item not in out][:10], 1)
    ]
    pd.DataFrame(rows, columns=["user_id", "item_id", "rank"]).to_parquet(tmp_path / "today.parquet")
    lists_of(settings, "popularity", 10).to_parquet(tmp_path / "then.parquet")
    arguments = [
        "evaluate",
        f"data={settings.data}",
        "--user-col",
        "visitor",
        'metrics=["recall_at_10"]',
        "--json",
    ]
    files = [f"--candidates={tmp_path / name}.parquet" for name in ("today", "then")]
    said = CliRunner().invoke(main, [*arguments, *files])
    assert said.exit_code == 1, said.output
    report = json.loads(said.stdout.splitlines()[-1])
    assert set(report["impossible"]) == {"today"}
    assert report["impossible"]["today"]["hit"] == 0
    assert report["moment_s"] == holdout.now
    assert pd.Timestamp(report["moment"]) == pd.Timestamp(holdout.now, unit="s", tz="UTC")
    assert f"asked at {report['moment']}" in report["title"]
    shown = CliRunner().invoke(main, [*arguments[:-1], files[0]])
    assert f"today is impossible to judge: 0 of {len(had):,} people" in shown.stdout
    assert f"Learn from events before {report['moment']} (second {holdout.now}) alone" in shown.stdout
    honest = CliRunner().invoke(main, [*arguments, files[1]])
    assert honest.exit_code == 0
    assert json.loads(honest.stdout.splitlines()[-1])["impossible"] == {}


def test_the_table_prints_every_metric_that_was_asked_for(settings: RunSettings, tmp_path: Path) -> None:
    lists_of(settings, "popularity", 20).to_parquet(tmp_path / "theirs.parquet")
    asked = ("recall_at_20", "recall_at_5", "mrr_at_3", "hit_rate_at_7", "novelty_at_5", "gini_at_5")
    result = judge_files(settings.model_copy(update={"metrics": asked}), tmp_path / "theirs.parquet")
    text = judged_table(result)
    (header,) = [line for line in text.splitlines() if line.startswith("| model") and "recall" in line]
    assert [cell.strip() for cell in header.split("|")[2:-1]] == list(asked[:4])
    (lists,) = [line for line in text.splitlines() if line.startswith("| model") and "novelty" in line]
    assert [cell.strip() for cell in lists.split("|")[2:-1]] == list(asked[4:])
    assert set(judged_data(result)["rows"]["theirs"]["segments"]["warm"]) == {"users", *asked[:4]}
