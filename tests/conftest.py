"""What all tests share: real data where they are at hand, and certain answers for many seeds, processors and
threads.

A test that takes `certain_seed` says what is right for any seed: three of them here, `--seeds 20` in `make
soak`, which also goes through `--bf16 on` and `off` and `--threads 1` and `2`.
"""

import os

import pytest

pytest.register_assert_rewrite("recsys.testing", "tests.helpers")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("recsys")
    group.addoption("--seeds", type=int, default=3, help="seeds of each test with a certain answer")
    group.addoption("--bf16", choices=("auto", "on", "off"), default="auto", help="large products in bf16")
    group.addoption(
        "--seed-shift", type=int, default=0, help="other streams for every seed; not -m own_seeds"
    )
    group.addoption(
        "--threads", type=int, default=0, help="threads of numba, BLAS, faiss and torch; 0: as they come"
    )
    group.addoption("--release", action="store_true", help="make a whole release of a copy, by the network")


def shift_seeds(shift: int) -> None:
    """Draws other streams than the seeds of the tests name: what holds for luck alone fails."""
    import numpy as np

    from recsys import seeding

    drawn = seeding.generator

    def shift_generator(seed: int, purpose: str) -> np.random.Generator:
        return drawn(seed + 1_000 * shift, purpose)

    seeding.generator = shift_generator


def pytest_configure(config: pytest.Config) -> None:
    os.environ["COLUMNS"] = "100"  # what tables fit where there is no terminal; pytest-xdist says 80
    if "PYTEST_XDIST_WORKER" in os.environ:  # a core each; set before any library reads it
        os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    config.addinivalue_line(
        "markers", "certain: its answer is right for every seed; `-m certain` chooses these"
    )
    from tests.helpers.databases import copy_new_databases

    copy_new_databases()
    if config.getoption("--seed-shift"):
        shift_seeds(config.getoption("--seed-shift"))
    if config.getoption("--bf16") != "auto":
        import torch

        torch.cpu._is_avx512_bf16_supported = lambda: config.getoption("--bf16") == "on"
    if config.getoption("--threads"):
        import torch

        from recsys.pipelines.threads import set_threads

        set_threads(config.getoption("--threads"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "certain_seed" in metafunc.fixturenames and metafunc.cls is None:  # a contract sees to its own
        metafunc.parametrize("certain_seed", range(1, metafunc.config.getoption("--seeds") + 1))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "certain_seed" in getattr(item, "fixturenames", ()):
            item.add_marker("certain")
    # Files with slow tests first, so that no worker ends with a long file while the others have nothing left.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `data` read real data sets: skipped where RECSYS_DATA is unset; where it is set, a gap
    fails."""
    if item.get_closest_marker("data") and not os.environ.get("RECSYS_DATA"):
        pytest.skip("RECSYS_DATA is unset: name the folder that holds the real data sets")
