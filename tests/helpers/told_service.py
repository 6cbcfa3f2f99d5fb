"""A service that is told, swapped, restarted, exported from and made to forget in any order, against a plain
model."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from recsys.bundle.bundle import Bundle, load
from recsys.bundle.root import current
from recsys.events.store import EventStore
from recsys.keys import make_key
from recsys.pipelines.events.export import export
from tests.helpers.service import ITEMS, publish_toy, running

PEOPLE = ["u1", "u2", "u3", "cookie", "phone"]
person = st.sampled_from(PEOPLE)


class ToldService(RuleBasedStateMachine):
    """HTTP on one side; on the other a dictionary of events, one of identities, and a set of who is
    forgotten."""

    workers = 1

    def __init__(self) -> None:
        super().__init__()
        self.life, self.process = ExitStack(), ExitStack()
        folder = Path(self.life.enter_context(tempfile.TemporaryDirectory()))
        self.root, self.state, self.out = folder / "bundles", folder / "state", folder / "out"
        secret, _ = make_key(self.state / "keys.json", "all", ["read", "write", "admin"])
        self.head = {"authorization": f"Bearer {secret}"}
        self.events = dict[str, tuple[str, str, str]]()  # event id -> person, item, kind
        self.became, self.forgotten, self.seq, self.seed = dict[str, str](), set[str](), 0, 1

    @initialize()
    def begin(self) -> None:
        publish_toy(self.root, self.seed)
        self.start()

    def start(self) -> None:
        options = ("--state", str(self.state), "--workers", str(self.workers), "--idle-check-s", "0")
        self.service = self.process.enter_context(running(self.root, Path("store"), *options))
        self.served: Bundle = load(current(self.root))

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.service.ask(method, path, body, self.head)
        assert answer.status == 200, answer.body
        return answer.json

    def ids_of(self, user: str) -> set[str]:
        ids, pairs = {user}, {*self.became.items(), *((new, old) for old, new in self.became.items())}
        while more := {b for a, b in pairs if a in ids} - ids:
            ids |= more
        return ids

    @rule(
        number=st.integers(0, 200),
        user=person,
        item=st.integers(10, 58),
        kind=st.sampled_from(["outcome"] * 3 + ["impression"]),
    )
    def tell(self, number: int, user: str, item: int, kind: str) -> None:
        event_id, new = f"e{number}", f"e{number}" not in self.events
        told = {"event_id": event_id, "kind": kind, "user_id": user, "item_id": ITEMS[item]}
        answer = self.ask("POST", "/v1/events", [told])
        assert (answer["accepted"], answer["duplicates"]) == (int(new), int(not new))
        assert answer["state_seq"] >= self.seq
        self.seq = answer["state_seq"]
        if new:
            self.events[event_id] = (user, ITEMS[item], kind)

    @rule(old=person, new=person)
    def identify(self, old: str, new: str) -> None:
        self.ask("POST", "/v1/identities", {"from": old, "to": new})
        if old != new:
            self.became[old] = new

    @rule(user=person)
    def look(self, user: str) -> None:
        answer = self.ask("POST", "/v1/recommend", {"user_id": user, "k": 60, "min_state_seq": self.seq})
        assert answer["state_seq"] >= self.seq
        ids, had = self.ids_of(user), set[str]()
        if (row := self.served.user_ids.index(user)) >= 0 and user not in self.forgotten:
            had |= set(self.served.item_ids.take(self.served.histories.row(row).items.values))
        had |= {item for who, item, kind in self.events.values() if who in ids and kind == "outcome"}
        answered = {one["item_id"] for one in answer["items"]}
        assert not answered & had
        assert answered | had >= set(ITEMS[:-1])
        assert (answer["source"] == "fallback") == (not had)

    @rule()
    def swap(self) -> None:
        self.seed += 1
        wanted = publish_toy(self.root, self.seed)
        from tests.serving.test_life import wait_for

        wait_for(lambda: self.ask("GET", "/v1/model")["bundle_id"] == wanted)
        self.served = load(current(self.root))

    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        if kill:
            self.service.process.kill()
        else:
            self.service.process.terminate()
        self.service.process.wait(60)
        self.process.close()
        self.start()

    @rule(user=person)
    def forget(self, user: str) -> None:
        ids = self.ids_of(user)
        gone = self.ask("DELETE", f"/v1/users/{user}")["deleted"]
        kept = {name: told for name, told in self.events.items() if told[0] not in ids}
        assert gone["events"] == len(self.events) - len(kept)
        self.events, self.forgotten = kept, self.forgotten | ids
        self.became = {old: new for old, new in self.became.items() if not {old, new} & ids}

    @precondition(lambda self: any(kind == "outcome" for _, _, kind in self.events.values()))
    @rule()
    def export(self) -> None:
        store = EventStore(self.state)
        export(store, self.out)
        store.close()
        rows = ds.dataset(self.out / "outcomes").to_table(["event_id"]).column(0).to_pylist()
        assert {name for name, told in self.events.items() if told[2] == "outcome"} <= set(rows)
        assert len(rows) == len(set(rows))

    def teardown(self) -> None:
        store = EventStore(self.state)
        assert {told.event_id for _, _, told in store.events()} == set(self.events)
        store.close()
        self.process.close()
        self.life.close()
