"""Several spaces in one, weighed by the domain that is asked for, and by whether a person has done anything
there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from recsys.arrays import F32, I32, Bool
from recsys.encoders.concat import Concat, load_parts
from recsys.encoders.encoder import Encoder, read_encoder, space_id_of
from recsys.encoders.users import Users


class Weights(NamedTuple):
    """Of each part, for who asks for a domain. known: whoever has events there. new: whoever has none, all 0
    = the fallback answers."""

    known: tuple[float, ...]
    new: tuple[float, ...]


class Guarded(Concat):
    """A concatenation whose weights depend on the domain that is asked for.

    rules: by the code of a domain. weights: without a domain, and in one without a rule. domain: int32
    (n_items,), the code of each item, -1 = none. So a model that learns from all domains answers where it has
    been shown to help, and one of the domain alone where not.
    """

    encoder_kind: ClassVar[str] = "guarded"

    def __init__(
        self,
        parts: Sequence[Encoder],
        weights: Sequence[float],
        rules: Mapping[int, Weights],
        domain: I32,
        *,
        space_id: str | None = None,
    ) -> None:
        self.rules, self.domain = {code: Weights(*map(tuple, rule)) for code, rule in rules.items()}, domain
        super().__init__(parts, weights, space_id=space_id)
        if space_id is None:
            described = {"parts": self.space_id, "rules": self._plain_rules()}
            self.space_id = space_id_of(self.encoder_kind, described, {"domain": domain})

    def _plain_rules(self) -> dict[str, list[list[float]]]:
        return {str(code): [list(rule.known), list(rule.new)] for code, rule in sorted(self.rules.items())}

    @property
    def needs(self) -> frozenset[str]:
        return super().needs | {"domain", "weight"}

    @property
    def used(self) -> Bool:
        chosen = [self.weights, *(weights for rule in self.rules.values() for weights in rule)]
        used: Bool = (np.array(chosen) != 0).any(axis=0)
        return used

    def row_weights(self, users: Users) -> F32:
        weight = super().row_weights(users)
        if users.domain is None:
            return weight
        had = users.history.counting()
        places, inside = had.items.values, had.items.values < len(self.domain)  # others came after learning
        row, code = had.items.row_of_value()[inside], self.domain[places[inside]]
        for asked, rule in self.rules.items():
            knows = np.bincount(row[code == asked], minlength=len(users)) > 0
            for rows, weights in ((knows, rule.known), (~knows, rule.new)):
                weight[rows & (users.domain == asked)] = np.array(weights, np.float32)
        return weight

    def _parameters(self) -> dict[str, Any]:
        return super()._parameters() | {"rules": self._plain_rules()}

    def _arrays(self) -> dict[str, Any]:
        return {"domain": self.domain}

    @classmethod
    def load(cls, folder: Path, items: F32) -> Self:
        parameters, arrays = read_encoder(folder)
        parts = load_parts(folder, items, parameters.pop("dims"))
        rules = {int(code): Weights(*rule) for code, rule in parameters.pop("rules").items()}
        return cls(parts, rules=rules, domain=arrays["domain"], **parameters)
