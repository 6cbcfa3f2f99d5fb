"""Any order of telling, identifying, forgetting, exporting and opening anew, against a store that is a plain
list."""

import tempfile
from pathlib import Path

import pyarrow.dataset as ds
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from recsys.events.event import StoredEvent
from recsys.events.store import EventStore
from recsys.pipelines.events.export import export
from tests.events.test_store import NOW_MS, event

PEOPLE = [f"u{number}" for number in range(6)]
person = st.sampled_from(PEOPLE)
told = st.builds(
    lambda number, user, kind: event(number, f"u{user}", kind=kind),
    st.integers(0, 30),
    st.integers(0, 5),
    st.sampled_from(["outcome", "impression"]),
)


class PlainStore:
    """The same, as slowly and plainly as can be."""

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []
        self.became: dict[str, str] = {}
        self.exported: dict[str, StoredEvent] = {}

    def tell(self, events: list[StoredEvent]) -> int:
        new = 0
        for one in events:
            if one.event_id not in {kept.event_id for kept in self.events}:
                self.events.append(one)
                new += 1
        return new

    def ids_of(self, user: str) -> set[str]:
        ids = {user}
        while more := {b for a, b in self.edges() if a in ids} - ids:
            ids |= more
        return ids

    def edges(self) -> set[tuple[str, str]]:
        pairs = set(self.became.items())
        return pairs | {(new, old) for old, new in pairs}

    def forget(self, user: str) -> None:
        ids = self.ids_of(user)
        self.events = [one for one in self.events if one.user_id not in ids]
        self.became = {old: new for old, new in self.became.items() if not {old, new} & ids}


class Store(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path, self.plain = Path(self.folder.name), PlainStore()
        self.store = EventStore(self.path / "state")
        self.seq = 0

    @rule(batches=st.lists(st.lists(told, max_size=5), min_size=1, max_size=3))
    def tell(self, batches: list[list[StoredEvent]]) -> None:
        for events, receipt in zip(batches, self.store.append(batches, NOW_MS), strict=True):
            new = self.plain.tell(events)
            assert (receipt.accepted, receipt.duplicates) == (new, len(events) - new)
            assert receipt.seq >= self.seq
            self.seq = receipt.seq

    @rule(old=person, new=person)
    def identify(self, old: str, new: str) -> None:
        self.store.identify([(old, new)], NOW_MS)
        if old != new:
            self.plain.became[old] = new

    @rule(user=person)
    def forget(self, user: str) -> None:
        self.store.forget(user, NOW_MS)
        self.plain.forget(user)

    @rule()
    def open_anew(self) -> None:
        self.store.close()
        self.store = EventStore(self.path / "state")

    @rule()
    def export(self) -> None:
        export(self.store, self.path / "out")
        outcomes = {one.event_id for one in self.plain.events if one.kind == "outcome"}
        if outcomes:
            rows = ds.dataset(self.path / "out" / "outcomes").to_table(["event_id"]).column(0).to_pylist()
            assert outcomes <= set(rows)

    @invariant()
    def says_the_same(self) -> None:
        assert [one for _, _, one in self.store.events()] == self.plain.events
        assert self.store.last_seq() == self.seq
        for user in PEOPLE:
            ids = self.plain.ids_of(user)
            assert set(self.store.ids_of(user)) == ids
            own = [one for one in self.plain.events if one.user_id in ids and one.kind == "outcome"]
            assert [one.item_id for one in self.store.outcomes(user)] == [one.item_id for one in own]

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


TestStore = Store.TestCase
TestStore.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
