"""The search for the best: what it tries, what it keeps, and what it takes, on logs whose answer is known."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recsys.bundle.bundle import load
from recsys.data.dataset import TEST, TRAIN, Published
from recsys.errors import SettingError
from recsys.models.registry import make_model, space_of
from recsys.pipelines.best import mixing, race
from recsys.pipelines.best.best import width_limit
from recsys.pipelines.best.choice import CLUMPS, DRAWN, choose_model, parts_of, seconds_to_keep
from recsys.pipelines.best.facts import Facts, facts_of
from recsys.pipelines.best.ledger import LINES, Ledger, Tried, key_of, open_ledger
from recsys.pipelines.best.mixing import learned_before, mix_spaces, spaces_to_mix
from recsys.pipelines.best.page import _both_parts, _short_of_time
from recsys.pipelines.best.portfolio import Entry, plan, portfolio, space_for
from recsys.pipelines.best.race import refine_best, screen_portfolio
from recsys.pipelines.best.result import Asked
from recsys.pipelines.best.steps import _CLEARLY, Step, worse_last
from recsys.pipelines.best.trials import Trials
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import ask, read
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.run.train import train
from tests.helpers.command_line import answer, recsys

pytestmark = pytest.mark.filterwarnings("ignore:::(mlflow|sqlalchemy|alembic|optuna).*")
WORLD = ["world.users=500", "world.items=150", "metrics=['ndcg_at_10']", "baselines_days=[]"]
WORDS = {"item2vec", "glove", "fasttext", "node2vec", "lightgcn", "youtube_dnn"}
FACTS = Facts(1_000, 500, 20_000, True, True, 0.0, False, 1, 1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def make_tried(
    model: dict[str, Any], mean: float, part: str = "", vectors: bool = True, label: str = ""
) -> Tried:
    key, label = key_of(model, 1.0, part), label or model["name"]
    return Tried(key, label, model, 1.0, "portfolio", mean, 0.01, 1.0, 1.0, vectors, part=part)


def world_run(*changes: str) -> Run:
    settings = load_settings(None, [*WORLD, *changes])
    steps = Steps(quiet=True)
    read_world, data = read(settings, steps)
    return ask(parts_of(settings, data)[0], steps, read_world, data)


def test_only_values_that_items_share_are_parts_of_an_id() -> None:
    brand, price = {"column": "brand", "kind": "category"}, {"column": "price", "kind": "number"}
    for columns, parts in (((brand, price), [brand]), ((price,), None)):
        facts = replace(FACTS, times=True, ordered=True, item_features=columns)
        models = [dict(entry.model) for entry in portfolio(facts, None) if entry.family == "fasttext"]
        assert [model["item_features"] for model in models] == ([parts] if parts else [])


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("max_dim", [None, 3, 40])
@pytest.mark.parametrize("items", [500, 20_000])
def test_whatever_a_log_is_like_the_portfolio_can_be_learned_from_it(
    ordered: bool, described: bool, max_dim: int | None, items: int
) -> None:
    columns = ({"column": "brand", "kind": "category"},) if described else ()
    facts = replace(FACTS, items=items, times=ordered, ordered=ordered, item_features=columns, repeats=0.3)
    entries = portfolio(facts, max_dim)
    assert len({entry.label for entry in entries}) == len(entries)
    for entry in entries:
        own = {key: value for key, value in entry.model.items() if key != "name"}
        settings = make_model(entry.family, own).settings.model_dump()
        assert max_dim is None or settings.get("dim", 0) <= max_dim
        assert ordered or (settings.get("half_life") or 1e9) == 1e9
        assert ordered or entry.family not in ("sequence", "cooccurrence", "cooccurrence_svd")
        space = space_for(entry.family, facts, max_dim)
        assert ordered or not {"half_life", "trend_days"} & set(space)
        for field in space:
            assert field in settings
    assert described == any("item_features" in entry.model for entry in entries)
    words = {"node2vec", "lightgcn"} | ({"item2vec", "glove", "youtube_dnn"} if ordered else set())
    words |= {"fasttext"} if ordered and described else set()
    assert {entry.family for entry in entries} & WORDS == words
    assert len(plan(facts, max_dim, 5.0)) > len(entries)


def test_a_model_is_learned_once_and_a_killed_search_goes_on(home: Path) -> None:
    run = world_run()
    with open_ledger(home / "s", 60) as ledger:
        trials = Trials(run, "ndcg_at_10", ledger)
        first = trials.try_model("als", {"name": "als", "dim": 8}, "portfolio")
        small = trials.try_model("als", {"name": "als", "dim": 8}, "portfolio", share=0.5)
        failed = trials.try_model("wrong", {"name": "als", "dim": 0}, "portfolio")
    assert first.mean > 0
    assert first.vectors
    assert small.key != first.key
    assert failed.reason is not None
    assert "dim" in failed.reason
    with (home / "s" / LINES).open("a") as file:
        file.write('{"key": "torn')  # a kill within a line
    with open_ledger(home / "s", 60) as again:
        assert set(again.tried) == {first.key, small.key, failed.key}
        assert again.spent >= max(one.at for one in again.tried.values()) > 0
        trials = Trials(run, "ndcg_at_10", again)
        assert trials.try_model("als", {"name": "als", "dim": 8}, "portfolio") == first
        np.testing.assert_allclose(np.nanmean(again.values(first)), first.mean, rtol=1e-5)
        kept = again.load_learned(first)
        assert kept is not None
        np.testing.assert_allclose(trials.judge.values(kept), again.values(first), atol=1e-6)
        trials.try_model("als, 4", {"name": "als", "dim": 4}, "portfolio")
    with open_ledger(home / "s", 60) as last:
        assert len(last.tried) == 4  # the torn line is passed over, the next one stands by itself
        with pytest.raises(SettingError, match="another process"), open_ledger(home / "s", 60):
            pass
        last.forget_vectors({first.key})
        assert last.load_learned(first) is not None
        assert sum(path.is_dir() for path in (home / "s").iterdir()) == 1
    with open_ledger(home / "s", 60, anew=True) as new:
        assert not new.tried


def test_a_sample_of_the_people_learns_and_is_asked(home: Path) -> None:
    run = world_run()
    with open_ledger(home / "s", 60) as ledger:
        part = Trials(run, "ndcg_at_10", ledger)._sample(0.2).run.holdout
    whole = run.holdout
    counts = part.train.interactions.user_counts()
    people = np.flatnonzero(counts)
    assert set(part.user[part.known]) <= set(people)
    assert len(part.user) >= min(200, len(whole.user))
    np.testing.assert_array_equal(counts[people], whole.train.interactions.user_counts()[people])


def test_what_would_take_too_long_is_given_up_after_an_epoch(home: Path) -> None:
    run = world_run()
    slow = {"name": "softmax", "dim": 8, "epochs": 5_000}
    with open_ledger(home / "s", 600) as ledger:
        trials = Trials(run, "ndcg_at_10", ledger)
        one = trials.try_model("slow", slow, "portfolio", within_s=0.5)
        assert one.reason is not None
        assert "would take" in one.reason
        assert one.seconds < 60
        assert trials.find_earlier(slow) is None  # with more time it may be tried


def test_what_would_take_too_long_is_learned_in_the_epochs_that_fit(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = {"name": "tests.helpers.tuned:Peak", "x": 4.0, "epochs": 500, "slow": 0.05}
    monkeypatch.setattr(race, "portfolio", lambda facts, max_dim: [Entry("peak", slow, "")])
    monkeypatch.setattr(race, "space_for", lambda family, facts, max_dim: space_of(family))
    run = world_run()
    with open_ledger(home / "s", 600) as ledger:
        trials = Trials(run, "ndcg_at_10", ledger)
        passed = screen_portfolio(trials, facts_of(run), None, lambda: 10)
        (one,) = trials.spaces()
        epochs = one.model["epochs"]
        assert 3 <= epochs < 100  # .4 of 10 s, at .05 s and more an epoch
        assert one.label == f"peak, with epochs {epochs}"
        assert passed == [race.Passed("peak", f"there was time for {epochs} epochs", "epochs")]
        step = race._label(trials, one, dict(one.model) | {"x": 3.0})
        assert step == f"peak, with x 3, epochs {epochs}"


@pytest.mark.parametrize(
    ("ahead", "turn"),
    [
        ("cooccurrence", ["als", "cooccurrence_svd", "sequence", "softmax", "item2vec"]),
        ("als", ["als", "cooccurrence_svd", "softmax", "sequence", "item2vec"]),
    ],
)
def test_sequences_come_before_what_learns_for_long_where_order_tells(
    home: Path, ahead: str, turn: list[str]
) -> None:
    names = ("als", "cooccurrence_svd", "softmax", "sequence", "item2vec")
    entries = [Entry(name, {"name": name}, "") for name in names]
    with open_ledger(home / "s", 60) as ledger:
        trials = Trials(world_run(), "ndcg_at_10", ledger)
        for name, mean in ((ahead, 0.2), ("item_knn", 0.1)):
            model = {"name": name}
            ledger.add(Tried(name, name, model, 1.0, race.SCREEN, mean, 0.01, 1.0, 1.0, True))
        assert [entry.family for entry in race._in_turn(trials, entries)] == turn
        first = 0.85 if ahead == "cooccurrence" else 0.4
        assert [race._dear(trials, entry) for entry in entries[2:4]] == [0.4, first]
        assert race.portfolio_share(trials) == (0.75 if ahead == "cooccurrence" else 0.5)
        ledger.add(Tried("s", "s", {"name": "sequence"}, 1.0, race.SCREEN, 0.1, 0.01, 1.0, 1.0, True))
        assert race._dear(trials, entries[3]) == 0.4


@pytest.mark.parametrize(
    ("left", "narrower", "said", "lacked"),
    [
        (300, 0.1, "would take 160 s, and 300 s were left for the portfolio", "all"),
        (0, 0.1, "the time for the portfolio was over", "all"),
        (500, 0.1, None, "all"),
        (500, 0.07, "0.0700 where narrower, 0.1000 the best", ""),
        (500, 0.08, None, "all"),
    ],
)
def test_what_nothing_ends_on_the_way_is_not_begun_where_narrower_ones_say_that_it_is_not_worth_it(
    tmp_path: Path, left: float, narrower: float, said: str | None, lacked: str
) -> None:
    begun, passed = list[str](), list[race.Passed]()

    class Trying(Judged):
        def try_model(self, label: str, model: Any, *_: Any, **__: Any) -> Tried:
            begun.append(label)
            return replace(make_tried(model, np.nan, label=label), reason="would take 9 s")

    ledger = Ledger(tmp_path, 1e9)
    narrow = replace(make_tried({"name": "spectral", "dim": 64}, narrower), seconds=10.0, at=0.0)
    for one in (narrow, replace(make_tried({"name": "ease"}, 0.1), at=0.0)):
        ledger.add(one, np.full(3, one.mean))
    wide = Entry("wide", {"name": "spectral", "dim": 1024}, "")
    epochs = Entry("als", {"name": "als", "dim": 1024}, "")  # what has epochs is given up on the way
    trials: Any = Trying(ledger)
    race._learn_all(trials, [wide, epochs], lambda: ledger.spent + left, passed)
    assert begun == ["wide"] * (said is None) + ["als"] * (left > 0)
    given_up = f"would take 9 s, and {left} s were left for the portfolio"
    assert passed[0] == race.Passed("wide", said or given_up, lacked)
    late = "the time for the portfolio was over"
    assert passed[1] == race.Passed("als", given_up if left else late, "all")


@pytest.mark.parametrize("very_long", [False, True])
def test_what_is_quick_is_tried_on_everybody_and_the_better_half_of_the_rest_on_a_sample_first(
    home: Path, monkeypatch: pytest.MonkeyPatch, very_long: bool
) -> None:
    learning = [
        Entry(f"softmax {epochs}", {"name": "softmax", "dim": 8, "epochs": epochs}, "") for epochs in (8, 6)
    ]
    run = world_run()
    facts = facts_of(run)
    entries = [Entry("als", {"name": "als", "dim": 8}, ""), *learning]
    monkeypatch.setattr(race, "portfolio", lambda facts, max_dim: entries)
    monkeypatch.setattr(race, "_SAMPLED", facts.events // 2)
    monkeypatch.setattr(race, "_WHOLE", 0)
    monkeypatch.setattr(race, "_QUICK_WHOLE", 0 if very_long else facts.events)
    with open_ledger(home / "s", 600) as ledger:
        passed = screen_portfolio(Trials(run, "ndcg_at_10", ledger), facts, None, lambda: 500)
        sampled = {one.label for one in ledger.tried.values() if one.share < 1}
        whole = {one.label for one in ledger.tried.values() if one.share == 1}
    both = {entry.label for entry in learning}
    assert sampled == (both | {"als"} if very_long else both)
    assert "als" in whole
    assert whole & both
    assert {one.label for one in passed} == both - whole
    assert all("on the sample" in one.reason for one in passed)
    assert very_long or len(passed) == 1


@pytest.mark.parametrize(
    ("ordered", "events", "turn"),
    [
        (True, 20_000, ["sequence", "sequence 2", "wide", "softmax"]),
        (False, 20_000, ["wide", "softmax", "sequence", "sequence 2"]),
        (True, 1_000_000, ["sequence", "wide", "softmax, some", "sequence 2, some", "sequence 2", "softmax"]),
        (
            False,
            1_000_000,
            ["wide", "softmax, some", "sequence, some", "sequence 2, some", "softmax", "sequence"],
        ),
    ],
)
def test_where_order_tells_a_model_of_sequences_comes_before_what_is_wide_and_on_no_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ordered: bool, events: int, turn: list[str]
) -> None:
    models: dict[str, dict[str, Any]] = {
        "wide": {"name": "als", "dim": 512},
        "narrow": {"name": "als", "dim": 64},
        "pairs": {"name": "cooccurrence"},
        "softmax": {"name": "softmax"},
        "sequence": {"name": "sequence"},
        "sequence 2": {"name": "sequence", "heads": 2},
    }
    monkeypatch.setattr(race, "portfolio", lambda *_: [Entry(name, one, "") for name, one in models.items()])
    begun = list[str]()

    class Trying(Judged):
        def try_model(
            self, label: str, model: Any, _: str, share: float = 1.0, *__: Any, **___: Any
        ) -> Tried:
            begun.append(label if share == 1.0 else f"{label}, some")
            mean = 0.2 if (model["name"] == "cooccurrence") == ordered else 0.1
            one = replace(make_tried(model, mean, label=label), share=share, at=0.0)
            return self.ledger.add(replace(one, key=key_of(model, share, "")))

    trials: Any = Trying(Ledger(tmp_path, 1e9))
    screen_portfolio(trials, replace(FACTS, events=events), None, lambda: 1e9)
    assert begun == ["narrow", "pairs", *turn]


def test_what_there_was_no_time_for_is_said_in_a_sentence() -> None:
    lacked = ("all", "all", "epochs", "")
    best: Any = SimpleNamespace(passed=[race.Passed(f"m{at}", "", one) for at, one in enumerate(lacked)])
    assert _short_of_time(best) == [
        "For want of time 2 models of the portfolio were not tried and 1 learned in fewer epochs: "
        "--minutes gives more."
    ]
    best.passed = best.passed[3:]
    assert _short_of_time(best) == []


def test_steps_end_where_no_step_is_better(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peak = {"name": "tests.helpers.tuned:Peak", "x": 6.0, "epochs": 2}
    monkeypatch.setattr(race, "portfolio", lambda facts, max_dim: [Entry("peak", peak, "")])
    monkeypatch.setattr(race, "space_for", lambda family, facts, max_dim: space_of(family))
    run = world_run()
    with open_ledger(home / "s", 60) as ledger:
        trials = Trials(run, "ndcg_at_10", ledger)
        assert screen_portfolio(trials, facts_of(run), None, lambda: 30) == []
        refine_best(trials, facts_of(run), None, lambda: ledger.spent + 100)
        figures = {one.model["x"]: one.mean for one in ledger.tried.values() if one.reason is None}
        failed = {one.model["x"] for one in ledger.tried.values() if one.reason is not None}
    top = max(figures, key=figures.__getitem__)
    assert top != 6.0
    assert {min(top + by, 10.0) for by in (-2.0, -1.0, 1.0, 2.0)} <= set(figures) | failed
    assert failed <= {10.0}  # where this model cannot learn


def test_a_step_that_is_too_dear_does_not_end_the_steps_of_its_family(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peak = {"name": "tests.helpers.tuned:Peak", "x": 6.0, "epochs": 2, "slow": 0.05}
    dear, cheap = Step(peak | {"x": 1.0}, "-x", 1e6), Step(peak | {"x": 4.0}, "-x", 1.0)

    def steps(trials: Trials, best: Tried, space: Any) -> Any:
        return (one for one in (dear, cheap) if trials.find_earlier(one.model) is None)

    monkeypatch.setattr(race, "portfolio", lambda facts, max_dim: [Entry("peak", peak, "")])
    monkeypatch.setattr(race, "steps_from", steps)
    run = world_run()
    with open_ledger(home / "s", 60) as ledger:
        trials = Trials(run, "ndcg_at_10", ledger)
        screen_portfolio(trials, facts_of(run), None, lambda: 30)
        refine_best(trials, facts_of(run), None, lambda: ledger.spent + 60)
        assert {one.model["x"] for one in ledger.tried.values()} == {6.0, 4.0}


def test_a_step_that_was_clearly_worse_from_another_width_is_tried_last(tmp_path: Path) -> None:
    def model(dim: int, weight: float) -> dict[str, Any]:
        return {"name": "als", "dim": dim, "unobserved_weight": weight}

    with open_ledger(tmp_path / "s", 60) as ledger:
        for one, mean in ((model(32, 1.0), 0.1), (model(32, 0.3), 0.05), (model(64, 1.0), 0.12)):
            ledger.add(make_tried(one, mean), np.full(3, mean))
        trials, best = Judged(ledger), make_tried(model(64, 1.0), 0.12)
        steps = [
            Step(model(64, 0.3), "-unobserved_weight", 1.0),
            Step(model(64, 3.0), "+unobserved_weight", 1.0),
            Step(model(128, 1.0), "+dim", 2.0),
        ]
        assert worse_last(trials, best, steps) == [*steps[1:], steps[0]]
        near = ledger.add(make_tried(model(32, 3.0), 0.101), np.full(3, 0.1))
        assert near.mean > best.mean - _CLEARLY * best.error
        assert worse_last(trials, best, steps) == [*steps[1:], steps[0]]


def test_a_second_copy_of_a_space_adds_nothing_and_is_not_taken(home: Path) -> None:
    run = world_run()
    with open_ledger(home / "s", 60) as ledger:
        trials = Trials(run, "ndcg_at_10", ledger)
        trials.try_model("als", {"name": "als", "dim": 8}, "portfolio")
        trials.try_model("als again", {"name": "als", "dim": 8, "cg_steps": 3, "epochs": 16}, "portfolio")
        assert mix_spaces(trials, 1e9) is None


def test_spaces_that_know_different_things_are_taken_together(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two learners each of whom has seen one half of the items, both know more than one."""
    run = world_run("world.users=1500")
    train = run.holdout.train
    with open_ledger(home / "s", 60) as ledger:
        trials = Trials(run, "ndcg_at_10", ledger)
        for half in (0, 1):
            events = train.interactions.where(train.interactions.item % 2 == half)
            part = replace(run, holdout=replace(run.holdout, train=train.having(events)))
            learned = make_model("als", {"dim": 8}).fit(part.holdout.train, seed=1)
            values = trials.judge.values(learned)
            model = {"name": "als", "dim": 8, "epochs": 16 + half}
            ledger.add(make_tried(model, float(np.nanmean(values)), label=f"half {half}"), values, learned)
        both = mix_spaces(trials, 1e9)
        assert both is not None
        assert both.mean > max(one.mean for one in trials.spaces())
        assert sorted(part["epochs"] for part in both.model["parts"]) == [16, 17]
        assert mix_spaces(trials, 1e9, max_dim=15) is None


