"""Settings say what is wrong and where; seeds are split by purpose."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import Field, ValidationError

from recsys.config import Settings, data_folders, home, overridden, read_toml
from recsys.errors import SettingError
from recsys.seeding import generator


class Inner(Settings):
    epochs: int = Field(16, ge=1, description="rounds")
    learning_rate: float = Field(0.1, gt=0, description="step")


class Outer(Settings):
    dim: int = Field(64, ge=1, description="width")
    name: str = Field("als", description="which")
    inner: Inner = Field(Inner(), description="more")


def refusal(values: dict[str, object], where: str = "run.toml") -> str:
    with pytest.raises(SettingError) as caught:
        Outer.build(values, where=where)
    return str(caught.value)


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    message = refusal({"dims": 32})
    assert "'dims' in run.toml is unknown" in message
    assert "did you mean 'dim'?" in message


def test_an_unknown_nested_key_is_compared_with_its_own_table() -> None:
    message = refusal({"inner": {"epoch": 3}}, where="the command line")
    assert "'inner.epoch' in the command line is unknown" in message
    assert "did you mean 'epochs'?" in message


def test_an_unknown_key_like_no_other_lists_what_is_known() -> None:
    assert "known ones are epochs, learning_rate." in refusal({"inner": {"zzz": 3}})
    assert "known ones are dim, inner, name." in refusal({"zzz": 3})


@pytest.mark.parametrize(
    ("values", "key", "value"),
    [
        ({"dim": "wide"}, "'dim'", "'wide'"),
        ({"dim": 0}, "'dim'", "0"),
        ({"dim": 1.5}, "'dim'", "1.5"),
        ({"inner": {"learning_rate": -1}}, "'inner.learning_rate'", "-1"),
        ({"inner": 3}, "'inner'", "3"),
        ({"name": 5}, "'name'", "5"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_place(
    values: dict[str, object], key: str, value: str
) -> None:
    message = refusal(values)
    assert key in message
    assert "run.toml" in message
    assert f"got {value}" in message


def test_every_wrong_key_is_reported_at_once() -> None:
    message = refusal({"dims": 1, "inner": {"epochs": "many"}})
    assert "'dims'" in message
    assert "'inner.epochs'" in message


def test_settings_are_frozen() -> None:
    settings = Outer.build({"inner": {"epochs": 3}}, where="here")
    with pytest.raises(ValidationError, match="frozen"):
        settings.dim = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        settings.inner.epochs = 3  # type: ignore[misc]
    assert (settings.dim, settings.inner.epochs) == (64, 3)


def test_defaults_give_way_to_the_file_and_the_file_to_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('dim = 8\nname = "file"\n[inner]\nepochs = 2\nlearning_rate = 0.5\n', encoding="utf-8")
    values = overridden(read_toml(path), ["dim=16", "inner.epochs=9"])
    settings = Outer.build(values, where=str(path))
    assert (settings.dim, settings.name, settings.inner.epochs, settings.inner.learning_rate) == (
        16,
        "file",
        9,
        0.5,
    )
    assert Outer.build({}, where="nowhere") == Outer()


@pytest.mark.parametrize(
    ("content", "message"), [(b"dim = = 3\n", "not valid TOML.*line 1"), (b"\xff\xfe=1", "not valid TOML")]
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(SettingError, match=f"broken.toml is {message}"):
        read_toml(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"none\.toml cannot be read: No such file"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(SettingError, match="cannot be read: Is a directory"):
        read_toml(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64", 64),
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("true", True),
        ("[7, 30]", [7, 30]),
        ('"64"', "64"),
        ("ml-100k", "ml-100k"),
        ("007", "007"),
        ("", ""),
        ("a=b", "a=b"),
        ("True", "True"),
        ('1\nseed = "x"', '1\nseed = "x"'),
    ],
)
def test_a_value_of_the_command_line_is_toml_or_else_text(text: str, value: object) -> None:
    setting = overridden({}, [f"key={text}"])["key"]
    assert setting == value
    assert type(setting) is type(value)


@pytest.mark.parametrize("assignment", ["dim", "=3", ""])
def test_an_assignment_without_key_or_sign_is_refused(assignment: str) -> None:
    with pytest.raises(SettingError, match="must have the form key=value"):
        overridden({}, [assignment])


def test_a_value_cannot_be_used_as_a_table() -> None:
    with pytest.raises(SettingError, match=r"'dim\.x'.*'dim' is a value, not a table"):
        overridden({"dim": 3}, ["dim.x=1"])


def test_overriding_leaves_the_given_values_alone() -> None:
    given = {"a": {"b": {"c": 1}}, "d": 1}
    assert overridden(given, ["a.b.c=2", "a.x.y=3", "d=4"]) == {"a": {"b": {"c": 2}, "x": {"y": 3}}, "d": 4}
    assert given == {"a": {"b": {"c": 1}}, "d": 1}


def test_folders_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    with pytest.raises(SettingError, match="home, which is no folder"):
        home()
    (tmp_path / "home").mkdir()
    assert data_folders() == [tmp_path / "sets", tmp_path / "cache" / "recsys" / "data"]
    assert home() == (tmp_path / "home").resolve()
    monkeypatch.delenv("RECSYS_DATA")
    monkeypatch.delenv("RECSYS_HOME")
    monkeypatch.chdir(tmp_path)
    assert data_folders() == [tmp_path / "cache" / "recsys" / "data"]
    assert home() == tmp_path.resolve()


def test_a_stream_depends_on_seed_and_purpose_alone() -> None:
    first = generator(1, "split").random(4)
    generator(1, "bootstrap").random(100)
    np.random.seed(5)  # noqa: NPY002  the global state must not matter
    assert generator(1, "split").random(4).tolist() == first.tolist()
    assert generator(2, "split").random(4).tolist() != first.tolist()
    assert generator(1, "other").random(4).tolist() != first.tolist()


def test_streams_stay_as_they_are_from_version_to_version() -> None:
    assert generator(1, "split").bit_generator.random_raw(2).tolist() == [
        18132449750670937019,
        3893546411836889700,
    ]


def test_streams_of_different_purposes_are_not_correlated() -> None:
    draws = np.array([generator(1, f"purpose {number}").normal(size=2_000) for number in range(20)])
    correlations = np.corrcoef(draws)[np.triu_indices(20, 1)]
    assert np.abs(correlations).max() < 0.12
