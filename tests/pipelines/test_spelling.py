"""One spelling on every command that takes data; hints that can be pasted; exit statuses that mean one
thing."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from recsys.errors import SettingError
from recsys.pipelines.cli import main
from recsys.pipelines.run.settings import load_settings
from recsys.text import command_line
from tests.helpers.refusals import GOOD, bundles, file

OWN = GOOD.replace("user_id,item_id,timestamp", "who,what,when", 1)
COLUMNS = ["--user-col=who", "--item-col=what", "--time-col=when"]
COMMANDS = {
    "train": ["train", "c.csv"],
    "tune": ["tune", "c.csv"],
    "dims": ["dims", "c.csv", "--dims=2,4"],
    "demo": ["demo", "--data", "c.csv"],
    "evaluate": ["evaluate", "--candidates", "l.csv", "--data", "c.csv"],
    "check": ["data", "check", "c.csv"],
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    file(OWN)(tmp_path)
    return lambda *words: CliRunner().invoke(main, list(words), prog_name="recsys")


def settings_of(said: Result) -> dict[str, Any]:
    assert said.exit_code == 0, said.output
    shown = json.loads(said.stdout)
    return dict(shown.get("settings", shown))


@pytest.mark.parametrize("command", COMMANDS)
def test_options_and_settings_say_the_same_on_every_command(command: str, run: Callable[..., Result]) -> None:
    words = [*COMMANDS[command], "--dry-run"]
    by_settings = [
        "columns.user_id=who",
        "columns.item_id=what",
        "columns.timestamp=when",
        'model={name="bpr"}',
    ]
    wanted = settings_of(run(*words, *by_settings))
    assert (wanted["model"], wanted["columns"]["user_id"]) == ({"name": "bpr"}, "who")
    assert wanted["data"].endswith("c.csv")
    for model in (["--model", "bpr"], ["model=bpr"], ["model.name=bpr"], ['model="bpr"']):
        assert settings_of(run(*words, *COLUMNS, *model)) == wanted


def test_a_model_by_name_keeps_its_own_settings_and_takes_none_of_another(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[model]\nname = "als"\ndim = 16\nepochs = 3\n')
    config = str(tmp_path / "run.toml")

    def model(*assignments: str) -> dict[str, Any]:
        return load_settings(config, assignments).model

    assert model("model=als") == {"name": "als", "dim": 16, "epochs": 3}
    assert model("model=bpr") == {"name": "bpr"}
    assert model("model.dim=4", "model=bpr") == model("model=bpr", "model.dim=4") == {"name": "bpr", "dim": 4}
    (tmp_path / "run.toml").write_text('model = "bpr"\n')
    assert model() == {"name": "bpr"}


@pytest.mark.parametrize("of_config", ['name = "als"\n', ""])
def test_settings_that_a_config_lends_to_another_model_are_refused_with_the_cure(
    tmp_path: Path, of_config: str
) -> None:
    (tmp_path / "run.toml").write_text(f"[model]\n{of_config}unobserved_weight = 2.0\n")
    config = str(tmp_path / "run.toml")
    with pytest.raises(SettingError) as refused:
        load_settings(config, ["model.name=item_knn"])
    cure = f"The config {config} states these for als: model=item_knn, in place of model.name=item_knn, "
    assert "'model.unobserved_weight'" in str(refused.value)
    assert str(refused.value).endswith(f"{cure}starts without them.")
    assert load_settings(config, ["model=item_knn"]).model == {"name": "item_knn"}
    for own in (["model.name=als", "model.shrinkage=1"], ["model=item_knn", "model.unobserved_weight=2"]):
        with pytest.raises(SettingError) as refused:
            load_settings(config, own)
        assert "The config" not in str(refused.value)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("split=3", "setting 'split' in settings must be a table of settings, as in {name = value}, got 3."),
        (
            "seen.events=3",
            "'seen.events' in settings must be a list, as in [value, value] or must be a table",
        ),
        ("seen={events={buy=3}}", "setting 'seen.events.buy' in settings must be a table of settings"),
        (
            "seen.domains.books.polic=allow",
            "setting 'seen.domains.books.polic' in settings is unknown; did you mean 'policy'",
        ),
        ("baselines_days=7", "'baselines_days' in settings must be a list"),
        ('baselines_days=["a"]', "'baselines_days.0' in settings must be a number, got 'a'."),
        (
            "prepare.event_weights={buy='x'}",
            "'prepare.event_weights.buy' in settings must be a number, got 'x'.",
        ),
        ("refit=maybe", "'refit' in settings must be true or false, got 'maybe'."),
        ("columns.user_id=[3]", "columns.user_id must be the name of a column, in quotes, got [3]."),
        ("split.test=0.95", "'split.test' in settings is refused: with validation = 0.1 nothing is left"),
        ("model.dimm=3", "setting 'model.dimm' in model 'als' of settings is unknown; did you mean 'dim'?"),
        (
            'model={name="two_tower",item_features=[{colum="x"}]}',
            (
                "'model.item_features.0.colum' in model 'two_tower' of settings is unknown; did you mean "
                "'column'?"
            ),
        ),
    ],
)
def test_a_wrong_setting_is_called_by_its_name_and_not_by_its_type(setting: str, said: str) -> None:
    with pytest.raises(SettingError) as refused:
        load_settings(None, [setting])
    sentence = str(refused.value)
    assert said in sentence
    assert not re.search(r"function-|\[str|Settings|dict\[|tuple\[|valid ", sentence)


@pytest.mark.parametrize("name", ["shop", "my shop", "it's", "$HOME", "-1", "--to", "a;b", "ü|*"])
def test_a_hint_leads_to_the_thing_that_it_names(name: str) -> None:
    words = shlex.split(command_line("recsys export", name, to=name, k=name))
    assert words[:2] == ["recsys", "export"]
    context = (
        main.commands["export"].make_context("export", ["--to=x", *words[words.index("--") :]])
        if "--" in words
        else None
    )
    assert context is None or context.params["run"] == name
    assert f"--to={name}" in words if name.startswith("-") else words[words.index("--to") + 1] == name


def test_the_hint_of_a_listing_is_a_command_that_runs(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "-my bundles").mkdir()
    bundles(tmp_path / "-my bundles").rename(tmp_path / "-b b")
    listed = run("bundles", "list", "--", "-b b")
    hint = shlex.split(listed.stdout.split("Next: ")[1])
    assert run(*hint[1:]).stdout.startswith("Deleted 0 bundles")


def test_an_id_that_looks_like_an_option_is_told_where_to_stand(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    bundles(tmp_path)
    refused = run("why", "bundles", "-1", "i1")
    assert (refused.exit_code, "behind --, as in `recsys why -- -1`" in refused.stderr) == (2, True)
    assert "-1" in run("why", "--", "bundles", "-1", "i1").output


def test_a_fault_of_ours_is_no_verdict(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise TypeError("two and two")

    monkeypatch.setattr("recsys.data.check.check.check", broken)
    said = run("data", "check", "c.csv")
    assert said.exit_code == 70
    assert "Traceback" in said.stderr
    assert said.stderr.splitlines()[-1].startswith(
        "recsys: this is a fault of recsys and not yours (TypeError: two and two)"
    )


def test_a_user_behind_the_bundle_is_told_the_option(run: Callable[..., Result]) -> None:
    said = run("recommend", "bundles", "50")
    assert said.exit_code == 2
    assert "extra argument (50): did you mean --user 50? See `recsys recommend --help`." in said.stderr
    assert "did you mean" not in run("runs", "--json", "-n", "3", "--metric", "a", "x", "--nonsense").stderr
    assert "did you mean" not in run("promote", "last", "50").stderr