class Judged:
    """Trials whose figures are given."""

    def __init__(self, ledger: Ledger, part: str = "", learn_validation: bool = True) -> None:
        self.ledger, self.part = ledger, part
        split = SimpleNamespace(learn_validation=learn_validation)
        self.run = SimpleNamespace(settings=SimpleNamespace(split=split))

    def best(self) -> list[Tried]:
        return self.ledger.whole(self.part)

    spaces = best

    def find_earlier(self, model: dict, share: float = 1.0) -> Tried | None:
        return self.ledger.tried.get(key_of(model, share, self.part))


@pytest.mark.parametrize(
    ("figure", "least"), [(0.1, 0.0002), (0.5, 0.001), (0.8, 0.0004), (1.0, 0.002), (30.0, 0.06)]
)
def test_the_nearer_a_figure_is_to_1_the_less_a_part_has_to_bring(figure: float, least: float) -> None:
    assert mixing._least_gain(figure) == pytest.approx(least)


def test_what_may_stand_side_by_side_is_the_best_of_each_family_first(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 60)
    for dim in range(1, 9):
        ledger.add(make_tried({"name": "als", "dim": dim}, 0.1 * dim), np.full(3, 0.1 * dim))
    for name, mean in (("bpr", 0.05), ("spectral", 0.07)):
        ledger.add(make_tried({"name": name}, mean), np.full(3, mean))
    trials: Any = Judged(ledger)
    assert [one.model.get("dim", one.family) for one in spaces_to_mix(trials)] == [
        8,
        "spectral",
        "bpr",
        7,
        6,
        5,
    ]


