"""What `benchmarks.quality` runs: configs with further settings, all tuned on validation parts."""

from dataclasses import dataclass

TIMED = ("ndcg_at_10", "recall_at_20", "recall_at_100")
LIGHTGCN = ("recall_at_20", "ndcg_at_20")
NCF = ("hit_rate_at_10", "ndcg_at_10")
_GOWALLA = f"metrics={list(LIGHTGCN)}"
# He et al., "LightGCN", SIGIR 2020, and the tables that follow its split: popularity of the training part,
# and EASE. He et al., "Neural Collaborative Filtering", WWW 2017, and Rendle et al., RecSys 2020: among 99
# drawn items.
PUBLISHED = {
    ("gowalla", "popularity", "recall_at_20"): 0.0416,
    ("gowalla", "popularity", "ndcg_at_20"): 0.0317,
    ("gowalla", "ease", "recall_at_20"): 0.1765,
    ("gowalla", "ease", "ndcg_at_20"): 0.1467,
    ("ml-1m-ncf", "popularity", "hit_rate_at_10"): 0.4535,
    ("ml-1m-ncf", "popularity", "ndcg_at_10"): 0.2543,
}


@dataclass(frozen=True)
class Job:
    """A run to make: a config with further settings, what to call the model where its name is not enough,
    metrics.

    alone: without the rows of the baselines, which stand in the table already.
    """

    config: str
    assignments: tuple[str, ...] = ()
    label: str | None = None
    metrics: tuple[str, ...] = TIMED
    alone: bool = False


def other(
    config: str, text: str, label: str | None = None, metrics: tuple[str, ...] = TIMED, *more: str
) -> Job:
    """The data and split of a config with another model, which stands alone in the table."""
    return Job(config, ("model={" + text + "}", *more), label, metrics, alone=True)


def gowalla(text: str, label: str, seed: int = 1) -> Job:
    named = label if seed == 1 else f"{label}, seed {seed}"
    return other("gowalla", text, named, LIGHTGCN, _GOWALLA, f"seed={seed}")


_SOFTMAX = 'name="softmax", dim=64, epochs=40, temperature=0.1, propagation=0.35'
_SPECTRAL = 'name="spectral", dim=512, exponent=0.65, filter=1.0'
TOWERS = (
    'name="two_tower", dim=64, epochs=8, batch_size=8192, learning_rate=0.02, history="others", '
    "propagation=0.35"
)
_VARIATIONAL = (
    'name="variational", dim=64, epochs=32, regularization=8.0, user_exponent=0.05, propagation=0.04'
)
_NARROWED = (
    'name="narrowed", wide={name="mixture", weights=[1.0, 1.0], parts=[{'
    + TOWERS.replace("dim=64", "dim=128")
    + "}, {"
    + _VARIATIONAL
    + "}]}, narrow={"
    + TOWERS
    + "}"
)
_WIDE = (
    'name="mixture", parts=[{name="softmax", dim=128, epochs=24, temperature=0.1, propagation=0.3}, '
    '{name="als", dim=512, unobserved_weight=0.01, regularization=0.003}, '
    '{name="spectral", dim=1024, exponent=0.6, filter=1.0}], weights=[1.0, 0.15, 0.05]'
)
_WIDE_LABEL = "softmax 128 + als 512 + spectral 1024"
_NCF_LABEL = "softmax + als + two_tower"
_NCF_FACTORS = (
    'name="mixture", weights=[1.0, 1.0], parts=[{name="softmax", dim=192, temperature=0.15, '
    'propagation=0.0}, {name="als", dim=192, unobserved_weight=1.0, regularization=0.003}]'
)
_PLACES = 'name="softmax", dim=128, temperature=0.15, propagation=0.5, half_life=20.0, fold_in_ridge=30.0'
_WORLD_ALS = 'name="als", dim=32, unobserved_weight=0.02, regularization=0.03'
_DOT = (
    'name="softmax", similarity="dot", temperature=1.0, user_exponent=0.0, regularization=12.0, dim=16, '
    "propagation=0.2"
)
_TASTES = 'name="variational", dim=9, epochs=32, regularization=2.0, trend_days=15.0'
_WORLD = f'name="mixture", parts=[{{{_WORLD_ALS}}}, {{{_DOT}}}], weights=[1.0, 1.0]'

