"""Recommendations for every user of a bundle, as Parquet files: resumable, in bounded memory, by the serving
path.

The folder holds `part-00000.parquet` ... (user_id, rank from 1, item_id, score, source, bundle_id) and
`_recommendations.json`, which names the bundle, k, the moment of the question and the finished parts; who
reads a folder as one table passes over names with this `_`. A part is written aside, fsynced, renamed, and
only then listed: killed at any moment, the next call makes what is missing, nothing twice. Where the name of
what to write ends in .csv, the parts are joined to one table for a spreadsheet, with titles.
"""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from recsys import durable
from recsys.answers.person import domain_of, items_to_consider, stored_users
from recsys.answers.question import Question
from recsys.arrays import Array, Ragged
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.root import current
from recsys.encoders.encoder import SOURCES
from recsys.errors import BundleError, RequestError
from recsys.pipelines.console import Steps
from recsys.progress import Progress, Step, silent

STATE = "_recommendations.json"
_OLD_STATE = "recommendations.json"  # its name in folders that version 0.1 began
_PART_ROWS = 1 << 20  # rows of a part, padding included: about 60 MiB in memory
_BLOCK_USERS = 1_024
_SHEET = ".csv"  # how the name of a table for a spreadsheet ends
_FORMULA = r"^([=@\t\r]|[+-][^0-9.])"  # what a spreadsheet would take for one, at the start of a text
_MARK = b"\xef\xbb\xbf"  # tells Excel that a text is UTF-8


@dataclass(frozen=True)
class Batch:
    """What a call did. users: those it answered itself; total: all that are asked for; parts: in the folder
    now."""

    folder: Path
    users: int
    total: int
    parts: int
    seconds: float

    @property
    def users_per_second(self) -> float:
        return self.users / self.seconds if self.seconds else 0.0


def recommend_all(
    bundle: Bundle,
    k: int,
    folder: Path,
    *,
    people: Array | None = None,
    domain: str | None = None,
    part_users: int | None = None,
    progress: Progress = silent,
) -> Batch:
    """Writes the k best items of every user into `folder`, or what is missing of them; all items where k is
    more.

    people: ascending rows of the only users to answer; None = all. domain: the only one to answer items of.
    part_users: users in a part; None = as many as make about a million rows. Raises BundleError where the
    folder holds the recommendations of another bundle, k, domain or other people, or anything else, and where
    the disk refuses.
    """
    if k < 1:
        raise RequestError(f"k must be at least 1, got {k}.")
    k = min(k, bundle.recommender.n_items)
    everyone = np.flatnonzero(bundle.user_ids.present) if people is None else people
    total = len(everyone)
    digest = None if people is None else sha256(people.astype(np.int64).tobytes()).hexdigest()[:16]
    wanted = {"bundle_id": bundle.bundle_id, "k": k, "users": total, "domain": domain, "people": digest}
    question = Question(k=k, domain=domain)
    among = items_to_consider(bundle, question, [])
    if folder.is_dir():
        _refuse_strange(folder)  # before the lock is laid into it
    with durable.publishing(folder):
        state = _state(folder, wanted, part_users or max(1, _PART_ROWS // k))
        size, done = state["part_users"], set(state["parts"])
        items = pa.array(list(bundle.item_ids), pa.string())
        started, answered = time.perf_counter(), 0
        for number, start in enumerate(range(0, total, size)):
            rows, name = everyone[start : start + size], f"part-{number:05}.parquet"
            if name in done and (folder / name).is_file():
                continue
            asked = replace(question, now=state["now"])
            table = _answers(bundle, rows, asked, among, items, partial(_advance, progress, start, total))
            durable.write_whole(folder / name, partial(pq.write_table, table, compression="zstd"))
            answered += len(rows)
            done.add(name)
            _save(folder, state | {"parts": sorted(done)})
        seconds = time.perf_counter() - started
    return Batch(folder, answered, total, len(done), seconds)


def _advance(progress: Progress, start: int, total: int, done: int) -> None:
    progress(Step("recommending", start + done, total))


def _state(folder: Path, wanted: dict[str, Any], part_users: int) -> dict[str, Any]:
    """The state that an earlier call with the same request left; else a fresh one, if the folder is empty."""
    path = next((path for name in (STATE, _OLD_STATE) if (path := folder / name).exists()), None)
    if path is None:
        _refuse_strange(folder)
        state = {**wanted, "part_users": part_users, "now": int(time.time()), "parts": []}
        _save(folder, state)
        return state
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        stated = {"domain": None, "people": None} | state  # a state of old says nothing of these two
        stated = {key: stated[key] for key in (*wanted, "part_users", "now", "parts")}
    except (ValueError, KeyError, TypeError):
        raise BundleError(f"{path} cannot be read as the state of a batch. Name an empty folder.") from None
    for key, value in wanted.items():
        if stated[key] != value:
            raise BundleError(
                f"{folder} holds recommendations of {key} {stated[key]}, and this call asks for {value}. "
                "Name an empty folder, or ask for the same."
            )
    if path.name == _OLD_STATE:
        _save(folder, stated)
    (folder / _OLD_STATE).unlink(missing_ok=True)
    return stated


def _refuse_strange(folder: Path) -> None:
    """Raises BundleError where a folder is not empty and holds no state of a batch."""
    strange = [path.name for path in folder.iterdir() if path.name != ".lock"]
    if (
        strange
        and not {STATE, _OLD_STATE} & {*strange}
        and not all(name.endswith(durable.PARTIAL) for name in strange)
    ):
        raise BundleError(
            f"{folder} is not empty ({min(strange)}) and holds no {STATE}. Name an empty folder."
        )


def _save(folder: Path, state: dict[str, Any]) -> None:
    durable.write_pointer(folder / STATE, json.dumps(state, indent=1) + "\n")


def _answers(
    bundle: Bundle, rows: Array, question: Question, among: Ragged | None, items: pa.Array, done: Any
) -> pa.Table:
    """The rows of a part. among: the only items to consider, in one row.

    Users go through the recommender a block at a time, exactly as a request with their id."""
    tables = []
    for start in range(0, len(rows), _BLOCK_USERS):
        block = rows[start : start + _BLOCK_USERS]
        users = stored_users(bundle, block, question.now)
        only = None if among is None else among.take(np.zeros(len(block), np.int64))
        if (domain := domain_of(bundle, question)) is not None:
            users = replace(users, domain=np.repeat(domain, len(block)))
        answer = bundle.recommender.recommend(users, question.k, among=only)
        user, rank = np.nonzero(answer.ids >= 0)
        people = pa.array([bundle.user_ids[int(row)] for row in block], pa.string())
        source = pa.DictionaryArray.from_arrays(pa.array(answer.source[user]), pa.array(SOURCES))
        made_by = pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(len(user), np.int8)), pa.array([bundle.bundle_id])
        )
        columns = {
            "user_id": people.take(pa.array(user)),
            "rank": pa.array((rank + 1).astype(np.int32)),
            "item_id": items.take(pa.array(answer.ids[user, rank])),
            "score": pa.array(answer.scores[user, rank]),
            "source": source,
            "bundle_id": made_by,
        }
        tables.append(pa.table(columns))
        done(start + len(block))
    return pa.concat_tables(tables)


