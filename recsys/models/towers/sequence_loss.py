"""The loss of a sequence model: who looks for which item, among all or among those of a domain."""

from typing import Any

import numpy as np

from recsys.arrays import F32, I64, Array
from recsys.models.towers.sequence_domains import SequenceDomains
from recsys.models.towers.sequence_settings import SequenceSettings
from recsys.training.losses import Gradients, Sample, gbce_by_pieces, softmax_by_pieces

Drawn = tuple[I64, F32]  # which items of a pool stand for all others, and for how many each


class SequenceLoss:
    """offered: how many items there are to choose among. domains: None = they are not learned. placed: puts
    an array on the device. precision: of the large products."""

    def __init__(
        self,
        settings: SequenceSettings,
        offered: int,
        domains: SequenceDomains | None,
        placed: Any,
        precision: Any,
    ) -> None:
        self.settings, self.offered, self.domains = settings, offered, domains
        self.placed, self.precision = placed, precision

    def of(
        self,
        people: Any,
        vectors: Any,
        pool: I64,
        target: Array,
        weight: Any,
        asked: I64,
        drawn: Drawn | None,
    ) -> Gradients:
        """The loss of people (n, dim) who look for the items `target` (n,), and its gradients.

        vectors: (m, dim), of the items `pool`, ascending. weight: (n,), what each counts. asked: the domain
        among whose items they look, -1 = all. drawn: None = each item of the pool stands for itself.
        """
        import torch

        if self.domains is None or not self.settings.within_domain:
            return self._among(people, vectors, np.searchsorted(pool, target), weight, drawn)
        loss, by_user, by_item = 0.0, torch.zeros_like(people), torch.zeros_like(vectors)
        for rows, among in self.domains.groups(asked, pool):
            row, column = self.placed(rows), self.placed(among)
            some = None
            if drawn is not None:
                held = np.isin(drawn[0], among)
                if (
                    not held.any()
                ):  # nothing of this domain was drawn, so there is nothing to tell an item from
                    continue
                some = np.searchsorted(among, drawn[0][held]), drawn[1][held]
            wanted = np.searchsorted(pool[among], target[rows])
            gradients = self._among(people[row], vectors[column], wanted, weight[row], some)
            loss, by_user[row] = loss + gradients.loss, gradients.users
            by_item.index_add_(0, column, gradients.items)
        return Gradients(loss, by_user, by_item, None)

    def _among(self, people: Any, vectors: Any, wanted: I64, weight: Any, drawn: Drawn | None) -> Gradients:
        """wanted: (n,), where the items stand that are looked for."""
        s, item = self.settings, self.placed(wanted)
        if s.loss == "gbce":
            assert drawn is not None
            exponent = 1 - s.calibration * (1 - min(len(drawn[0]) / max(self.offered - 1, 1), 1))
            some = self.placed(drawn[0])
            return gbce_by_pieces(
                people, vectors, item, weight, s.temperature, sample=some, exponent=exponent
            )
        sample = None if drawn is None else Sample(self.placed(drawn[0]), self.placed(drawn[1]))
        bound = 1.0 if s.similarity == "cosine" else None
        return softmax_by_pieces(
            people, vectors, item, weight, s.temperature, precision=self.precision, sample=sample, bound=bound
        )