def test_where_two_parts_disagree_the_searched_one_decides_and_both_are_told(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 60)
    for name, clumps, drawn in (("memory", 1.0, 2.0), ("future", 1.2, 1.0), ("counted", 9.0, 9.0)):
        for part, mean in (("", clumps), (DRAWN, drawn)):
            ledger.add(make_tried({"name": name}, mean, part, vectors=name != "counted"), np.full(300, mean))
    first: Any = Judged(ledger)
    other: Any = Judged(ledger, DRAWN)
    assert choose_model(first, None).winner.label == "future"
    choice = choose_model(first, other)
    assert choice.winner.label == "future"
    assert choice.relative["future"] == {CLUMPS: 1.0, DRAWN: 0.5}
    assert choice.relative["memory"] == {CLUMPS: pytest.approx(1 / 1.2), DRAWN: 1.0}
    assert choice.runner_up is not None
    assert "counted" not in choice.relative
    told = " ".join(_both_parts(choice))
    assert "They disagree: clumps: future; drawn: memory." in told
    assert _both_parts(choose_model(first, None)) == []


def test_what_is_kept_for_the_end_is_what_the_end_takes(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 1000)
    for name, mean, seconds in (
        ("als", 0.4, 10),
        ("softmax", 0.3, 20),
        ("lightgcn", 0.2, 40),
        ("bpr", 0.1, 60),
    ):
        one = replace(make_tried({"name": name}, mean), seconds=seconds, judging_s=seconds / 10)
        ledger.add(one, np.full(3, mean))
    trials: Any = Judged(ledger)
    judged: Any = Judged(ledger, learn_validation=False)  # what was learned is not learned again
    rest = 0.04 * 1000
    assert seconds_to_keep(judged, False) == pytest.approx(1.3 * (1 + 2 + 4) + rest)
    assert seconds_to_keep(trials, False) == pytest.approx(1.3 * (10 + 20 + 40) + rest)
    assert seconds_to_keep(trials, True) == pytest.approx(1.3 * (10 + 20 + 40) + rest + 0.1 * 1000)
    parts = [{"name": "als"}, {"name": "softmax"}]
    mixture = make_tried({"name": "mixture", "parts": parts, "weights": [1.0, 1.0]}, 0.5)
    ledger.add(replace(mixture, seconds=5, judging_s=5), np.full(3, 0.5))
    assert seconds_to_keep(judged, False) == pytest.approx(1.3 * 5 + rest)
    assert seconds_to_keep(trials, False) == pytest.approx(1.3 * 40 + rest)  # lightgcn, not 5 + 10 + 20
    assert seconds_to_keep(trials, True) == pytest.approx(1.3 * 40 + rest + 5 + 10 + 20 + 40)