def command(
    bundle: Path, k: int, out: Path | None, chosen: Path | None, domain: str | None, as_json: bool
) -> dict[str, Any]:
    """`recsys recommend --all-users` or `--users FILE`: shows a bar, says how fast it went. chosen: the
    file."""
    if out is None:
        raise RequestError("--all-users and --users need --out, the folder for their recommendations.")
    from recsys.pipelines.imports import read_ids
    from recsys.pipelines.threads import set_threads

    set_threads(0)
    steps = Steps(quiet=as_json)
    loaded = load(current(bundle))
    people = None if chosen is None else _rows_of(loaded, read_ids(chosen, "user", "user_id"), chosen, steps)
    if k > loaded.recommender.n_items:
        steps.say(
            f"The bundle has {loaded.recommender.n_items:,} items, fewer than {k:,}: people get all "
            "that they may."
        )
    sheet = out.suffix.lower() == _SHEET
    if sheet and out.is_dir():
        raise RequestError(f"{out} is a folder. Name a file that ends in {_SHEET}, or a folder without it.")
    folder = out.with_name(f".{out.name}.parts") if sheet else out
    with steps.step("recommend") as progress:
        batch = recommend_all(loaded, k, folder, people=people, domain=domain, progress=progress)
    if sheet:
        with steps.step("join the parts"):
            durable.write_whole(out, partial(_write_sheet, loaded, folder))
        shutil.rmtree(folder)
    place = "one table" if sheet else f"{batch.parts} part{'s' * (batch.parts != 1)}"
    steps.say(
        f"{out} holds {batch.total:,} users in {place}; {batch.users:,} of them "
        f"answered now, {batch.users_per_second:,.0f} users a second."
    )
    return {
        "folder": str(out),
        "users": batch.users,
        "total_users": batch.total,
        "parts": batch.parts,
        "seconds": round(batch.seconds, 2),
        "users_per_second": round(batch.users_per_second, 1),
    }


def _write_sheet(bundle: Bundle, folder: Path, path: Path) -> None:
    """Joins the parts of a folder to one CSV: user_id, rank, item_id, title, score, source. A text that a
    spreadsheet would run as a formula begins with an apostrophe."""
    with path.open("wb") as file:
        file.write(_MARK)
        writer: Any = None
        for part in sorted(folder.glob("part-*.parquet")):
            table = pq.read_table(part)
            titles = bundle.catalogue.titles_of(bundle.item_ids.indices(table["item_id"].to_pylist()))
            table = table.append_column("title", pa.array(titles, pa.string()))
            table = table.select(["user_id", "rank", "item_id", "title", "score", "source"])
            for at, name in enumerate(table.column_names):
                if name not in ("rank", "score"):
                    text = table[name].cast(pa.string())
                    table = table.set_column(at, name, pc.replace_substring_regex(text, _FORMULA, r"'\1"))
            writer = writer or pyarrow.csv.CSVWriter(file, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()


def _rows_of(bundle: Bundle, ids: Sequence[str], file: Path, steps: Steps) -> Array:
    """int64 (n,), ascending: the rows of the users in a file; a warning names ids that the bundle lacks."""
    rows = bundle.user_ids.indices(ids)
    unknown = [one for one, row in zip(ids, rows, strict=True) if row < 0]
    if len(unknown) == len(ids):
        first = f"; the first is {unknown[0]!r}" if unknown else ""
        raise RequestError(
            f"none of the {len(ids):,} users of {file} is in bundle {bundle.bundle_id}{first}."
        )
    if unknown:
        steps.warn(
            f"{len(unknown):,} of {len(ids):,} users are not in the bundle; the first is {unknown[0]!r}."
        )
    return np.unique(rows[rows >= 0]).astype(np.int64)
