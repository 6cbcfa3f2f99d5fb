"""Logs larger than memory: read by and by, kept in files, and the same in every respect as those in
memory."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys.arrays import Ragged
from recsys.bundle.bundle import load
from recsys.data.dataset import Dataset
from recsys.data.prepare import PrepareSettings, prepare_data
from recsys.data.read.load import load_dataset
from recsys.data.read.tables import dataset_of
from recsys.data.split.audit import audit_split
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.errors import DataError, RecsysError, SettingError
from recsys.evaluation.metrics.item_facts import facts_of
from recsys.history import Histories
from recsys.matrix import on_disk
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.run.train import train
from recsys.training.towers import events as training_events
from recsys.training.towers.events import PastOfEvents

USERS, ITEMS = 40, 30


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes by pieces goes by many in these small logs."""
    for name, size in {
        "recsys.matrix.on_disk.CHUNK": 64,
        "recsys.matrix.on_disk._PART": 150,
        "recsys.data.read.formats._ROWS": 100,
        "recsys.data.split.ask._TOGETHER": 200,
    }.items():
        monkeypatch.setattr(name, size)


def frame(n: int = 1_000, seed: int = 3, typed: bool = True) -> pd.DataFrame:
    """Unordered events with repeats, many in the same second; weights whose sums are exact."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "user_id": [f"{one:03}" for one in rng.integers(USERS, size=n)],
        "item_id": rng.zipf(1.4, size=n) % ITEMS,
        "timestamp": 1_700_000_000 + rng.integers(0, 500, size=n) * 50,
    }
    if typed:
        columns |= {
            "event": rng.choice(["view", "buy", "click"], n),
            "weight": rng.choice([0.5, 1.0, 2.0], n),
        }
    return pd.DataFrame(columns)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A folder: the events in two files, and a table of items in another order than theirs."""
    folder, events = tmp_path / "log", frame()
    (folder / "events").mkdir(parents=True)
    events[:430].to_parquet(folder / "events" / "a.parquet")
    events[430:].to_parquet(folder / "events" / "b.parquet")
    ids = [str(item) for item in range(ITEMS + 3)][::-1]
    pd.DataFrame({"item_id": ids, "title": [f"T{one}" for one in ids]}).to_parquet(folder / "items.parquet")
    return folder


def both(path: Path, **settings: Any) -> tuple[Dataset, Dataset]:
    """The data set in memory and on disk, after the same rules."""
    rules = PrepareSettings(**settings)
    read = (load_dataset(str(path), on_disk=folder) for folder in (None, path.parent))
    first, second = (prepare_data(data, rules)[0] for data in read)
    assert first.interactions.folder is None
    assert second.interactions.folder == path.parent
    return first, second


def same(first: Any, second: Any) -> bool:
    return first is second is None or (first.dtype == second.dtype and np.array_equal(first, second))


def same_histories(first: Histories, second: Histories) -> bool:
    parts = ((h.items.offsets, h.items.values, h.time, h.weight, h.event) for h in (first, second))
    return all(same(one, other) for one, other in zip(*parts, strict=True))


LEFT_OUT = [
    {"min_rating": 1.0},
    {"min_rating": 2.0, "disliked_rating": 0.5, "event_weights": {"view": 0, "buy": 2}},
]


@pytest.mark.parametrize("rules", [{}, *LEFT_OUT, {"event_weights": {"view": 0.5, "buy": 2}}])
def test_a_log_read_by_and_by_is_the_same_data_set(log: Path, rules: dict[str, Any]) -> None:
    memory, disk = both(log, **rules)
    assert disk.digest == memory.digest
    assert isinstance(disk.interactions.user, np.memmap)
    assert disk.items.equals(memory.items)
    assert list(disk.item_ids) == list(memory.item_ids)
    ours, theirs = disk.interactions, memory.interactions
    assert same_histories(ours.histories(), theirs.histories())
    assert same_histories(disk.had.histories(), memory.had.histories())
    assert (disk.whole is None) == (memory.whole is None) == (rules not in LEFT_OUT)
    assert isinstance(ours.histories().items.values, np.memmap)
    for name in ("data", "indices", "indptr"):
        assert same(getattr(ours.matrix(), name), getattr(theirs.matrix(), name))
    assert ours.summary() == theirs.summary()
    assert ours.type_weights() == theirs.type_weights()
    mask = np.arange(len(ours)) % 3 == 1
    assert same(ours.where(mask).time, theirs.where(mask).time)
    assert same(ours.item_counts(since=1_700_010_000), theirs.item_counts(since=1_700_010_000))
    np.testing.assert_allclose(facts_of(disk).features, facts_of(memory).features, atol=1e-6)
    assert same(facts_of(disk).had.values, facts_of(memory).had.values)


