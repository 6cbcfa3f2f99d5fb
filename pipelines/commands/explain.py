"""Commands that look into a bundle: why, similar, arithmetic, projector, communities; and doctor: what ails
it."""

from pathlib import Path
from typing import Any

import click

from recsys.pipelines.commands.stage import Negative, say, stage


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("user")
@click.argument("item")
@click.option("-n", "--limit", default=10, show_default=True, help="How many items of the history to print.")
@stage
def why(bundle: Path, user: str, item: str, limit: int, as_json: bool) -> Any:
    """Say why USER gets ITEM from BUNDLE: its rank and what of the history spoke for it, or what keeps it
    out."""
    from dataclasses import asdict

    from recsys.answers.explain import explain
    from recsys.bundle.bundle import load
    from recsys.bundle.root import current

    loaded = load(current(bundle))
    explanation = explain(loaded, user, item)
    if not as_json:
        from recsys.text import one_line, text_table

        click.echo(explanation.why)
        if explanation.shares:
            total = sum(share.share for share in explanation.shares)
            shown, rest = explanation.shares[:limit], explanation.shares[limit:]
            rows = [[one.item_id, one.title or "", str(one.times), f"{one.share:+.4f}"] for one in shown]
            if rest:
                rows.append(["", f"{len(rest)} others", "", f"{sum(one.share for one in rest):+.4f}"])
            rows.append(
                ["", "the score" if explanation.exact else "of the parts that can say", "", f"{total:+.4f}"]
            )
            say(text_table(["history item", "title", "times", "share"], rows))
        if explanation.like is not None:
            like = one_line(loaded.name_of(loaded.item_ids.index(explanation.like)))
            click.echo(
                f"Of the history, {like} is most like it; the model gives no exact shares, so this is "
                "no cause."
            )
        elif explanation.rank is not None and not explanation.shares:
            click.echo("The history has no part in this score.")
    return asdict(explanation)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("item")
@click.option("-k", "--k", default=10, show_default=True, help="How many items.")
@click.option("--domain", help="Only items of this domain.")
@stage
def similar(bundle: Path, item: str, k: int, domain: str | None, as_json: bool) -> Any:
    """List the items of BUNDLE whose vectors point most nearly the way of ITEM's (cosine), with titles."""
    from recsys.answers.similar import similar as nearest
    from recsys.bundle.bundle import load
    from recsys.bundle.root import current

    loaded = load(current(bundle))
    items_near = nearest(loaded, item, k, domain)
    title = loaded.catalogue.title(loaded.item_ids.index(item))
    if not as_json:
        from recsys.text import one_line, text_table

        click.echo(f"Similar to {one_line(title or item)}:")
        rows = [[one.item_id, one.title or "", f"{one.score:.3f}"] for one in items_near]
        say(text_table(["item", "title", "cosine"], rows))
    items = [{"item_id": one.item_id, "title": one.title, "cosine": one.score} for one in items_near]
    return {"item_id": item, "title": title, "items": items}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("plus", nargs=-1, required=True)
@click.option("--minus", multiple=True, help="What the items shall be unlike; repeatable.")
@click.option("-k", "--k", default=10, show_default=True, help="How many items.")
@click.option("--domain", help="Only items of this domain.")
@stage
def arithmetic(
    bundle: Path, plus: tuple[str, ...], minus: tuple[str, ...], k: int, domain: str | None, as_json: bool
) -> Any:
    """List the items of BUNDLE that are like all of PLUS and unlike --minus: sums of their vectors, by
    cosine.

    Each is an item, or category:NAME for the mean of a category: recsys arithmetic mlruns/bundles 50
    category:Comedy --minus category:Crime
    """
    from recsys.answers.similar import combine_items
    from recsys.bundle.bundle import load
    from recsys.bundle.root import current

    nearest = combine_items(load(current(bundle)), plus, minus, k, domain)
    if not as_json:
        from recsys.text import text_table

        rows = [[one.item_id, one.title or "", f"{one.score:.3f}"] for one in nearest]
        say(text_table(["item", "title", "cosine"], rows))
    items = [{"item_id": one.item_id, "title": one.title, "cosine": one.score} for one in nearest]
    return {"plus": list(plus), "minus": list(minus), "items": items}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--items",
    default=10_000,
    show_default=True,
    type=click.IntRange(1),
    help="Number of the most popular items to write.",
)
@stage
def projector(bundle: Path, folder: Path, items: int, as_json: bool) -> Any:
    """Write the item vectors of BUNDLE into FOLDER for the TensorFlow Projector: vectors.tsv and
    metadata.tsv."""
    from recsys.answers.projector import write_projector
    from recsys.bundle.bundle import load
    from recsys.bundle.root import current

    written = write_projector(load(current(bundle)), folder, items)
    if not as_json:
        click.echo(
            f"{written:,} items in {folder}: load vectors.tsv and metadata.tsv at projector.tensorflow.org."
        )
    return {"folder": str(folder), "items": written}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--people", is_flag=True, help="Group the people by their vectors, instead of the items.")
