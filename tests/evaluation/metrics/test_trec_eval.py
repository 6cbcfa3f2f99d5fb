"""Our figures are those of trec_eval, NIST's program of metrics that is not ours, on the same lists."""

from typing import Any

import numpy as np
import pytest
import pytrec_eval

from recsys.arrays import Ragged
from recsys.encoders.users import Users
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.outside_lists import ListRanker
from recsys.retrieval.recommender import Recommender

THEIRS = {"recall": "recall_{}", "ndcg": "ndcg_cut_{}", "precision": "P_{}", "hit_rate": "success_{}"}
N_USERS, N_ITEMS = 200, 60


@pytest.mark.parametrize("k", [1, 5, 10, 20])
@pytest.mark.parametrize("seed", range(3))
def test_every_metric_is_that_of_trec_eval(seed: int, k: int) -> None:
    """Short and full lists, few and many targets: each person's figure, to 1e-12."""
    rng = np.random.default_rng(seed)
    lists = [rng.permutation(N_ITEMS)[: rng.integers(1, 30)] for _ in range(N_USERS)]
    targets = [rng.choice(N_ITEMS, rng.integers(1, 25), replace=False) for _ in range(N_USERS)]
    engine = Recommender(
        ListRanker(Ragged.of(lists), N_ITEMS), np.arange(N_ITEMS, dtype=np.int32), seen="allow"
    )
    users = Users.of_rows(np.arange(N_USERS), history=Ragged.empty(N_USERS))
    asked = [f"{name}_at_{k}" for name in (*THEIRS, "mrr")]
    report = evaluate(engine, users, Ragged.of(targets), metrics=asked)
    wanted: Any = {f"{user}": {f"i{item}": 1 for item in own} for user, own in enumerate(targets)}
    given = {
        f"{user}": {f"i{item}": float(-at) for at, item in enumerate(own[:k])}
        for user, own in enumerate(lists)
    }
    measures = {f"{theirs.rpartition('_')[0]}.{k}" for theirs in THEIRS.values()} | {"recip_rank"}
    judged = pytrec_eval.RelevanceEvaluator(wanted, measures).evaluate(given)
    for name, theirs in (*THEIRS.items(), ("mrr", "recip_rank")):
        expected = [judged[str(user)][theirs.format(k)] for user in range(N_USERS)]
        np.testing.assert_allclose(
            report.values[f"{name}_at_{k}"], expected, rtol=0, atol=1e-12, err_msg=name
        )