def test_a_log_without_times_types_and_weights_keeps_the_order_of_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    frame()[["user_id", "item_id"]].to_parquet(path)
    memory, disk = both(path)
    assert disk.digest == memory.digest
    assert disk.interactions.time is None


@pytest.mark.parametrize(
    "settings", [{}, {"repeats": True}, {"kind": "leave_last_out"}, {"kind": "later_half"}, {"test": 0.3}]
)
@pytest.mark.parametrize("rules", [{}, {"target_event": "buy"}, {"min_rating": 1.0}])
def test_the_split_of_a_log_on_disk_asks_the_same(
    log: Path, settings: dict[str, Any], rules: dict[str, Any]
) -> None:
    memory, disk = both(log, **rules)
    ours, theirs = (split(data, SplitSettings(**settings), seed=4) for data in (disk, memory))
    for part in ("validation", "test"):
        one, other = getattr(ours, part), getattr(theirs, part)
        assert same_histories(one.history, other.history)
        assert same(one.user, other.user)
        assert same(one.known, other.known)
        assert one.now == other.now
        assert same(one.targets.offsets, other.targets.offsets)
        assert same(one.targets.values, other.targets.values)
        assert one.train.digest == other.train.digest


def test_a_leak_is_found_on_disk_too(log: Path) -> None:
    """The question moved back in time, and a target that is in the history and in what is learned from."""
    findings = []
    for data in both(log):
        cut = split(data, SplitSettings(), seed=4)
        assert cut.test.now is not None
        values = cut.test.targets.values.copy()
        values[0] = cut.test.history.items.row(0)[0]
        targets = Ragged(cut.test.targets.offsets, values)
        findings.append(
            audit_split(replace(cut, test=replace(cut.test, now=cut.test.now - 9_000, targets=targets)))
        )
    assert findings[0] == findings[1]
    kinds = {finding.kind for finding in findings[1]}
    assert {"future_in_train", "future_in_history", "target_in_history"} <= kinds


@pytest.mark.parametrize("start", [{"initial": "random"}, {"initial": "spectral", "propagation": 0.3}])
@pytest.mark.parametrize("history", ["before", "others", "none"])
def test_two_towers_learn_the_same_from_disk(log: Path, start: dict[str, Any], history: str) -> None:
    settings = {"dim": 8, "epochs": 2, "batch_size": 128, "history": history} | start
    learned: Any = [make_model("two_tower", settings).fit(data, seed=2) for data in both(log)]
    assert np.array_equal(learned[0].items, learned[1].items)
    assert learned[0].encoder.space_id == learned[1].encoder.space_id


