"""A model whose quality is known by its settings, for the tests of the search."""

import time
from typing import Any

import numpy as np
from pydantic import Field

from recsys.config import Settings
from recsys.encoders.encoder import Constant
from recsys.errors import ModelError
from recsys.models.search import Span
from recsys.progress import silent
from recsys.retrieval.embeddings import Embeddings
from recsys.training.loop import ALONE

EPOCHS_SEEN: list[tuple[float, int]] = []  # (x, epoch) of every epoch that was learned in this process


class PeakSettings(Settings):
    """Popularity that forgets the most popular: none of them at x = 3 in the best epoch."""

    x: float = Field(8.0, ge=0, le=10, description="3 is best; above 9.5 it cannot learn")
    epochs: int = Field(8, ge=1, description="passes")
    peak: int = Field(0, ge=0, description="the best epoch; 0 = the last")
    by_schedule: bool = Field(False, description="epochs below 8 make another, worse model")
    slow: float = Field(0.0, ge=0, description="seconds an epoch takes")
    colour: str = Field("blue", description="a word without effect")


class Peak:
    """One order for everybody: popularity with the most popular put behind, the more the farther x is from
    3."""

    Settings = PeakSettings
    search = {"x": Span(0.0, 10.0)}  # noqa: RUF012

    def __init__(self, settings: PeakSettings | None = None) -> None:
        self.settings = settings or PeakSettings()

    def fit(self, train: Any, *, seed: int, progress: Any = silent, aids: Any = ALONE) -> Embeddings:
        s = self.settings
        if s.x > 9.5:
            raise ModelError(f"peak diverged at x = {s.x}. Lower x.")
        if s.colour == "bug" and s.x > 6.5:
            raise KeyError("a bug")
        counts = train.interactions.item_counts()
        place = np.argsort(np.argsort(-counts, kind="stable"))  # 0 = the most popular

        def learn(epoch: int) -> Embeddings:
            off = abs(s.x - 3) / 20 + abs(epoch - (s.peak or s.epochs)) / s.epochs / 2
            off += 0.6 if s.by_schedule and s.epochs < 8 else 0.0
            scores = (
                len(counts) - place - np.where(place < off * len(counts), len(counts), 0) + 2 * len(counts)
            )
            return Embeddings(
                np.where(counts > 0, scores, 0)[:, None].astype(np.float32), Constant(np.ones(1, "f4"))
            )

        for epoch in range(1, s.epochs + 1):
            time.sleep(s.slow)
            EPOCHS_SEEN.append((s.x, epoch))
            if aids.watch and aids.watch(epoch, lambda epoch=epoch: learn(epoch)):
                break
        return learn(epoch)
