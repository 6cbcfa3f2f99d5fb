"""What another library does, in a process of its own under its own environment, for `benchmarks.family`.

    PYTHON family_worker.py '{"library": "csrgraph", "length": 40, "p": 0.5, "q": 2.0}'

Imports nothing of this project. Reads `.npy` files in the working directory: of walks `offsets`, `neighbours`
and `starts`; of gensim `offsets` and `items`, for which it writes `inputs` and `outputs` (n_items, dim). The
last line of output is a JSON object. A first call on little compiles, and is not counted.
"""

import json
import sys
import time
from itertools import pairwise
from typing import Any

import numpy as np

Asked = dict[str, Any]


def main() -> None:
    asked = json.loads(sys.argv[1])
    print(
        json.dumps(
            {"fastnode2vec": _fastnode2vec, "csrgraph": _csrgraph, "gensim": _gensim}[asked["library"]](asked)
        )
    )


def _graph() -> tuple[Any, Any, Any]:
    return np.load("offsets.npy"), np.load("neighbours.npy"), np.load("starts.npy")


def _fastnode2vec(asked: Asked) -> Asked:
    # What its Graph calls for each walk.
    from fastnode2vec.graph import _random_walk  # type: ignore[import-not-found]

    offsets, neighbours, starts = _graph()
    shape = asked["length"], asked["p"], asked["q"]
    _random_walk(offsets, neighbours, *shape, starts[0])
    began = time.process_time()
    for start in starts:
        _random_walk(offsets, neighbours, *shape, start)
    return {"walks": len(starts) / (time.process_time() - began)}


def _csrgraph(asked: Asked) -> Asked:
    """What nodevectors' Node2Vec walks with."""
    from csrgraph import csrgraph  # type: ignore[import-not-found]
    from scipy.sparse import csr_matrix

    offsets, neighbours, starts = _graph()
    weights = np.repeat(1 / np.diff(offsets), np.diff(offsets)).astype(np.float32)
    graph = csrgraph(csr_matrix((weights, neighbours, offsets)), threads=1)
    biased = {} if asked["p"] == asked["q"] == 1 else _bias(asked["p"], asked["q"])
    graph.random_walks(walklen=asked["length"], start_nodes=starts[:2], **biased)
    began = time.process_time()
    graph.random_walks(walklen=asked["length"], start_nodes=starts, **biased)
    return {"walks": len(starts) / (time.process_time() - began)}


def _bias(p: float, q: float) -> dict[str, float]:
    """Its weights are of the way back and of common neighbours, against those further away."""
    return {"return_weight": q / p, "neighbor_weight": q}


def _gensim(asked: Asked) -> Asked:
    from gensim.models import Word2Vec  # type: ignore[import-not-found]

    offsets, items = np.load("offsets.npy"), np.load("items.npy")
    names = [str(item) for item in range(asked["n_items"])]  # text: integers would be taken for positions
    sentences = [[names[item] for item in items[start:stop].tolist()] for start, stop in pairwise(offsets)]
    model = Word2Vec(
        vector_size=asked["dim"],
        window=asked["window"],
        negative=asked["negatives"],
        ns_exponent=asked["negative_exponent"],
        alpha=asked["learning_rate"],
        sg=1,
        sample=asked.get("subsample", 0),
        min_count=1,
        workers=asked["workers"],
        seed=1,
    )
    model.build_vocab(sentences)
    cpu, wall = time.process_time(), time.perf_counter()
    model.train(sentences, total_examples=len(sentences), epochs=asked["epochs"])
    seconds = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    inputs, outputs = (np.zeros((asked["n_items"], asked["dim"]), np.float32) for _ in range(2))
    keys = np.array([int(name) for name in model.wv.index_to_key])
    inputs[keys], outputs[keys] = model.wv.vectors, model.syn1neg
    np.save("inputs.npy", inputs)
    np.save("outputs.npy", outputs)
    return seconds


if __name__ == "__main__":
    main()
