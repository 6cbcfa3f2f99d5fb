"""Roles of bundles: champion, the way back, shadow, arms; written beside the pointer and never at odds with
it."""

from pathlib import Path

import pytest

from recsys.bundle.deployment import Deployment
from recsys.bundle.prune import prune
from recsys.bundle.root import assign, current, deployment_of, point_to, roll_back
from recsys.bundle.write import write
from recsys.errors import BundleError
from tests.helpers.service import content as small


def test_roles_are_given_and_taken_away(tmp_path: Path) -> None:
    a, b, c = (write(tmp_path, small(seed)).name for seed in (1, 2, 3))
    assert assign(tmp_path, "champion", a) == Deployment(a)
    assert assign(tmp_path, "champion", b) == Deployment(b, previous=a)
    assert current(tmp_path).name == b
    assign(tmp_path, "shadow", c)
    assign(tmp_path, 'odd "name"/b', c)
    whole = assign(tmp_path, 'odd "name"/é', a)
    assert deployment_of(tmp_path) == (tmp_path, whole)
    assert whole == Deployment(b, a, c, {'odd "name"': {"b": c, "é": a}})
    assert set(whole.live) == {a, b, c}
    assert assign(tmp_path, 'odd "name"/b', None).arms == {'odd "name"': {"é": a}}
    assert assign(tmp_path, 'odd "name"', None).arms == {}
    assert assign(tmp_path, "shadow", None) == Deployment(b, previous=a)
    assert roll_back(tmp_path) == Deployment(a, previous=b)
    assert roll_back(tmp_path) == Deployment(b, previous=a)


def test_the_pointer_moved_alone_rules_and_the_arms_stay(tmp_path: Path) -> None:
    a, b, c = (write(tmp_path, small(seed)).name for seed in (1, 2, 3))
    assign(tmp_path, "champion", a)
    assign(tmp_path, "towers/b", b)
    (tmp_path / "current").write_text(c + "\n")  # by hand, or dying between the two
    assert deployment_of(tmp_path)[1] == Deployment(c, a, None, {"towers": {"b": b}})
    (tmp_path / "current").write_text(a + "\n")
    point_to(tmp_path, b)
    point_to(tmp_path, c)
    assert deployment_of(tmp_path)[1] == Deployment(c, b, None, {"towers": {"b": b}})


def test_what_is_deployed_is_not_pruned(tmp_path: Path) -> None:
    names = [write(tmp_path, small(seed)).name for seed in range(5)]
    assign(tmp_path, "champion", names[0])
    assign(tmp_path, "champion", names[4])
    assign(tmp_path, "towers/b", names[1])
    gone = [one.bundle_id for one in prune(tmp_path, 1)]
    assert gone == [
        names[2]
    ]  # the newest is the champion, and the one made before it is the way back as ever


def test_a_role_that_is_none_and_a_bundle_that_is_not_there_are_refused(tmp_path: Path) -> None:
    a = write(tmp_path, small(1)).name
    with pytest.raises(BundleError, match="neither a bundle nor"):
        assign(tmp_path, "shadow", a)
    assign(tmp_path, "champion", a)
    for role, bundle_id in (("chmapion", a), ("towers/", a), ("/b", a), ("shadow", None), ("towers", None)):
        with pytest.raises(BundleError, match=r"role|serves as"):
            assign(tmp_path, role, bundle_id)
    with pytest.raises(BundleError, match="holds no bundle"):
        assign(tmp_path, "shadow", a[:-1])
    with pytest.raises(BundleError, match="no champion before"):
        roll_back(tmp_path)
    assert deployment_of(tmp_path)[1] == Deployment(a)