# How they were tuned: docs/experiments.md. gowalla on a part in clumps (`split.clumped=0.2`), all else on the
# validation part of its protocol.
QUICK = (
    Job("world"),
    other("world", _WORLD, "als + softmax"),
    other("world", _TASTES),
    Job("ml-100k"),
    other("ml-100k", 'name="item_knn", amplification=2.0, shrinkage=0.1, half_life=5.0'),
    other(
        "ml-100k",
        'name="item_knn", amplification=2.0, shrinkage=0.1, half_life=1e9',
        "item_knn, all events alike",
    ),
    other("ml-100k", 'name="ease", regularization=1000.0, half_life=10.0', "ease, half_life 10"),
    other("ml-100k", 'name="ease", regularization=1000.0'),
    other(
        "ml-100k", 'name="als", dim=32, unobserved_weight=3.0, regularization=0.003', "als, all events alike"
    ),
    other("ml-100k", 'name="spectral", dim=32, filter=1.0, half_life=4.0'),
    other("ml-100k", 'name="softmax", dim=64, epochs=20, temperature=0.15, propagation=0.2, half_life=4.0'),
    other("ml-100k", 'name="bpr", epochs=20, fold_in_ridge=30.0'),
    other("ml-100k", 'name="variational", dim=33, half_life=4.0'),
    other("ml-100k", 'name="two_tower", dim=32'),
    Job("poi-gowalla"),
    other("poi-gowalla", 'name="item_knn", shrinkage=3.0'),
    other("poi-gowalla", 'name="spectral", dim=256, exponent=0.5, filter=0.0', "spectral"),
    other("poi-gowalla", _PLACES),
    other("poi-gowalla", 'name="bpr"'),
    other("poi-gowalla", 'name="variational", dim=65, trend_days=30.0'),
    other("poi-gowalla", 'name="two_tower"'),
    Job("poi-gowalla", ("split.repeats=true", "seen=allow")),
    Job("ml-latest-small"),
    Job("ml-1m-ncf", label=_NCF_LABEL, metrics=NCF),
    *(Job("ml-1m-ncf", (f"seed={seed}",), f"{_NCF_LABEL}, seed {seed}", NCF, alone=True) for seed in (2, 3)),
    other("ml-1m-ncf", _NCF_FACTORS, "softmax + als", NCF),
)
WORLDS = tuple(
    job
    for seed in (2, 3)
    for job in (
        Job("world", (f"world.seed={seed}",)),
        other("world", _WORLD, "als + softmax", TIMED, f"world.seed={seed}"),
        other("world", _TASTES, None, TIMED, f"world.seed={seed}"),
    )
)
FACTORIZATIONS = (
    Job("gowalla", (_GOWALLA,), "als, dim 64", LIGHTGCN),
    gowalla('name="bpr", dim=64', "bpr, dim 64"),
    gowalla(_SPECTRAL, "spectral, dim 512"),
    *(gowalla(_SOFTMAX, "softmax, dim 64", seed) for seed in (1, 2, 3)),
    *(gowalla(_VARIATIONAL, "variational, dim 64", seed) for seed in (1, 2, 3)),
    *(gowalla(TOWERS, "two_tower, ids only, dim 64", seed) for seed in (1, 2)),
    *(gowalla(_NARROWED, "narrowed, dim 64", seed) for seed in (1, 2, 3)),
    *(gowalla(_WIDE, _WIDE_LABEL, seed) for seed in (1, 2, 3)),
)
# `regularization` from the validation rows of the 9,000 most frequent items (50 to 1,000).
LONG = (Job("gowalla", ('model={name="ease", regularization=200.0}', _GOWALLA), metrics=LIGHTGCN),)
