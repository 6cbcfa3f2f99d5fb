"""The space of a search: what is declared fits its model, what is asked for is checked, edges are said."""

import tomllib

import pytest

from recsys.errors import SettingError
from recsys.models.als.als import ALS
from recsys.models.registry import MODELS, make_model, space_of
from recsys.models.search import Choices, Span
from recsys.pipelines.run.settings import RunSettings
from recsys.pipelines.search.config_file import config_text, toml_text
from recsys.pipelines.search.space import describe_space, edges, search_space, set_value, without_order

TOY = "tests.helpers.tuned:Peak"


class Misspelt(ALS):
    search = {"regularisation": Span(0.1, 1.0)}  # noqa: RUF012


@pytest.mark.parametrize("name", [name for name in sorted(MODELS) if space_of(name)])
def test_a_declared_space_fits_its_model_and_holds_the_defaults(name: str) -> None:
    searched = search_space(name, {})
    assert searched.start is not None or name == "popularity"  # all time is no number of days
    for field, span in searched.space.items():
        for end in span.values if isinstance(span, Choices) else (span.low, span.high):
            make_model(name, searched.settings({field: end}))


def test_every_model_with_settings_of_its_own_can_be_searched() -> None:
    without = {name for name in MODELS if not space_of(name)}
    assert {
        "als",
        "bpr",
        "softmax",
        "ease",
        "item_knn",
        "spectral",
        "mixture",
        "narrowed",
        "variational",
        "two_tower",
    } & without == set()
    assert "own_history" in without


def test_what_is_asked_for_replaces_adds_and_fixes() -> None:
    searched = search_space(
        "als", {"dim": 8}, ["regularization=0.01:0.1", "solver=cg,exact", "unobserved_weight=0.5"]
    )
    half_life = space_of("als")["half_life"]
    asked = {"regularization": Span(0.01, 0.1), "solver": Choices(("cg", "exact"))}
    assert searched.space == {"half_life": half_life} | asked
    assert (searched.fixed["unobserved_weight"], searched.fixed["dim"]) == (0.5, 8)
    assert searched.start is None  # the default regularization lies outside
    optional = search_space("ease", {}, ["half_life=none,5,20.0"])
    assert optional.space["half_life"] == Choices((None, 5, 20.0))
    assert optional.start == {"regularization": 1000.0, "half_life": None}
    assert describe_space(optional.space)["half_life"] == "none,5,20.0"
    assert searched.settings({"regularization": 0.02, "solver": "exact"})["solver"] == "exact"
    words = {"half_life": "none,4.0,12.0,40.0", "regularization": "0.01:0.1", "solver": "cg,exact"}
    assert describe_space(searched.space) == words
    ends = search_space("als", {}, ["dim=8:64:log", "exponent=0:1"]).space
    assert isinstance(ends["dim"].low, int)  # whole where the setting is, not where the ends happen to be
    assert isinstance(ends["exponent"].high, float)


def test_a_declared_range_is_stretched_to_the_settings_as_given_and_one_of_the_users_own_is_not() -> None:
    given = {"regularization": 2.5, "unobserved_weight": 1e-5, "half_life": 7.0}
    searched = search_space("als", given)
    assert searched.space == {
        "regularization": Span(3e-4, 2.5, log=True),
        "unobserved_weight": Span(1e-5, 10.0, log=True),
        "half_life": Choices((None, 4.0, 12.0, 40.0, 7.0)),
    }
    assert searched.start == given
    assert search_space("als", {"regularization": 2.5}, ["regularization=0.1:1"]).start is None


