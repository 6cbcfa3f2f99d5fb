"""The page at /docs: what /openapi.json says, as HTML that needs no script and nothing from elsewhere."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }
code, pre { font-family: monospace; background: #8882; }
pre { padding: .6em; overflow-x: auto; }
td, th { text-align: left; vertical-align: top; padding: .1em 1em .1em 0; }
"""


HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def page(document: Mapping[str, Any], address: str) -> bytes:
    """The HTML of an OpenAPI document. address: where the document itself is read."""
    schemas = document["components"]["schemas"]
    title = f"{document['info']['title']} {document['info']['version']}"
    lines = [
        (
            "<!doctype html><html lang=en><meta "
            f"charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
        ),
        f"<h1>{escape(title)}</h1><p>{escape(document['info']['description'])}",
        f'For programs: <a href="{escape(address)}">{escape(address)}</a>.</p>',
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lines += _operation(f"{method.upper()} {path}", operation, schemas)
    lines.append("<h2>Fields</h2>")
    for name, schema in sorted(schemas.items()):
        lines += _schema(name, schema)
    return "\n".join(lines).encode()


def _operation(name: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    """A route: what it does, its parameters, an example of what it takes, and what it gives."""
    yield f"<h2><code>{escape(name)}</code></h2><p>{escape(operation.get('description', ''))}</p>"
    if parameters := operation.get("parameters"):
        yield _table([(one["name"], one["schema"], one.get("description", "")) for one in parameters])
    if "requestBody" in operation:
        asked = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        yield f"<p>Takes {_link(asked)}, for example:</p>"
        for example in schemas[asked].get("examples", [{}]):
            yield f"<pre>{escape(json.dumps(example, indent=1))}</pre>"
    answered = operation["responses"]["200"]["content"]["application/json"]["schema"]
    yield f"<p>Gives {_type(answered)}, or a {_link('ProblemDocument')}.</p>"


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """A type: what it is and what its fields are."""
    yield f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{escape(schema.get("description", ""))}</p>'
    fields = schema.get("properties", {})
    yield _table([(key, field, field.get("description", "")) for key, field in fields.items()])


def _table(rows: list[tuple[str, Mapping[str, Any], str]]) -> str:
    cells = (
        f"<tr><td><code>{escape(name)}</code><td>{_type(schema)}<td>{escape(text)}</tr>"
        for name, schema, text in rows
    )
    return f"<table>{''.join(cells)}</table>"


def _type(schema: Mapping[str, Any]) -> str:
    """The type of a value in a few words, linked where it has fields of its own."""
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    kind = str(schema.get("type", "any"))
    return f"list of {_type(schema['items'])}" if kind == "array" and "items" in schema else escape(kind)


def _link(name: str) -> str:
    return f'<a href="#{escape(name)}">{escape(name)}</a>'
