"""How busy the machine is beside a run: looked at while it lasts, and logged with the time of each look."""

import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from recsys.errors import TrackingError
from recsys.pipelines.console import Steps
from recsys.pipelines.machine.load import watching
from recsys.pipelines.tracking import client
from recsys.pipelines.tracking.lineage import SYSTEM, TIME
from tests.serving.test_life import wait_for


def test_it_looks_at_the_beginning_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = ModuleType("pynvml")
    gpu.__dict__.update(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda at: at,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=3e6, total=12e6),
        nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=70),
    )
    monkeypatch.setitem(sys.modules, "pynvml", gpu)
    steps, began = Steps(quiet=True), time.time()
    with watching(steps, wanted=True, every_s=0.01):
        wait_for(lambda: len(steps.load) > 3)
    times = [look[TIME] for look in steps.load]
    assert began <= times[0] < times[-1] <= time.time()
    assert times == sorted(times)
    assert not [thread for thread in threading.enumerate() if thread.name == "load"]
    last = steps.load[-1]
    assert last["gpu_0_memory_usage_percentage"] == 25
    assert last["gpu_0_utilization_percentage"] == 70
    assert 0 < last["process_memory_usage_megabytes"] < last["system_memory_usage_megabytes"] * 10
    for name in ("cpu_utilization_percentage", "system_memory_usage_percentage", "disk_usage_percentage"):
        assert 0 <= last[name] <= 100


def test_nobody_looks_unless_it_is_wanted_and_without_psutil_it_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    steps = Steps(quiet=True)
    with watching(steps, wanted=False):
        pass
    assert steps.load == []
    refused = pytest.raises(TrackingError, match=r"needs psutil.*pip install 'recsys-embeddings\[system\]'")
    with refused, watching(steps, wanted=True):
        pytest.fail("it has begun")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::(mlflow|sqlalchemy|alembic|optuna).*")
def test_mlflow_has_each_look_at_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run_id = client.start_run("shop", "als on clicks", began=1_000.0)
    curves = {
        SYSTEM: [{TIME: 1_001.5, "cpu_utilization_percentage": 40.0}, {TIME: 1_011.5, "gpu_0": 50.0}],
        "learning als": [{"loss": 2.0}],
    }
    client.finish_run(run_id, settings={}, tags={}, metrics={}, curves=curves, files=None)
    with client.connection() as store:
        looks = [
            (one.value, one.timestamp, one.step)
            for key in ("system/cpu_utilization_percentage", "system/gpu_0", "learning_als/loss")
            for one in store.get_metric_history(run_id, key)
        ]
        names = set(store.get_run(run_id).data.metrics)
    assert looks == [(40.0, 1_001_500, 0), (50.0, 1_011_500, 1), (2.0, 1_000_000, 0)]
    assert len(names) == 3
