"""Which people an experiment is for: conditions on attributes that a request brings."""

from collections.abc import Callable, Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from recsys.config import Settings

Value = bool | int | float | str
Test = Callable[[Any], bool]
_ABSENT = object()


class Condition(Settings):
    """What an attribute must be. Several rules must all hold; an absent attribute meets `present = false`
    alone."""

    one_of: tuple[Value, ...] | None = Field(
        default=None, description="The attribute is one of these values."
    )
    not_one_of: tuple[Value, ...] | None = Field(
        default=None, description="The attribute is there, and none of these."
    )
    at_least: float | None = Field(default=None, description="The attribute is a number, and at least this.")
    below: float | None = Field(default=None, description="The attribute is a number, and below this.")
    present: bool | None = Field(default=None, description="Whether the request brings the attribute.")

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        """`country = "de"` and `country = ["de", "at"]` are short for `one_of`."""
        if isinstance(value, list | tuple):
            return {"one_of": tuple(value)}
        return value if isinstance(value, Mapping | cls) else {"one_of": (value,)}

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self == type(self).model_construct():
            raise ValueError("a condition needs a rule: one_of, not_one_of, at_least, below or present")
        if () in (self.one_of, self.not_one_of):
            raise ValueError("a list of values must not be empty")
        if self.present is False and self != type(self).model_construct(present=False):
            raise ValueError("an attribute that is absent meets no other rule; leave the others out")
        return self

    def test(self) -> Test:
        """A function of an attribute's value that says whether it meets the condition."""
        among, besides = (frozenset(map(_key, values or ())) for values in (self.one_of, self.not_one_of))
        at_least, below, present = self.at_least, self.below, self.present

        def meets_it(value: Any) -> bool:
            if value is _ABSENT:
                return present is False
            return (
                present is not False
                and (not among or _key(value) in among)
                and (not besides or _key(value) not in besides)
                and (at_least is None or (_is_number(value) and value >= at_least))
                and (below is None or (_is_number(value) and value < below))
            )

        return meets_it


def tests_of(where: Mapping[str, Condition]) -> list[tuple[str, Test]]:
    """Each attribute with the function that its value must meet."""
    return [(name, condition.test()) for name, condition in where.items()]


def meets(attributes: Mapping[str, Any], tests: list[tuple[str, Test]]) -> bool:
    """Whether the attributes of a request meet all conditions."""
    return all(test(attributes.get(name, _ABSENT)) for name, test in tests)


def _key(value: Any) -> Any:
    """Values that are equal only among their kind: in Python True == 1."""
    if not isinstance(value, bool | int | float | str):
        return None
    return (type(value).__name__ if isinstance(value, bool | str) else "number", value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
