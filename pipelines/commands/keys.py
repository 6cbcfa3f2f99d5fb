"""Commands about the keys of the service: make, list, revoke."""

from pathlib import Path
from typing import Any

import click

from recsys.pipelines.commands.stage import say, stage

_STATE = click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="The folder of the service's state; default mlruns/state.",
)


@click.group()
def keys() -> None:
    """Make, list and revoke the keys of the service. One that runs obeys within a second."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=("read",),
    show_default=True,
    help="A scope of the key: read, write or admin; repeatable.",
)
@click.option(
    "--quota", help="Requests that it may make, as in 100/second or 10000/day; default as many as it likes."
)
@_STATE
@stage
def make(name: str, scopes: tuple[str, ...], quota: str | None, state: Path | None, as_json: bool) -> Any:
    """Make a key for NAME and print it, this once: the file keeps its SHA-256.

    read asks for lists and for what is served, write brings what happened, admin changes what is served. None
    includes another.
    """
    from recsys.keys import make_key

    path = _file(state)
    text, key = make_key(path, name, scopes, quota)
    if not as_json:
        click.echo(text)
        click.echo(
            (
                f"Key {key.id} ({', '.join(key.scopes)}) is shown this once. Send it as: Authorization: "
                "Bearer rk_..."
            ),
            err=True,
        )
    return {"key": text, **_describe_key(key)}


@keys.command("list")
@_STATE
@stage
def list_(state: Path | None, as_json: bool) -> Any:
    """List the keys: id, name, scopes, quota, age, and which are revoked."""
    from recsys.keys import read_keys
    from recsys.text import text_table, utc_text

    path = _file(state)
    ring = read_keys(path)
    keys = [] if ring is None else list(ring.keys)
    if not as_json:
        rows = [
            [
                key.id,
                key.name,
                " ".join(key.scopes),
                key.quota or "",
                utc_text(key.created),
                utc_text(key.revoked) if key.revoked else "",
            ]
            for key in keys
        ]
        header = ["id", "name", "scopes", "quota", "made", "revoked"]
        say(text_table(header, rows) if rows else f"{path} holds no keys. Make one: recsys keys make NAME")
    return {"keys": [_describe_key(key) for key in keys]}


@keys.command()
@click.argument("key_id", metavar="ID")
@_STATE
@stage
def revoke(key_id: str, state: Path | None, as_json: bool) -> Any:
    """Revoke the key with ID: from the next second on it opens nothing. To replace one, make the new one
    first."""
    from recsys.keys import revoke_key

    key = revoke_key(_file(state), key_id)
    if not as_json:
        click.echo(f"Key {key.id} of {key.name} is revoked; a service that runs refuses it within a second.")
    return _describe_key(key)


def _file(state: Path | None) -> Path:
    from recsys.config import home
    from recsys.keys import FILE

    return home() / (state or "mlruns/state") / FILE


def _describe_key(key: Any) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "quota": key.quota,
        "created": key.created,
        "revoked": key.revoked,
    }
