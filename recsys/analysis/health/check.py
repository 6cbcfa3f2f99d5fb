"""What a check says of a test, and how sure it must be to call one sick."""

from typing import Any, NamedTuple

ALARM = 0.001  # the chance of a false alarm, of each check over all that it compares
OK, SICK, UNKNOWN = "ok", "sick", "not checked"


class Check(NamedTuple):
    """One thing that was looked at. state: ok, sick or not checked; said: a sentence with its figures."""

    name: str
    state: str
    said: str


def sick_if(sick: Any) -> str:
    """The state of what was looked at."""
    return SICK if sick else OK
