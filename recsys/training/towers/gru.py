"""The gated recurrent net over sequences of events, as it learns and as a graph."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from recsys.arrays import F32
from recsys.training.towers.onnx_graph import OnnxGraph
from recsys.training.towers.sequence_net import Hide, LearnedSequenceNet, draw


class LearnedGRU(LearnedSequenceNet):
    """Recurrent layers with gates, each of which is added to what goes into it.

    Sources: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014; Hidasi et
    al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016.
    """

    def arrays(self, rng: np.random.Generator) -> dict[str, F32]:
        d, arrays = self.width, dict[str, F32]()
        for n in range(self.layers):
            arrays[f"{n}_inward"], arrays[f"{n}_onward"] = (
                draw(rng, d, 3 * d),
                draw(rng, d, 3 * d),
            )
            arrays[f"{n}_inward_shift"] = np.zeros((1, 3 * d), np.float32)
            arrays[f"{n}_onward_shift"] = np.zeros((1, 3 * d), np.float32)
        return arrays

    def body(self, events: Tensor, hide: Hide) -> Tensor:
        x, free = events, self.free
        for n in range(self.layers):
            weights = [free[f"{n}_inward"].T.contiguous(), free[f"{n}_onward"].T.contiguous()]
            weights += [free[f"{n}_inward_shift"][0], free[f"{n}_onward_shift"][0]]
            before = x.new_zeros(1, len(x), self.width)
            x = x + hide(torch.gru(x, before, weights, True, 1, 0.0, False, False, True)[0])
        return x

    def graph(self, whole: Mapping[str, F32], graph: OnnxGraph, events: str) -> str:
        x = graph.add("Transpose", events, perm=(1, 0, 2))  # (length, n, width)
        for n in range(self.layers):
            inward, onward = (self._gates(whole[f"{n}_{way}"]) for way in ("inward", "onward"))
            shift = np.concatenate(
                [self._gates(whole[f"{n}_{way}_shift"])[:, :, 0] for way in ("inward", "onward")], axis=1
            )
            weights = (graph.weight(part) for part in (inward, onward, shift))
            out = graph.add("GRU", x, *weights, hidden_size=self.width, linear_before_reset=1)
            x = graph.add("Add", x, graph.add("Squeeze", out, graph.ints(1)))
        last = graph.add("Slice", x, graph.ints(-1), graph.ints(np.iinfo(np.int64).max), graph.ints(0))
        return graph.add("Transpose", last, perm=(1, 0, 2))

    def _gates(self, weights: F32) -> F32:
        """(1, 3 * width, rows): the gates in the order of ONNX, update first; torch has reset first."""
        reset, update, new = np.split(weights, 3, axis=1)
        return np.concatenate([update, reset, new], axis=1).T[None]
