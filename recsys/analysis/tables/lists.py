"""What the lists of each arm held, where the exposures say: items, bundles, sources, and whether they
differed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.analysis.plan import Plan
from recsys.analysis.tables.rows import Part, Table
from recsys.arrays import I64, Array
from recsys.progress import Progress, silent


class Lists(NamedTuple):
    """By arm of the plan: how many lists; bundle -> lists and source -> lists, none where the table names
    none; how many different items, and how many were shown in all (both 0 where the table has no items).

    overlap: of what control and each other arm showed, the share that both did (1 = every item as often); NaN
    where items are unknown. differs: of lists of all arms, the share that would have differed; NaN likewise.
    """

    lists: Mapping[str, int]
    bundles: Mapping[str, Mapping[str, int]]
    sources: Mapping[str, Mapping[str, int]]
    items: Mapping[str, int]
    shown: Mapping[str, int]
    overlap: Mapping[str, float]
    differs: float

    def main_bundle(self, arm: str) -> str | None:
        """The bundle that most lists of an arm were made from; None where the table names none."""
        return max(self.bundles[arm], key=lambda name: (self.bundles[arm][name], name), default=None)


def read_lists(source: Any, plan: Plan, *, progress: Progress = silent) -> Lists:
    """The lists of a table of exposures, by arm: a row each, with `items` or without, or a row for each
    item."""
    own = plan.columns
    roles: dict[str, Sequence[str]] = {
        "arm": ("arm", "variation_id"),
        "experiment": ("experiment", "experiment_id"),
        "phase": ("phase",),
        "differs": ("differs",),
        "bundle": ("bundle_id",),
        "source": ("source",),
        "items": ("items", "item_id"),
        "position": ("position",),
    }
    named = {"arm": own.arm, "experiment": own.experiment, "differs": own.differs}
    table = Table(source, "exposures", roles, ("arm",), named)
    lists: Counter[str] = Counter()
    counted: dict[str, dict[str, Counter[str]]] = {
        role: {arm: Counter() for arm in plan.arms} for role in ("bundle", "source", "items")
    }
    differing = asked = 0
    for part in table.parts(progress):
        kept = _is(part, "experiment", plan.experiment) & _is(part, "phase", plan.phase)
        arms = part.labels("arm")
        names = [plan.arms.index(name) if name in plan.arms else -1 for name in arms.names.to_pylist()]
        arm = np.where(kept, np.append(np.array(names, np.int64), -1)[arms.code], -1)
        by_item = "position" in part.columns and "items" in part.columns and part.names["items"] == "item_id"
        top = part.numbers("position") == 1 if by_item else np.ones(len(arm), bool)
        for code, name in enumerate(plan.arms):
            lists[name] += int(((arm == code) & top).sum())
        if "differs" in part.columns:
            asked += int((top & (arm >= 0)).sum())
            differing += int((top & (arm >= 0) & part.flags("differs")).sum())
        for role in ("bundle", "source"):
            if role in part.columns:
                _count(counted[role], plan, np.where(top, arm, -1), part.labels(role))
        if "items" in part.columns:
            _count_items(counted["items"], plan, arm, part)
    items = counted["items"]
    return Lists(
        {arm: lists[arm] for arm in plan.arms},
        counted["bundle"],
        counted["source"],
        {arm: len(items[arm]) for arm in plan.arms},
        {arm: items[arm].total() for arm in plan.arms},
        {arm: _overlap(items[plan.control], items[arm]) for arm in plan.treated},
        differing / asked if asked else float("nan"),
    )


def _is(part: Part, role: str, wanted: str | None) -> Array:
    if wanted is None or role not in part.columns:
        return np.ones(len(part), bool)
    codes = part.labels(role)
    same = np.asarray(pc.equal(codes.names, wanted).to_numpy(zero_copy_only=False), bool)
    return np.append(same, False)[codes.code]


def _count(into: dict[str, Counter[str]], plan: Plan, arm: I64, codes: Any) -> None:
    """Adds how often each arm has each name; arm (rows,), -1 = none."""
    width = len(codes.names)
    rows = (arm >= 0) & (codes.code >= 0)
    table = np.bincount(arm[rows] * width + codes.code[rows], minlength=len(plan.arms) * width)
    names = codes.names.to_pylist()
    for code, counts in enumerate(table.reshape(len(plan.arms), width)):
        for at in np.flatnonzero(counts).tolist():
            into[plan.arms[code]][str(names[at])] += int(counts[at])


def _count_items(into: dict[str, Counter[str]], plan: Plan, arm: I64, part: Part) -> None:
    from recsys.data.read.columns import parse_ids

    column = part.columns["items"]
    whole = column.combine_chunks()
    flat = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
    if pa.types.is_list(flat.type) or pa.types.is_large_list(flat.type):
        lengths = pc.list_value_length(flat).fill_null(0).to_numpy(zero_copy_only=False)
        arm, flat = np.repeat(arm, lengths), pc.list_flatten(flat)
    codes, _ = parse_ids(pa.chunked_array([flat]), "items")
    if codes is not None:
        _count(into, plan, arm, codes)


def _overlap(control: Counter[str], treated: Counter[str]) -> float:
    """The sum over items of the smaller of both shares."""
    one, other = control.total(), treated.total()
    if not one or not other:
        return float("nan")
    return sum(min(count / one, treated[item] / other) for item, count in control.items())
