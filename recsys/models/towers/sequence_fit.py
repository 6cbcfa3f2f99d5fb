"""How a sequence model learns: all places of all histories, and one vector an item for both ends."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from recsys.arrays import F32, I64, Array, Bool, Ragged
from recsys.data.dataset import Dataset
from recsys.encoders.encoder import space_id_of
from recsys.encoders.item_tower import ItemTower
from recsys.encoders.towers.inputs import Inputs, Windows
from recsys.encoders.towers.layout import ItemLayout, UserLayout
from recsys.encoders.towers.sequence_net import gap_rows, recency_sums
from recsys.encoders.user_tower import UserTower
from recsys.errors import ModelError
from recsys.matrix.spectrum import unit
from recsys.models.base import refuse_no_events
from recsys.models.factors.spectral import spectral_rows
from recsys.models.towers.sequence_domains import MOST, SequenceDomains
from recsys.models.towers.sequence_settings import SequenceSettings
from recsys.models.towers.tower_start import described_items
from recsys.retrieval.embeddings import Embeddings
from recsys.seeding import generator
from recsys.training.checkpoint import State
from recsys.training.epochs import EpochFit
from recsys.training.loop import Start
from recsys.training.sampling import Kind, Sampler
from recsys.training.towers.sequences import (
    WindowedHistories,
    draw_masked,
    first_times,
    next_places,
    padded_places,
    without_places,
)

_ENCODED = 1 << 14  # items encoded at a time
_ALL_ITEMS = 50_000  # with more, a softmax over all of them costs more than it brings
_DRAWN = 4_096  # items, where not all stand for all
_SPARSE = 16.0  # events an item, up to which half of all values are hidden
_FIRST = 0.02  # size of the numbers that items start with


class SequenceFit(EpochFit):
    """A sequence net and an item tower; an epoch goes over all events but the first of each history."""

    name, cure = "sequence", "Lower learning_rate."

    def __init__(
        self, settings: SequenceSettings, train: Dataset, seed: int, warm: Start | None = None
    ) -> None:
        from recsys.models.towers.sequence_loss import SequenceLoss
        from recsys.training.averages import Averages
        from recsys.training.device import device
        from recsys.training.products import large_products
        from recsys.training.towers.bag_net import LearnedBagNet

        self.settings, self.seed, self.train = settings, seed, train
        refuse_no_events("sequence", train)
        self.past = train.interactions.histories()
        windows = WindowedHistories(self.past, settings.longest_history)
        wanted = np.ones(len(self.past), bool) if settings.repeats else first_times(self.past)
        self.following = next_places(wanted, self.past)
        if not (to_find := np.count_nonzero(self.following >= 0)):
            two = "events" if settings.repeats else "different items"
            said = f"nobody has two {two}, so there is no order. Take a model that needs none: als."
            raise ModelError(f"sequence cannot learn from {train.name}: {said}")
        super().__init__(settings, seed, windows, float(to_find))
        self.layout = UserLayout(0, train.n_items, True, settings.longest_history + settings.older_history)
        longest = self.past.lengths.max() - 1
        self.has_older = bool(settings.older_history) and longest > settings.longest_history
        counts = train.interactions.item_counts()
        self.trained, self.of_items = counts > 0, described_items(settings.item_features, train)
        self.offered = np.flatnonzero(self.trained)
        few = settings.loss == "softmax" and len(self.offered) <= _ALL_ITEMS
        self.negatives = settings.negatives if settings.negatives is not None else 0 if few else _DRAWN
        kind: Kind = "uniform" if self.negatives else "all"
        self.sampler = Sampler(kind, self.negatives, counts, settings.batch_size)
        events = len(windows) / len(self.offered)
        self.hide = settings.dropout if settings.dropout is not None else _by_sparsity(events)
        names, codes = train.domains
        self.far = not self.negatives  # else only items of a window are surely among the drawn ones
        several = settings.domains and 1 < len(names) <= MOST
        self.domains = None
        if several:
            self.domains = SequenceDomains(self.past, codes, len(names), far=self.far, wanted=wanted)
        rng, where = generator(seed, "sequence init"), device(settings.device)
        self.precision = large_products(settings.precision)
        start, cosine = self._first_items(warm, rng), settings.similarity == "cosine"
        layout, numbers = ItemLayout(train.n_items), self.of_items.numbers
        self.item_tower = LearnedBagNet(layout, start, numbers, 0, rng, unit=cosine, device=where)
        self.net = self._net(rng, where)
        offered, to_device = len(self.offered), self.net.to_device
        self.loss = SequenceLoss(settings, offered, self.domains, to_device, self.precision)
        self.averages = Averages({**self.item_tower.tables("items"), **self.net.tables("net")})

    def _net(self, rng: np.random.Generator, where: Any) -> Any:
        from recsys.training.towers.gru import LearnedGRU
        from recsys.training.towers.hstu import LearnedHSTU
        from recsys.training.towers.masked import LearnedMasked
        from recsys.training.towers.transformer import LearnedTransformer

        s, names = self.settings, self.train.interactions.event_names
        typed = s.event_types and self.past.event is not None and len(names) > 1
        said: dict[str, Any] = {
            "older": self.has_older,
            "types": len(names) if typed else 0,
            "gaps": s.gaps and self.past.time is not None,
            "half_life": s.half_life,
            "domains": 0 if self.domains is None else self.domains.count,
            "rank": s.domain_rank,
            "device": where,
            "precision": self.precision,
        }
        if s.net == "gru":
            return LearnedGRU(s.dim, s.longest_history, s.layers, rng, **said)
        said |= {"heads": s.heads}
        if s.net == "hstu":
            return LearnedHSTU(s.dim, s.longest_history, s.layers, rng, **said)
        kind = LearnedMasked if s.net == "masked" else LearnedTransformer
        return kind(s.dim, s.longest_history, s.layers, rng, widened=s.widened, **said)

    def _first_items(self, warm: Start | None, rng: np.random.Generator) -> F32:
        """float32 (rows, dim): the table of the item tower, drawn or of an earlier model; ids without events
        at 0."""
        n_items, dim = self.train.n_items, self.settings.dim
        table = np.zeros((n_items + 1 + self.of_items.rows, dim), np.float32)
        table[:n_items] = rng.standard_normal((n_items, dim), dtype=np.float32) * np.float32(_FIRST)
        if warm is not None:
            known = warm.items.any(axis=1)
            table[:n_items][known] = warm.items[known]
        elif self.settings.initial == "spectral":
            events = self.train.interactions
            _, spectrum = spectral_rows(events.matrix(), dim, seed=self.seed, folder=events.folder)
            table[:n_items, : spectrum.shape[1]] += unit(spectrum) * np.float32(_FIRST * math.sqrt(dim))
        table[:n_items][~self.trained] = 0
        return table

    def state(self) -> State:
        return {**self.item_tower.state("items"), **self.net.state("net"), **self.averages.state("mean")}

    def epoch(self, number: int) -> Mapping[str, float]:
        figures = super().epoch(number)
        if number + 1 > self.settings.epochs * (1 - self.settings.averaged):
            self.averages.add()
        return figures

    def step(self, batch: Array, rate: float, rng: np.random.Generator) -> float:
        """batch: int64 (m, 2), windows."""
        import torch
        from torch.nn.functional import embedding

        from recsys.training.group import group
        from recsys.training.towers.sequence_net import Hide

        together, placed, items = group(), self.net.to_device, self.past.items.values
        pool, sample = self._pool(batch, rng)
        of_pool, cosine = together.part(len(pool)), self.settings.similarity == "cosine"
        mine = self.item_tower.forward(self._items(pool, rng).take(of_pool))
        vectors = together.all_gather(mine).requires_grad_()
        rng = np.random.default_rng([int(rng.integers(1 << 62)), together.rank])
        ours = batch[together.part(len(batch))]
        windows = ours if len(ours) else batch[:1]  # else a window that counts for nothing
        at, inside = self._places(windows, rng)
        masked = draw_masked(inside, self.settings.masked, rng) if self.net.masked else None
        before = self._before(windows, pool, vectors.detach().cpu().numpy())
        events = embedding(placed(np.searchsorted(pool, items[at])), vectors)
        beside = self._beside(at, windows[:, 1:], masked, rng)
        people = self.net.forward(events, beside, Hide(self.hide, rng), before, inside, masked).flatten(0, 1)
        which = np.flatnonzero(inside if masked is None else masked)
        place, stop = at.ravel()[which], windows[which // at.shape[1], 1]
        asked, target = self._ask(place, stop, masked is not None, rng)
        there = (target >= 0) & ((target <= stop) | self.far)
        some = np.flatnonzero(there) if there.any() else np.zeros(1, np.int64)  # this, too
        which, asked, target, there = which[some], asked[some], target[some], there[some]
        people = embedding(placed(which), people)
        if self.domains is not None:
            people = self.net.adapt(people, asked)
        if cosine:
            people = people / people.norm(dim=1, keepdim=True).clamp_min(1e-6)
        weight = placed(self._event_weights(target) * there.astype(np.float32) * np.float32(len(ours) > 0))
        ends = people.detach(), vectors.detach()
        gradients = self.loss.of(*ends, pool, items[target], weight, asked, sample)
        people.backward(gradients.users)
        self.net.step(rate)
        pull = gradients.items if vectors.grad is None else gradients.items + vectors.grad
        self.item_tower.step(together.all_reduce(pull)[of_pool], rate)
        return float(together.all_reduce(torch.tensor(gradients.loss, dtype=torch.float64)))

    def _places(self, windows: I64, rng: np.random.Generator) -> tuple[I64, Bool]:
        """int64 and bool (m, length): where the events of windows (m, 2) stand in the log, and which are no
        pads; some events are left out. Where events are masked, the one that follows a window is one of
        it."""
        longest, more = self.settings.longest_history, int(self.net.masked)  # masked: the last one as well
        at, inside = padded_places(windows + np.array([0, more]), longest + more)
        gone = np.zeros(at.shape, bool)
        if self.settings.event_dropout:
            gone = (rng.random(at.shape) < self.settings.event_dropout) & inside
            gone[np.arange(len(at)), inside.sum(axis=1) - 1] = False  # the last one stays
        if self.domains is not None and self.settings.domain_dropout:
            left = self.domains.left_out(at, inside & ~gone, self.settings.domain_dropout, rng)
            gone |= left
        return without_places(at, inside, gone) if gone.any() else (at, inside)

    def _ask(self, place: I64, stop: I64, masked: bool, rng: np.random.Generator) -> tuple[I64, I64]:
        """int64 (n,) each: the domain that is asked for at these places, -1 = all; and where what is to be
        found stands in the log, -1 = nowhere: the event after each, or a drawn one of the next ones up to the
        end of the window, `stop`, or, where events are masked, they themselves."""
        nowhere = np.full(len(place), -1)
        if masked:
            return nowhere if self.domains is None else self.domains.of_masked(place, rng), place
        if self.settings.ahead > 1:
            reach = np.minimum(self.settings.ahead, stop - place)
            place = place + (rng.random(len(place)) * reach).astype(np.int64)
        question = nowhere, self.following[place].astype(np.int64)
        return question if self.domains is None else self.domains.draw_questions(place, stop, rng)

    def _event_weights(self, at: I64) -> F32:
        """float32: what the events at these places count."""
        weight = self.past.weight
        return np.ones(len(at), np.float32) if weight is None else weight[at]

    def _before(self, windows: I64, pool: I64, vectors: F32) -> F32 | None:
        """float32 (m, dim): sums of what people had done before these windows; vectors: those of the items
        `pool`."""
        if not self.has_older:
            return None
        older = self._older(windows)
        rows = Ragged(older.offsets, np.searchsorted(pool, older.values).astype(np.int32))
        return recency_sums(vectors, rows, self.settings.longest_history)

    def _older(self, windows: I64) -> Ragged:
        """The items of what people had done before these windows, as far as it counts."""
        start, offsets = windows[:, 0], self.past.items.offsets
        first = offsets[np.searchsorted(offsets, start, side="right") - 1]
        first = np.maximum(first, start - self.settings.older_history)
        return Windows(self.past, first, start, self.settings.older_history).histories(()).items

    def _pool(self, batch: Array, rng: np.random.Generator) -> tuple[I64, tuple[I64, F32] | None]:
        """int64 (m,): the items of a step, ascending; and which of them, int64 and float32, stand for so many
        others, None where all are there."""
        if not self.negatives:
            return self.offered, None
        windows = Windows(self.past, batch[:, 0], batch[:, 1] + 1, self.settings.longest_history + 1)
        named = windows.histories(()).items
        older = [self._older(batch).values] if self.has_older else []
        drawn = self.sampler.draw(self.past.items.values[:0], rng)
        pool = np.unique(np.concatenate([named.values, *older, drawn.items]))
        return pool, (np.searchsorted(pool, drawn.items), (1 / drawn.chance).astype(np.float32))

    def _items(self, items: I64, rng: np.random.Generator | None = None) -> Inputs:
        """What the item tower takes of some items; in training some ids are hidden where features can stand
        in."""
        return self.of_items.inputs(items, self.trained, self.settings.id_dropout, rng)

    def _beside(self, at: I64, last: I64, masked: Bool | None, rng: np.random.Generator) -> dict[str, I64]:
        """int64 (n, length) each: the rows of what counts beside the items of the events at these places, as
        far as it is learned; some gaps are hidden, and of a masked event everything. last: (n, 1), after
        which none is known."""
        past, learned, rows_of = self.past, self.net.whole, dict[str, I64]()
        if "types" in learned and past.event is not None:
            rows_of["types"] = past.event[at].astype(np.int64) + 1
        if self.domains is not None:
            rows_of["domains"] = self.domains.domain[past.items.values[at]].astype(np.int64) + 1
        if "gaps" in learned and past.time is not None:
            gaps = gap_rows(past.time[at], past.time[np.minimum(at + 1, len(past) - 1)])
            gaps[rng.random(gaps.shape) < self.settings.unknown_now] = 0
            rows_of["gaps"] = gaps if masked is None else np.where(at == last, 0, gaps)
        return rows_of if masked is None else {name: np.where(masked, 0, r) for name, r in rows_of.items()}

    def finish(self) -> Embeddings:
        n_items, cosine = self.train.n_items, self.settings.similarity == "cosine"
        with self.averages.in_place():
            of_items = self.item_tower.export()
            blocks = (np.arange(at, min(at + _ENCODED, n_items)) for at in range(0, n_items, _ENCODED))
            vectors = np.concatenate([of_items.vectors(self._items(block)) for block in blocks])
            features = self.of_items.features
            known = self.trained if features is None else self.trained | self.of_items.told_by(self.trained)
            vectors[~known] = 0
            domain = None if self.domains is None else self.domains.domain
            net = self.net.export(self.layout, vectors, unit=cosine, domain=domain)
            encoder = UserTower(net, self.layout, known, np.zeros(0, bool), space_id=self._space_id(vectors))
            if features is None:
                return Embeddings(vectors, encoder)
            of_new = self.item_tower.export(slice(n_items, None), ItemLayout(0))
            return Embeddings(vectors, encoder, ItemTower(of_new, features))

    def _space_id(self, vectors: F32) -> str:
        """Of the weights, not of a file that an ONNX version writes in its own way."""
        weights = {name: tensor.cpu().numpy() for name, tensor in self.net.whole.items()}
        stated = ["net", "heads", "similarity", *(["half_life"] if self.settings.half_life else [])]
        said = {name: getattr(self.settings, name) for name in stated}
        return space_id_of("sequence", said | self.layout._asdict(), weights | {"items": vectors})


def _by_sparsity(events: float) -> float:
    """The share to hide, by events an item: .5 up to 16, .1 less with each fourfold, .1 from 4,096 on."""
    return min(max(0.5 - 0.1 * math.log(max(events, 1) / _SPARSE, 4), 0.1), 0.5)