def test_places_inside_lists_are_reached() -> None:
    searched = search_space("mixture", {}, ["parts.0.regularization=0.001:0.1:log"])
    model = searched.settings({"weights.1": 0.4, "parts.0.regularization": 0.02})
    assert model["weights"] == [1.0, 0.4]
    assert model["parts"][0]["regularization"] == 0.02
    assert searched.fixed["weights"] == [1.0, 0.1], "the settings as given stay as they are"
    make_model("mixture", model)
    assert set_value({"a": [1, {"b": 2}]}, "a.1.b", 3) == {"a": [1, {"b": 3}]}


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("als", "regularisation=0.1:1", ("'regularisation'", "did you mean 'regularization'")),
        (f"{__name__}:Misspelt", "", ("'regularisation'", "no setting of model")),
        ("als", "weights.1=0:1", ("'weights.1'", "no setting of model 'als'")),
        ("als", "regularization=1:0.1", ("regularization", "is empty", "comes first")),
        ("als", "regularization=1:1", ("is empty",)),
        ("als", "exponent=0:1:log", ("begins at 0", "above 0")),
        ("als", "regularization=0:1", ("regularization", "greater than 0", "got 0")),
        ("als", "exponent=0:2", ("exponent", "less than or equal to 1")),
        ("als", "dim=8.5:16", ("dim", "whole numbers")),
        ("als", "dim=8:many", ("LOW:HIGH",)),
        ("als", "dim=8:16:lin", ("LOW:HIGH:log",)),
        ("als", "regularization=nan:1", ("LOW:HIGH",)),
        ("als", "solver=1:2", ("solver", "'cg'", "solver=A,B")),
        ("als", "solver=cg,lu", ("solver", "'lu'")),
        ("als", "solver=cg,cg", ("twice",)),
        ("als", "solver", ("FIELD=LOW:HIGH",)),
        ("als", "=1:2", ("FIELD=LOW:HIGH",)),
        ("own_history", "", ("own_history", "nothing to search")),
        (TOY, "x=5", ("nothing to search",)),
    ],
)
def test_a_wrong_space_is_a_sentence(name: str, change: str, words: tuple[str, ...]) -> None:
    with pytest.raises(SettingError) as raised:
        search_space(name, {}, [change] if change else [])
    for word in words:
        assert word in str(raised.value)


def test_an_edge_is_said_with_the_way_on_unless_the_setting_ends_there() -> None:
    searched = search_space("als", {}, ["regularization=0.001:0.1:log", "exponent=0:1", "dim=8:64"])
    inside = {"regularization": 0.01, "exponent": 0.5, "dim": 32, "unobserved_weight": 0.05}
    assert edges(searched, inside) == []
    (low,) = edges(searched, {**inside, "regularization": 0.00101})
    assert "lower edge" in low
    assert "--space regularization=0.0001:0.1:log" in low
    (high,) = edges(searched, {**inside, "dim": 64})
    assert "--space dim=8:120" in high
    assert edges(searched, {**inside, "exponent": 1.0}) == []


def test_a_config_is_read_back_as_it_was() -> None:
    text = 'quote " back \\ ü \n \x7f'
    odd = {"a": 1, "b": 1e-05, "c": text, "d": [1.5, [True, "x"]], "t": {"k y": {"deep": 0.1}, "z": {}}}
    assert tomllib.loads(toml_text({**odd, "nothing": None})) == odd
    settings = RunSettings(data="c.csv", seed=7, judge="validation", model={"name": "mixture"})
    model = search_space("mixture", {}).settings({"weights.1": 0.25})
    text = config_text(settings, model, ["weights.1"], ["Purpose: a\ntest."])
    read = tomllib.loads(text)
    assert text.startswith("# Purpose: a?test.\n")
    assert "judge" not in read
    assert (read["data"], read["seed"], read["model"]["weights"]) == ("c.csv", 7, [1.0, 0.25])
    make_model("mixture", {key: value for key, value in read["model"].items() if key != "name"})
    usual = settings.model_copy(update={"model": {"name": "als"}})
    assert tomllib.loads(config_text(usual, search_space("als", {}).fixed, [], []))["model"] == {
        "name": "als"
    }


def test_what_needs_an_order_is_left_out_unless_it_is_named() -> None:
    searched = search_space("als", {})
    plain, out = without_order(searched)
    assert out == ["half_life"]
    assert set(plain.space) == set(searched.space) - {"half_life"}
    assert plain.settings({"regularization": 0.5})["half_life"] is None
    named = search_space("als", {}, ["half_life=4,8"])
    assert without_order(named, ["half_life=4,8"]) == (named, [])
    alone = search_space("als", {}, ["regularization=0.1", "unobserved_weight=0.1"])
    assert without_order(alone) == (alone, [])  # nothing else is searched