def test_a_run_on_disk_ends_in_the_same_figures_and_bundle(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    values = {
        "model": {"name": "two_tower", "dim": 8, "epochs": 2},
        "metrics": ("ndcg_at_10", "diversity_at_10"),
    }
    settings = [
        load_settings(None, [f"data={log}", f"on_disk={kept}"], **values) for kept in ("false", "true")
    ]
    runs = [train(prepare(one, Steps(quiet=True))) for one in settings]
    first, second = (run.measured.report.values for run in runs)
    assert np.array_equal(first["ndcg_at_10"], second["ndcg_at_10"])
    bundles = [load(run.bundle) for run in runs if run.bundle]
    assert np.array_equal(bundles[0].item_vectors, bundles[1].item_vectors)
    assert same_histories(bundles[0].histories, bundles[1].histories)
    left = {path.name for path in (tmp_path / "mlruns").iterdir()}
    assert left <= {".lock", "mlflow.db", "artifacts", "trained", "checkpoints"}


def test_memory_hardly_grows_with_a_log_on_disk(tmp_path: Path) -> None:
    """Reading, splitting, and going through all batches with their histories."""
    peaks, rng = dict[tuple[str, int], int](), np.random.default_rng(1)
    for kept, n in (("disk", 150_000), ("disk", 1_200_000), ("memory", 1_200_000)):
        columns = {"user_id": rng.integers(20_000, size=n), "item_id": rng.integers(5_000, size=n)}
        events = pd.DataFrame(columns | {"timestamp": 1_700_000_000 + rng.integers(10**7, size=n)})
        path = tmp_path / f"{n}.parquet"
        events.to_parquet(path, row_group_size=100_000)  # what a reader holds of a file is one of these
        command = [sys.executable, "-m", "tests.helpers.on_disk_process", str(path), kept]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        peaks[kept, n] = int(done.stdout) << 10
    assert peaks["disk", 1_200_000] - peaks["disk", 150_000] < 20 * 1_050_000
    assert peaks["memory", 1_200_000] - peaks["disk", 1_200_000] > 60 * 1_200_000


@pytest.mark.parametrize("pool", [1 << 22, 256])
def test_batches_hold_each_event_once_and_mix_the_log(pool: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_events, "_POOL", pool)
    monkeypatch.setattr(training_events, "_BLOCK", 16)
    rng = np.random.default_rng(0)
    data = dataset_of(frame(1_003, typed=False))
    events = PastOfEvents(data.interactions.histories(), "before", 10)
    batches, again = (list(events.batches(64, np.random.default_rng(5))) for _ in range(2))
    assert [len(batch) for batch in batches] == [64] * 15 + [43]
    assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(1_003))
    assert all(np.array_equal(one, other) for one, other in zip(batches, again, strict=True))
    assert all((np.diff(batch) > 0).all() for batch in batches)
    far = [np.ptp(batch) for batch in batches]
    assert min(far) > 400  # neighbours do not go together
    assert not np.array_equal(batches[0], next(events.batches(64, rng)))


@pytest.mark.parametrize(
    ("rules", "said"),
    [({"duplicates": "last"}, "prepare.duplicates = 'last'"), ({"min_user_events": 2}, "a k-core")],
)
def test_rules_over_the_whole_log_are_refused(log: Path, rules: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=f"{said} looks at all events at once, in memory"):
        both(log, **rules)


def test_what_cannot_be_read_by_and_by_is_said(tmp_path: Path) -> None:
    events = frame(typed=False)
    events.to_csv(tmp_path / "log.csv")
    events.assign(split="train").to_parquet(tmp_path / "cut.parquet")
    events[["user_id", "item_id"]].assign(pos=1).to_parquet(tmp_path / "placed.parquet")
    events[:0].to_parquet(tmp_path / "empty.parquet")
    (tmp_path / "parts").mkdir()
    events.to_parquet(tmp_path / "parts" / "train.parquet")
    (tmp_path / "uneven").mkdir()
    events.to_parquet(tmp_path / "uneven" / "a.parquet")
    events.drop(columns="timestamp").to_parquet(tmp_path / "uneven" / "b.parquet")
    for name, said in {
        "log.csv": "on_disk reads Parquet, and .*log.csv is none. Convert it",
        "cut.parquet": "column 'split': a published split is read into memory",
        "placed.parquet": "column 'pos': places",
        "empty.parquet": "has no rows",
        "parts": r"a published split \(train\)",
        "uneven": "all files must have the same columns; 'timestamp'",
    }.items():
        with pytest.raises(DataError, match=said):
            load_dataset(str(tmp_path / name), on_disk=tmp_path)


def test_a_world_is_not_kept_on_disk() -> None:
    with pytest.raises(SettingError, match="data = world is made in memory"):
        prepare(load_settings(None, ["on_disk=true"]), Steps(quiet=True))


def test_a_bad_row_is_named_by_its_file_and_number(log: Path) -> None:
    events = pd.read_parquet(log / "events" / "b.parquet")
    events.loc[events.index[333], "user_id"] = ""
    events.to_parquet(log / "events" / "b.parquet")
    with pytest.raises(DataError, match=r"'user_id'.*an empty id, first row 334 of .*b\.parquet"):
        load_dataset(str(log), on_disk=log.parent)


def test_a_disk_that_is_full_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(RecsysError, match=f"{tmp_path} cannot take the events: No space left on device"):
        on_disk.room(tmp_path, 10, np.int32)