def test_a_log_without_times_is_searched_on_a_part_that_is_drawn_as_its_test_part_is(tmp_path: Path) -> None:
    rows = "\n".join(f"u{user},i{(user * 7 + step * 3) % 40}" for user in range(60) for step in range(8))
    (tmp_path / "log.csv").write_text("user_id,item_id\n" + rows)
    settings = load_settings(None, [], data=str(tmp_path / "log.csv"))
    _, data = read(settings, Steps(quiet=True))
    first, second = parts_of(settings, data)
    assert (first.split.kind, first.split.clumped, first.judge) == ("random", 0.0, "validation")
    assert second is not None
    assert (second.split.kind, second.split.clumped) == ("random", 0.2)
    clumped = load_settings(None, ["split.clumped=0.3"], data=str(tmp_path / "log.csv"))
    assert parts_of(clumped, data)[0].split.clumped == 0.3
    assert parts_of(clumped, data)[1] is None
    chosen_kind = load_settings(None, ["split.kind=leave_last_out"], data=str(tmp_path / "log.csv"))
    assert parts_of(chosen_kind, data)[1] is None
    facts = facts_of(ask(first, Steps(quiet=True), None, data))
    assert not facts.ordered
    assert facts_of(ask(parts_of(chosen_kind, data)[0], Steps(quiet=True), None, data)).ordered


