"""Commands that look into a bundle: why, similar, and doctor, which looks for what ails it."""

from pathlib import Path
from typing import Any

import click

from recsys.pipelines.commands.stage import Negative, stage


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("user")
@click.argument("item")
@click.option("-n", "--limit", default=10, show_default=True, help="How many items of the history to print.")
@stage
def why(bundle: Path, user: str, item: str, limit: int, as_json: bool) -> Any:
    """Say why USER gets ITEM from BUNDLE: its rank and what of the history spoke for it, or what keeps it out."""
    from dataclasses import asdict

    from recsys.answers.explain import explain
    from recsys.bundle.bundle import load
    from recsys.bundle.root import current

    loaded = load(current(bundle))
    found = explain(loaded, user, item)
    if not as_json:
        from recsys.text import one_line, text_table

        click.echo(found.why)
        if found.shares:
            total = sum(share.share for share in found.shares)
            shown, rest = found.shares[:limit], found.shares[limit:]
            rows = [[one.item_id, one.title or "", str(one.times), f"{one.share:+.4f}"] for one in shown]
            if rest:
                rows.append(["", f"{len(rest)} others", "", f"{sum(one.share for one in rest):+.4f}"])
            rows.append(["", "the score" if found.exact else "of the parts that can say", "", f"{total:+.4f}"])
            click.echo(text_table(["history item", "title", "times", "share"], rows))
        if found.like is not None:
            like = one_line(loaded.name_of(loaded.item_ids.index(found.like)))
            click.echo(f"Of the history, {like} is most like it; the model gives no exact shares, so this is no cause.")
        elif found.rank is not None and not found.shares:
            click.echo("The history has no part in this score.")
    return asdict(found)


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
    found = nearest(loaded, item, k, domain)
    title = loaded.catalogue.title(loaded.item_ids.index(item))
    if not as_json:
        from recsys.text import one_line, text_table

        click.echo(f"Similar to {one_line(title or item)}:")
        rows = [[one.item_id, one.title or "", f"{one.score:.3f}"] for one in found]
        click.echo(text_table(["item", "title", "cosine"], rows))
    items = [{"item_id": one.item_id, "title": one.title, "cosine": one.score} for one in found]
    return {"item_id": item, "title": title, "items": items}


@click.command()
@click.argument("reference", metavar="RUN_OR_BUNDLE")
@click.option("--now", type=int, help="Unix seconds at which the bundle is served; default: the clock.")
@stage
def doctor(reference: str, now: int | None, as_json: bool) -> Any:
    """Look for what ails a bundle, each with cause and fix; exit status 1 where something is found.

    Everyone gets the same list, a collapsed space, norms that only encode popularity, swapped columns, stale data,
    and training that differs from serving.
    """
    from recsys.pipelines.doctor import diagnose, opened, plain, told

    bundle = opened(reference)
    diagnosis = diagnose(bundle, now)
    if not as_json:
        click.echo(told(bundle, diagnosis))
    result = plain(bundle, diagnosis)
    return Negative(result) if diagnosis.findings else result
