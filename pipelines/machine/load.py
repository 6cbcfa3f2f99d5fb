"""How busy the machine is while a run learns: processors, memory, disk, network and GPUs."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recsys.errors import TrackingError
from recsys.pipelines.console import Steps
from recsys.pipelines.tracking.lineage import TIME

EVERY_S = 10.0  # seconds between two looks, as MLflow has it
_MB = 1e6
_FIRST_S = 0.1  # what the first look at the processors is about; later ones are about the time since


@contextmanager
def watching(steps: Steps, *, wanted: bool, every_s: float = EVERY_S) -> Iterator[None]:
    """Looks at the machine while the block runs, at its beginning and its end too, into `steps.load`.

    Raises TrackingError where it is wanted and psutil is not installed.
    """
    if not wanted:
        yield
        return
    look, ended = _Look(), threading.Event()

    def watch() -> None:  # all looks by one thread: psutil counts what processors did since its last one
        waiting = True
        while waiting:
            steps.load.append(look.figures())
            waiting = not ended.wait(every_s)
        steps.load.append(look.figures())

    watcher = threading.Thread(target=watch, name="load", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


class _Look:
    """Reads the figures by the names under which MLflow shows system metrics; network counts from the first
    look on."""

    def __init__(self) -> None:
        try:
            import psutil
        except ModuleNotFoundError as error:
            raise TrackingError(
                "system_metrics = true needs psutil, which is not installed: pip install "
                "'recsys-embeddings[system]', or leave the setting out."
            ) from error
        self._psutil, self._process = psutil, psutil.Process()
        self._gpus = _gpus()
        self._network = psutil.net_io_counters()
        self._cpu_s: float | None = _FIRST_S

    def figures(self) -> dict[str, float]:
        """What is so now, and `TIME`, unix seconds."""
        cpu, self._cpu_s = self._psutil.cpu_percent(self._cpu_s), None
        memory, disk = self._psutil.virtual_memory(), self._psutil.disk_usage("/")
        network, before = self._psutil.net_io_counters(), self._network
        figures = {
            TIME: time.time(),
            "cpu_utilization_percentage": cpu,
            "system_memory_usage_megabytes": memory.used / _MB,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
            "process_memory_usage_megabytes": self._process.memory_info().rss / _MB,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / _MB,
            "disk_available_megabytes": disk.free / _MB,
        }
        if network is not None and before is not None:  # None in a sandbox without a network
            figures["network_receive_megabytes"] = (network.bytes_recv - before.bytes_recv) / _MB
            figures["network_transmit_megabytes"] = (network.bytes_sent - before.bytes_sent) / _MB
        for number, (nvml, gpu) in enumerate(self._gpus):
            held = nvml.nvmlDeviceGetMemoryInfo(gpu)
            figures[f"gpu_{number}_memory_usage_megabytes"] = held.used / _MB
            figures[f"gpu_{number}_memory_usage_percentage"] = 100 * held.used / held.total
            figures[f"gpu_{number}_utilization_percentage"] = nvml.nvmlDeviceGetUtilizationRates(gpu).gpu
        return figures


def _gpus() -> list[tuple[Any, Any]]:
    """(NVIDIA's library, a GPU) of each, where nvidia-ml-py and a driver are installed; else none."""
    try:
        import pynvml  # type: ignore[import-not-found,import-untyped,unused-ignore]

        pynvml.nvmlInit()
        return [(pynvml, pynvml.nvmlDeviceGetHandleByIndex(at)) for at in range(pynvml.nvmlDeviceGetCount())]
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) or type(error).__module__ == "pynvml":
            return []
        raise