@pytest.mark.parametrize(("bursts", "clumped"), [(False, 0.0), (True, 0.2)])
def test_the_numbers_of_a_published_test_part_say_how_it_was_drawn(bursts: bool, clumped: float) -> None:
    """Whether an item's events go to the test part one by one, or most of them together."""
    run = world_run("world.users=2000")
    events, rng = run.data.interactions, np.random.default_rng(1)
    share = rng.choice([0.02, 0.6], events.n_items) if bursts else np.full(events.n_items, 0.2)
    part = np.where(rng.random(len(events)) < share[events.item], TEST, TRAIN).astype(np.int8)
    data = replace(
        run.data,
        interactions=replace(events, time=None),
        published=Published(part, "column split"),
    )
    first, second = parts_of(load_settings(None, ["split.kind=published"]), data)
    assert second is not None
    assert {first.split.clumped, second.split.clumped} == {0.0, 0.2}
    assert first.split.clumped == clumped


@pytest.mark.parametrize("learn_validation", [True, False])
def test_what_the_search_has_learned_from_the_same_data_is_not_learned_again(
    home: Path, learn_validation: bool, certain_seed: int
) -> None:
    small = ("world.users=300", "split.kind=leave_last_out", f"seed={certain_seed}")
    settings = load_settings(None, [*WORLD, *small, f"split.learn_validation={learn_validation}".lower()])
    steps = Steps(quiet=True)
    read_world, data = read(settings, steps)
    parts = [
        {"name": "als", "dim": 8},
        {"name": "sequence", "dim": 8, "epochs": 2},
        {"name": "softmax", "dim": 4, "epochs": 2},
    ]
    mixed = {"name": "mixture", "parts": parts[:2], "weights": [1.0, 0.4]}
    with open_ledger(home / "s", 60) as ledger:
        trials = Trials(ask(parts_of(settings, data)[0], steps, read_world, data), "ndcg_at_10", ledger)
        tried = [trials.try_model(model["name"], model, "portfolio") for model in parts]
        for one in (*tried, make_tried(mixed, 0.5)):
            of_test = settings.model_copy(update={"model": dict(one.model), "judge": "test"})
            run = ask(of_test, steps, read_world, data)
            learned = learned_before(trials, one, run.holdout.train)
            assert (learned is None) is learn_validation
            if learned is None:
                continue
            kept, anew = train(run, learned=learned), train(run)
            for name, values in anew.measured.report.values.items():
                np.testing.assert_allclose(kept.measured.report.values[name], values, atol=1e-6)
            assert kept.bundle is not None
            assert anew.bundle is not None
            np.testing.assert_allclose(
                load(kept.bundle).item_vectors, load(anew.bundle).item_vectors, atol=1e-5
            )
        ledger.forget_vectors({tried[0].key})
        of_test = settings.model_copy(update={"judge": "test"})
        again = ask(of_test, steps, read_world, data).holdout.train
        assert learned_before(trials, make_tried(mixed, 0.5), again) is None  # a part of it is gone