@click.option(
    "--neighbours",
    default=15,
    show_default=True,
    type=click.IntRange(1),
    help="Nearest neighbours of each, by cosine.",
)
@click.option("--resolution", default=1.0, show_default=True, type=click.FloatRange(0, min_open=True),
              help="Above 1: more and smaller communities.")  # fmt: skip
@click.option(
    "--runs",
    default=5,
    show_default=True,
    type=click.IntRange(2),
    help="Runs with other seeds, whose agreement is reported.",
)
@click.option("--seed", default=1, show_default=True, help="Seed of the first run.")
@click.option("--out", type=click.Path(path_type=Path), help="Parquet file: id, community.")
@stage
def communities(
    bundle: Path,
    people: bool,
    neighbours: int,
    resolution: float,
    runs: int,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> Any:
    """Group the items of BUNDLE, or its people, by the Leiden algorithm on their nearest neighbours.

    For each: how many, what sets it apart, and over all: modularity, and how far runs of other seeds agree.
    """
    from dataclasses import asdict

    from recsys.answers.communities import items_apart, people_apart, people_of
    from recsys.bundle.bundle import load
    from recsys.bundle.root import current
    from recsys.matrix.communities import find_communities

    loaded, what = load(current(bundle)), "people" if people else "items"
    vectors = people_of(loaded) if people else loaded.item_vectors
    communities = find_communities(
        vectors, neighbours=neighbours, resolution=resolution, runs=runs, seed=seed
    )
    groups = (people_apart if people else items_apart)(loaded, communities.labels, 5)
    if out is not None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from recsys import durable

        ids = list(loaded.user_ids if people else loaded.item_ids)
        table = pa.table({"user_id" if people else "item_id": ids, "community": communities.labels})
        durable.write_whole(out, lambda path: pq.write_table(table, path))
    if not as_json:
        from recsys.text import one_line, text_table

        rows = [
            [str(one.label), f"{one.size:,}", ", ".join(map(one_line, one.items)), ", ".join(one.categories)]
            for one in groups
        ]
        click.echo(
            text_table(
                ["community", what, "in the middle" if not people else "had more than others", "categories"],
                rows,
            )
        )
        if len(groups) == 1:
            click.echo(
                f"All {what} are one community: nothing sets them apart. Raise --resolution, or lower "
                "--neighbours."
            )
        agree = f"runs of other seeds agree by {communities.stability:.2f} (adjusted Rand index)"
        click.echo(f"Modularity {communities.modularity:.2f}; {agree}.")
    return {
        "of": what,
        "modularity": communities.modularity,
        "stability": communities.stability,
        "communities": [asdict(one) for one in groups],
    }


@click.command()
@click.argument("reference", metavar="RUN_OR_BUNDLE")
@click.option("--now", type=int, help="Unix seconds at which the bundle is served; default: the clock.")
@stage
def doctor(reference: str, now: int | None, as_json: bool) -> Any:
    """Look for what ails a bundle, each with cause and fix; exit status 1 where something is found.

    Everyone gets the same list, a collapsed space, norms that only encode popularity, swapped columns, stale
    data, and training that differs from serving.
    """
    from recsys.pipelines.doctor import describe_diagnosis, diagnose, open_bundle, plain

    bundle = open_bundle(reference)
    diagnosis = diagnose(bundle, now)
    if not as_json:
        say(describe_diagnosis(bundle, diagnosis))
    result = plain(bundle, diagnosis)
    return Negative(result) if diagnosis.findings else result
