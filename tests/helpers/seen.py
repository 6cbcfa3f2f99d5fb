"""A small bundle whose seen policy looks at time, type and domain."""

from dataclasses import replace
from typing import Any

import numpy as np

from recsys.bundle.content import Content
from tests.helpers.bundles import content

DAY = 86_400
NAMES = ("view", "buy", "rate")
STATED = {
    "policy": "cooldown_days",
    "days": 1,
    "events": ["buy", "view"],
    "domains": {"books": {"events": ["buy"]}},
}


def make_content(seen: Any) -> Content:
    whole = content(seen=seen)
    event = np.random.default_rng(5).integers(3, size=len(whole.histories)).astype(np.int8)
    return replace(whole, histories=replace(whole.histories, event=event), event_names=NAMES)