def test_limits_are_the_width_that_keeps_them() -> None:
    assert width_limit(Asked(), 1_000) is None
    assert width_limit(Asked(max_dim=48, max_mb=0.4), 1_000) == 48
    assert width_limit(Asked(max_dim=480, max_mb=0.4), 1_000) == 100
    assert width_limit(Asked(max_ms=1e-9), 1_000) == 2


def test_a_search_that_finished_is_over_for_as_many_minutes(home: Path) -> None:
    with open_ledger(home / "s", 60, 1.0) as ledger:
        assert not ledger.finished
        ledger.finish()
    for minutes, over in ((0.5, True), (1.0, True), (2.0, False)):
        with open_ledger(home / "s", 60 * minutes, minutes) as again:
            assert (again.finished, again.left <= 0) == (over, over)
    with open_ledger(home / "s", 60, 1.0, anew=True) as new:
        assert not new.finished


@pytest.mark.slow
def test_the_command_ends_in_a_config_a_bundle_and_a_page(home: Path) -> None:
    small = ["world.users=1200", "world.items=120", "metrics=['ndcg_at_10']", "baselines_days=[]"]
    command = ("best", "world", *small, "--metric", "ndcg_at_10", "--minutes", "0.15", "--json")
    planned = answer(recsys(home, *command, "--dry-run"))
    assert any("als" in line for line in planned["plan"])
    assert not (home / "mlruns" / "best").exists()
    best = answer(recsys(home, *command))
    assert (
        load(Path(best["bundle"])).manifest["lineage"]["settings"]["model"]["name"] == best["model"]["name"]
    )
    page = Path(best["page"]).read_text()
    assert "<script" not in page
    assert "http" not in page
    assert best["chosen"] in page
    models = json.loads(Path(best["config"]).with_suffix(".json").read_text())
    assert len(models) == best["models"]
    assert best["validation"]["mean"] == max(
        one["mean"] for one in models if one["vectors"] and one["share"] == 1.0
    )
    settings = load_settings(best["config"], [])
    assert (settings.model["name"], settings.judge) == (best["model"]["name"], "test")
    again = answer(recsys(home, *command))  # a search that has finished is answered by what it tried
    assert again["models"] == best["models"]
    assert again["chosen"] == best["chosen"]
    assert again["validation"] == best["validation"]


@pytest.mark.parametrize("word", ["model=als", "model.dim=3", "judge=test", "warm=x"])
def test_what_the_search_finds_cannot_be_named(home: Path, word: str) -> None:
    assert "the search finds the model" in recsys(home, "best", "world", word, rc=2).stderr
