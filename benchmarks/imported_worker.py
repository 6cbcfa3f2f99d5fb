"""A model of another library, and its own lists for some people; runs in an environment that has no recsys.

    PYTHON imported_worker.py LIBRARY EVENTS.parquet FOLDER

Writes the model as the library does (`als.npz`) or tables of its vectors, the ids in the order of its rows,
and `lists.parquet`: user_id, kind (known, or folded in), items: the best 20 that the person did not have.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

PEOPLE, K = 1_000, 20


def main(library: str, events: str, folder: Path) -> None:
    log = pd.read_parquet(events)
    user, users = pd.factorize(log.user_id)
    item, items = pd.factorize(log.item_id)
    matrix = sparse.coo_matrix((log.weight.astype(np.float32), (user, item))).tocsr()
    matrix.sum_duplicates()
    people = np.sort(np.random.default_rng(1).choice(len(users), min(PEOPLE, len(users)), replace=False))
    (folder / "users.txt").write_text("\n".join(users))
    (folder / "items.txt").write_text("\n".join(items))
    by_kind = {"implicit": _implicit, "lightfm": _lightfm}[library](
        matrix, people, list(users), list(items), folder
    )
    rows = [
        {"user_id": users[who], "kind": kind, "items": [items[one] for one in best]}
        for kind, lists in by_kind.items()
        for who, best in zip(people, lists, strict=True)
    ]
    pd.DataFrame(rows).to_parquet(folder / "lists.parquet")


def _implicit(matrix: Any, people: Any, users: list[str], items: list[str], folder: Path) -> dict[str, Any]:
    from implicit.als import AlternatingLeastSquares  # type: ignore[import-not-found]

    model = AlternatingLeastSquares(factors=64, regularization=0.5, alpha=5.0, iterations=10, random_state=1)
    model.fit(matrix, show_progress=False)
    model.save(folder / "als.npz")
    asked = {"N": K, "filter_already_liked_items": True}
    return {
        "known": model.recommend(people, matrix[people], **asked)[0],
        "folded in": model.recommend(people, matrix[people], recalculate_user=True, **asked)[0],
    }


def _lightfm(matrix: Any, people: Any, users: list[str], items: list[str], folder: Path) -> dict[str, Any]:
    from lightfm import LightFM  # type: ignore[import-not-found]

    model = LightFM(no_components=32, loss="warp", random_state=1)
    model.fit((matrix > 0).astype(np.float32), epochs=5)
    bias, vectors = model.get_item_representations()
    pd.DataFrame({"item_id": items, "vector": list(vectors), "bias": bias}).to_parquet(
        folder / "items.parquet"
    )
    pd.DataFrame({"user_id": users, "vector": list(model.get_user_representations()[1])}).to_parquet(
        folder / "users.parquet"
    )
    lists = []
    for who in people:
        scores = model.predict(int(who), np.arange(len(items)))
        scores[matrix[who].indices] = -np.inf
        lists.append(np.argsort(-scores, kind="stable")[:K])
    return {"known": lists}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
