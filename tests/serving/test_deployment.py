"""Several bundles of one root served at once, each by its role."""

import json
from pathlib import Path

import pytest

from recsys.bundle.forget import forget_rows, rows_in
from recsys.bundle.root import assign, roll_back
from recsys.bundle.write import write
from recsys.serving.state import Store
from tests.helpers.service import content, publish_toy, running
from tests.serving.test_life import bundle_of, wait_for

pytestmark = pytest.mark.slow


def test_a_shadow_request_goes_to_the_shadow_and_leaves_no_line(tmp_path: Path) -> None:
    root = tmp_path / "bundles"
    first, second = publish_toy(root), write(root, content(2)).name
    with running(root, tmp_path / "log") as service:
        deployed = assign(root, "shadow", second)
        wait_for(lambda: service.ask("GET", "/v1/model").json["deployment"]["shadow"] == second)
        assert service.ask("GET", "/v1/model").json["deployment"]["etag"] == deployed.etag
        asked = {"user_id": "u1"}
        mirrored = service.ask("POST", "/v1/recommend", asked, {"X-Recsys-Shadow": "1"}).json
        assert (mirrored["bundle_id"], service.recommend(**asked)["bundle_id"]) == (second, first)
        assert [line["bundle_id"] for line in service.lines()] == [first]
        assign(root, "champion", second)
        wait_for(lambda: bundle_of(service) == second)
        assert service.ask("POST", "/v1/recommend", asked).json["items"] == mirrored["items"]
        assert roll_back(root).champion == first
        wait_for(lambda: bundle_of(service) == first)


def test_a_broken_arm_is_left_out_and_the_champion_goes_on(tmp_path: Path) -> None:
    first = publish_toy(tmp_path)
    second, third = write(tmp_path, content(2)).name, write(tmp_path, content(3)).name
    assign(tmp_path, "towers/b", second)
    store = Store(tmp_path, 0.05, lambda _: None)
    store.start()
    try:
        wait_for(lambda: store.live is not None)
        assert store.live is not None
        arm = store.live.arm("towers", "b")
        assert arm is not None
        assert arm.bundle_id == second
        assign(tmp_path, "towers/c", third)
        damaged = bytearray((tmp_path / third / "fallback.npy").read_bytes())
        damaged[-1] ^= 1
        (tmp_path / third / "fallback.npy").write_bytes(damaged)
        wait_for(lambda: store.live is not None and third in store.live.quarantined)
        assert store.live.champion.bundle_id == first
        assert store.live.arm("towers", "b") is arm  # the same object: what serves is not loaded again
        assert store.live.arm("towers", "c") is None
        assert "fallback.npy is damaged" in store.live.quarantined[third]
    finally:
        store.close()


def test_a_file_that_says_something_else_keeps_what_is_served(tmp_path: Path) -> None:
    root = tmp_path / "bundles"
    first = publish_toy(root)
    with running(root, tmp_path / "log") as service:
        for text in (
            "champion = 3",
            "champion = ",
            f'champion = "{first}"\nchampoin = "x"',
            'champion = "../x"',
        ):
            (root / "deployment.toml").write_text(text)
            wait_for(
                lambda: "deployment.toml" in json.dumps(service.ask("GET", "/v1/model").json["swap"]["error"])
            )
            assert service.recommend()["bundle_id"] == first
            (root / "deployment.toml").unlink()
            wait_for(lambda: service.ask("GET", "/v1/health/ready").json["status"] == "ready")


def test_a_bundle_that_was_written_anew_without_a_person_is_opened_again(tmp_path: Path) -> None:
    bundle_id = publish_toy(tmp_path)
    store = Store(tmp_path, 0.05, lambda _: None)
    store.start()
    try:
        wait_for(lambda: store.live is not None)
        assert store.live is not None
        before = store.live.champion
        assert "u3" in before.user_ids
        forget_rows(before.path, rows_in(before.path, ["u3"]))
        wait_for(lambda: store.live is not None and store.live.champion is not before)
        assert store.live.champion.bundle_id == bundle_id
        assert "u3" not in store.live.champion.user_ids
        assert store.swap.state == "serving"
    finally:
        store.close()
