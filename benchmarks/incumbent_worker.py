"""Fits of `implicit`'s ALS, and its own lists for a few people; runs in an environment that has no recsys.

    PYTHON incumbent_worker.py      one folder a line on standard input, a line back for each that is done

A folder holds `events.npz`, a user-item matrix as scipy saves it, and `asked.json`, the settings. Into it go,
in `found.npz`, the factors of items and users, `cpu_s` of the fit, and for `people` the best K items that
they did not have.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares  # type: ignore[import-not-found]
from scipy import sparse

PEOPLE, K = 50, 20


def fit(folder: Path) -> None:
    asked = json.loads((folder / "asked.json").read_text())
    recalculate = asked.pop("recalculate")
    matrix = sparse.csr_matrix(sparse.load_npz(folder / "events.npz"))
    started = time.process_time()
    model = AlternatingLeastSquares(**asked, use_cg=True, num_threads=1, random_state=1)
    model.fit(matrix, show_progress=False)
    cpu_s = time.process_time() - started
    people = np.flatnonzero(np.diff(matrix.indptr))[:PEOPLE]
    lists, _ = model.recommend(people, matrix[people], N=K, recalculate_user=recalculate)
    factors = {"items": model.item_factors, "users": model.user_factors}
    np.savez(folder / "found.npz", **factors, cpu_s=cpu_s, people=people, lists=lists)


if __name__ == "__main__":
    for line in sys.stdin:
        fit(Path(line.strip()))
        print("done", flush=True)
