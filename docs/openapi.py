"""Prints docs/openapi.json: the description of the HTTP API. Refuses one that breaks what the file promises
so far.

    .venv/bin/python docs/openapi.py [--breaking]

`make docs` writes the file; tests/serving/test_openapi.py holds it against the code.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recsys.serving.app import create_app
from recsys.serving.settings import ServingSettings

FILE = Path(__file__).with_name("openapi.json")
_UPPER = ("maximum", "maxLength", "maxItems", "exclusiveMaximum")
_LOWER = ("minimum", "minLength", "minItems", "exclusiveMinimum")
Document = Mapping[str, Any]


def page() -> str:
    """The whole file, as the code has it."""
    settings = ServingSettings.build({"state": "off"}, where="docs/openapi.py")
    return json.dumps(create_app(Path("nothing"), settings).openapi(), indent=1) + "\n"


def breaks(before: Document, after: Document) -> list[str]:
    """What a client of `before` could miss, or be refused, by `after`."""
    return [*_operations(before, after)]


def _operations(before: Document, after: Document) -> Iterator[str]:
    for path, methods in before["paths"].items():
        for method, old in methods.items():
            name = f"{method.upper()} {path}"
            new = after["paths"].get(path, {}).get(method)
            if new is None:
                yield f"{name} is gone"
                continue
            if old["operationId"] != new["operationId"]:
                yield f"{name}: its operationId {old['operationId']} is {new['operationId']} now"
            if new["security"] != old["security"]:
                yield f"{name}: it asks for another scope"
            yield from _parameters(name, old.get("parameters", []), new.get("parameters", []), before, after)
            if "requestBody" in new:
                schemas = [one["requestBody"]["content"]["application/json"]["schema"] for one in (old, new)]
                yield from _request_breaks(f"{name}: body", schemas[0], schemas[1], before, after, ())
            for status, answer in old["responses"].items():
                if status not in new["responses"]:
                    yield f"{name}: status {status} is gone"
                    continue
                for media, content in answer["content"].items():
                    other = new["responses"][status]["content"].get(media)
                    if other is None:
                        yield f"{name}: status {status} is no {media} any more"
                    else:
                        where = f"{name}: answer {status}"
                        yield from _response_breaks(
                            where, content["schema"], other["schema"], before, after, ()
                        )


def _parameters(
    name: str, old: list[Any], new: list[Any], before: Document, after: Document
) -> Iterator[str]:
    olds, news = ({(one["in"], one["name"].lower()): one for one in given} for given in (old, new))
    for key, one in olds.items():
        if key not in news:
            yield f"{name}: parameter {one['name']} is gone"
        else:
            yield from _request_breaks(
                f"{name}: parameter {one['name']}", one["schema"], news[key]["schema"], before, after, ()
            )
    for key, one in news.items():
        if one.get("required") and not olds.get(key, {}).get("required"):
            yield f"{name}: parameter {one['name']} is required now"


def _request_breaks(
    where: str, old: Any, new: Any, before: Document, after: Document, seen: tuple[str, ...]
) -> Iterator[str]:
    """What was taken and is refused now."""
    if (known := _seen(old, seen)) is None:
        return
    old, new = _resolve(old, before), _resolve(new, after)
    if lost := _types(old, before) - _types(new, after):
        yield f"{where}: {', '.join(sorted(lost))} is refused now"
    for part, other in zip(_branches(old), _branches(new), strict=False):
        for rule in (*_UPPER, *_LOWER):
            limit, was = other.get(rule), part.get(rule)
            tighter = limit is not None and (was is None or (limit < was if rule in _UPPER else limit > was))
            if tighter:
                yield f"{where}: {rule} is {limit} now"
        if "pattern" in other and other["pattern"] != part.get("pattern"):
            yield f"{where}: it must match {other['pattern']} now"
        for name in set(other.get("required", ())) - set(part.get("required", ())):
            yield f"{where}.{name} is required now"
        for name, inner in part.get("properties", {}).items():
            if name not in other.get("properties", {}):
                yield f"{where}.{name} is gone"
            else:
                yield from _request_breaks(
                    f"{where}.{name}", inner, other["properties"][name], before, after, known
                )
        if "items" in part and "items" in other:
            yield from _request_breaks(f"{where}[]", part["items"], other["items"], before, after, known)


def _response_breaks(
    where: str, old: Any, new: Any, before: Document, after: Document, seen: tuple[str, ...]
) -> Iterator[str]:
    """What was promised and is not any more."""
    if (known := _seen(old, seen)) is None:
        return
    old, new = _resolve(old, before), _resolve(new, after)
    if gained := _types(new, after) - _types(old, before):
        yield f"{where}: it may be {', '.join(sorted(gained))} now"
    for part, other in zip(_branches(old), _branches(new), strict=False):
        for name in set(part.get("required", ())) - set(other.get("required", ())):
            yield f"{where}.{name} may be absent now"
        for name, inner in part.get("properties", {}).items():
            if name not in other.get("properties", {}):
                yield f"{where}.{name} is gone"
            else:
                yield from _response_breaks(
                    f"{where}.{name}", inner, other["properties"][name], before, after, known
                )
        if "items" in part and "items" in other:
            yield from _response_breaks(f"{where}[]", part["items"], other["items"], before, after, known)


def _seen(schema: Any, seen: tuple[str, ...]) -> tuple[str, ...] | None:
    """The named schemas on the way, with this one; None where it is among them already."""
    name = schema.get("$ref")
    if name is None:
        return seen
    return None if name in seen else (*seen, name)


def _resolve(schema: Any, document: Document) -> Any:
    return document["components"]["schemas"][schema["$ref"].split("/")[-1]] if "$ref" in schema else schema


def _branches(schema: Any) -> list[Any]:
    """The schema, or its choices but for null."""
    return [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]


def _types(schema: Any, document: Document) -> set[str]:
    """The types that a schema allows; every one where it names none."""
    if "anyOf" in schema:
        return set().union(*(_types(_resolve(one, document), document) for one in schema["anyOf"]))
    return (
        {schema["type"]}
        if "type" in schema
        else {"array", "boolean", "integer", "null", "number", "object", "string"}
    )


def main() -> None:
    text = page()
    changes = breaks(json.loads(FILE.read_text()), json.loads(text)) if FILE.exists() else []
    if changes and "--breaking" not in sys.argv[1:]:
        sys.exit(
            f"{len(changes)} changes break clients; add fields and routes instead:\n" + "\n".join(changes)
        )
    print(text, end="")


if __name__ == "__main__":
    main()
