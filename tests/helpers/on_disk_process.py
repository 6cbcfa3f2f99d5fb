"""Reads a log, splits it and goes through its batches, by small pieces; prints the most memory that this
took."""

import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from recsys.data.read import formats
from recsys.data.read.load import load_dataset
from recsys.data.split import ask
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.matrix import on_disk
from recsys.training.towers import events
from recsys.training.towers.events import PastOfEvents

peak, done = 0, threading.Event()


def look() -> None:
    """Keeps the most memory of the process that no file stands behind, in KiB."""
    global peak
    while not done.wait(0.002):
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = max(peak, next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")))


def main(path: Path, kept: str) -> None:
    on_disk.CHUNK, on_disk._PART, events._POOL = 1 << 14, 1 << 15, 1 << 15
    ask._TOGETHER, formats._ROWS = 1 << 15, 1 << 15
    pa.set_memory_pool(pa.system_memory_pool())
    data = load_dataset(str(path), on_disk=path.parent if kept == "disk" else None)
    train = split(data, SplitSettings(), seed=1).test.train.interactions
    past, seen = PastOfEvents(train.histories(), "before", 20), 0
    for batch in past.batches(1 << 13, np.random.default_rng(1)):
        history = past.windows(batch).histories()
        assert history.rows == len(batch)
        seen += len(batch)
    assert seen == len(train)


if __name__ == "__main__":
    looker = threading.Thread(target=look)
    looker.start()
    main(Path(sys.argv[1]), sys.argv[2])
    done.set()
    looker.join()
    print(peak)
