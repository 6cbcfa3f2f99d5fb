"""Do two commits learn the same to the last byte? Digests of what every learner learns and answers.

    python -m benchmarks.same_bytes > before.json           on one commit
    python -m benchmarks.same_bytes --against before.json   on another: exit 1 where a digest differs

For each learner, on ml-100k and on the planted world: SHA-256 of the item vectors, of 1,000 people's vectors
and of their 100 best items with scores. Both runs on one machine, with the same libraries and number of
threads. Few epochs: code that rounds otherwise shows in the first.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from recsys.evaluation.evaluate import users_of
from recsys.models.base import fit_with
from recsys.models.registry import MODELS, make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.measure import recommender_for
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from recsys.retrieval.embeddings import Embeddings

PEOPLE = 1_000
TITLES = {"column": "title", "kind": "text"}
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "als": ({"epochs": 3}, {"epochs": 3, "solver": "exact", "dim": 32}),
    "bpr": ({"epochs": 2},),
    "mixture": ({"parts": [{"name": "als", "epochs": 2}, {"name": "spectral", "dim": 64}]},),
    "narrowed": (
        {"wide": {"name": "als", "epochs": 2}, "narrow": {"name": "softmax", "dim": 32, "epochs": 2}},
    ),
    "softmax": ({"epochs": 2}, {"epochs": 2, "propagation": 0.1, "negatives": 256, "precision": "float32"}),
    "two_tower": (
        {"epochs": 1},
        {"epochs": 1, "history": "none", "similarity": "dot", "temperature": 1.0, "hidden": 32},
        {"epochs": 1, "item_features": [TITLES], "sampler": "uniform"},
    ),
    "variational": ({"epochs": 2},),
}


def digest(*arrays: Any) -> str:
    """The first 16 hexadecimal digits of SHA-256 over the bytes of the arrays."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[
        :16
    ]


def digests(config: str) -> Iterator[tuple[str, dict[str, str]]]:
    """For each learner its name and settings, and the digests of what it learned from this config's data."""
    settings = load_settings(config, ["model={name='popularity'}", "threads=2"])
    run = prepare(settings, Steps(quiet=True))
    holdout = run.holdout
    train = holdout.train
    people = users_of(holdout.take(np.arange(min(PEOPLE, len(holdout.user)))))
    for name in MODELS:
        for variant in VARIANTS.get(name, ({},)):
            learned = fit_with(make_model(name, variant), train, seed=settings.seed)
            row = {}
            if isinstance(learned, Embeddings):
                row["items"] = digest(learned.items)
                encoded = learned.encoder.encode(people)
                row["people"] = digest(encoded.vectors, encoded.known)
                row["space_id"] = learned.encoder.space_id
            answer = recommender_for(run, learned).recommend(people, 100)
            row["lists"] = digest(answer.ids, answer.scores, answer.source)
            yield f"{config} {name} {json.dumps(variant)}", row


@click.command()
@click.option(
    "--against", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="An earlier output."
)
@click.option("--only", multiple=True, default=("ml-100k", "world"), help="Only this config. Repeatable.")
def main(against: Path | None, only: tuple[str, ...]) -> None:
    """Print the digests of every learner, or compare them with earlier ones."""
    rows = {name: row for config in only for name, row in digests(config)}
    print(json.dumps(rows, indent=1))
    if against is not None:
        before = json.loads(against.read_text())
        differing = [name for name in rows if before.get(name) != rows[name]]
        print(
            f"{len(rows) - len(differing)} of {len(rows)} are the same",
            *differing,
            sep="\n  ",
            file=sys.stderr,
        )
        sys.exit(bool(differing))


if __name__ == "__main__":
    main()
