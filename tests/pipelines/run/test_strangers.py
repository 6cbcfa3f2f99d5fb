"""A bundle that is judged on data whose ids it does not know: said with one id of each side."""

from dataclasses import replace
from pathlib import Path

import pytest

from recsys.bundle.bundle import load
from recsys.bundle.write import publish
from recsys.evaluation.foreign import BundleInDataIds
from recsys.ids import IdMap
from recsys.pipelines.console import Steps
from recsys.pipelines.run.evaluate import warn_of_strangers
from recsys.testing.toys import random_log
from tests.helpers.bundles import content


def warnings_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], users: str, items: str, new_items: int = 0
) -> str:
    data = random_log(1, n_users=20, n_items=30 + new_items)
    data = replace(
        data,
        user_ids=IdMap.of([users.format(k) for k in range(20)]),
        item_ids=IdMap.of([items.format(k if k < 30 else k + 900) for k in range(30 + new_items)]),
    )
    bundle = load(publish(tmp_path / "bundles", content(n_users=20, n_items=40)))
    warn_of_strangers(BundleInDataIds(bundle, data), Steps(quiet=True))
    return capsys.readouterr().err


def test_a_bundle_of_the_data_is_not_spoken_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert warnings_of(tmp_path, capsys, "u{}", "i{}") == ""


def test_a_bundle_that_shares_no_id_names_one_of_each_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    users, items = warnings_of(tmp_path, capsys, "{}", "i{}.0").splitlines()
    assert "none of the 20 users of the data is in bundle" in users
    assert "('0' in the data, 'u0' in the bundle)" in users
    assert "none of the 30 items of the data is in bundle" in items
    assert "('i0.0' in the data, 'i0' in the bundle)" in items


def test_a_bundle_that_knows_some_items_says_how_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (items,) = warnings_of(tmp_path, capsys, "u{}", "i{}", new_items=2).splitlines()
    assert "30 of the 32 items of the data are in bundle" in items
    assert "'i930' in the data" in items
