"""Bundles that were damaged in every way we can think of: none is served, and the old one serves on.

    python -m benchmarks.bundle_corruptions [--cases 5000] [--quick] [--json]

One fault each in a copy of a bundle: a bit, a byte or a run of bytes is changed, a file is cut, grown,
emptied, swapped with another or missing, a folder or a link to elsewhere stands in its place, the manifest
says something else (and is sealed again). Refused means that the service's own check refuses; each
five-hundredth is also put before a service that runs. In turn the bundle is one of ALS's, the same with
events of two types, domains and an approximate index, and one of a two-tower model that encodes items: all
the files that a bundle may have.
"""

import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from benchmarks.answer import make_bundle
from benchmarks.results import report
from benchmarks.service_contract import two_tower
from benchmarks.service_load import Process, serving
from recsys.bundle.bundle import load
from recsys.bundle.manifest import MANIFEST, SEAL, seal_of
from recsys.bundle.root import POINTER, point_to
from recsys.bundle.write import write
from recsys.errors import BundleError
from recsys.history import DTYPES
from recsys.retrieval.approximate import IndexSettings

Fault = Callable[[Path, random.Random], None]


def _bit(file: Path, draw: random.Random) -> None:
    _change(
        file, lambda text, at: text[:at] + bytes([text[at] ^ 1 << draw.randrange(8)]) + text[at + 1 :], draw
    )


def _run(file: Path, draw: random.Random) -> None:
    length = draw.randrange(2, 200)
    _change(
        file,
        lambda text, at: text[:at] + bytes(255 - one for one in text[at : at + length]) + text[at + length :],
        draw,
    )


def _cut(file: Path, draw: random.Random) -> None:
    os.truncate(file, draw.randrange(file.stat().st_size))


def _grow(file: Path, draw: random.Random) -> None:
    file.write_bytes(file.read_bytes() + draw.randbytes(draw.randrange(1, 50)))


def _empty(file: Path, draw: random.Random) -> None:
    file.write_bytes(b"")


def _remove(file: Path, draw: random.Random) -> None:
    file.unlink()


def _folder(file: Path, draw: random.Random) -> None:
    file.unlink()
    file.mkdir()


def _link(file: Path, draw: random.Random) -> None:
    """Leads to something else outside of the bundle."""
    file.unlink()
    file.symlink_to("/etc/hostname" if draw.random() < 0.5 else "/dev/null")


def _swap(file: Path, draw: random.Random) -> None:
    bundle = next(folder for folder in file.parents if (folder / MANIFEST).exists())
    others = [
        one for one in sorted(bundle.rglob("*")) if one.is_file() and one.read_bytes() != file.read_bytes()
    ]
    shutil.copyfile(draw.choice(others), file)


def _change(file: Path, change: Callable[[bytes, int], bytes], draw: random.Random) -> None:
    text = file.read_bytes()
    file.write_bytes(change(text, draw.randrange(len(text))))


_LIES: tuple[Callable[[dict[str, Any], random.Random], None], ...] = (
    lambda manifest, draw: manifest.update(format=draw.choice((0, 3, 99, "2", None))),
    lambda manifest, draw: manifest.pop(
        draw.choice(("format", "bundle_id", "files", "kind", "dim", "seen", "fallback"))
    ),
    lambda manifest, draw: manifest.update(requires=["what nobody knows"]),
    lambda manifest, draw: manifest.update(kind=draw.choice(("nothing", "os.system", 3))),
    lambda manifest, draw: manifest.update(dim=manifest["dim"] + draw.choice((-1, 1, 1000))),
    lambda manifest, draw: manifest["files"].update(
        {draw.choice(("../x", "/etc/passwd", "a/../../x")): {"bytes": 1, "sha256": ""}}
    ),
    # a column of histories that it does not name is not read: without it, it is another bundle and no damaged
    # one
    lambda manifest, draw: manifest["files"].pop(
        draw.choice(sorted(manifest["files"].keys() - {f"histories.{name}.npy" for name in DTYPES}))
    ),
    lambda manifest, draw: manifest["files"][draw.choice(sorted(manifest["files"]))].update(bytes=1),
    lambda manifest, draw: manifest.update(bundle_id=draw.choice(("../x", "/x", ".."))),
    lambda manifest, draw: manifest.update(space_id="0" * 16),
)


def _lie(file: Path, draw: random.Random) -> None:
    """The manifest says something else, and its seal is right."""
    path = file.parent / MANIFEST
    while path.parent.name and not path.exists():
        path = path.parent.parent / MANIFEST
    manifest = json.loads(path.read_text())
    draw.choice(_LIES)(manifest, draw)
    raw = json.dumps(manifest).encode()
    path.write_bytes(raw)
    (path.parent / SEAL).write_bytes(seal_of(raw))


FAULTS: dict[str, Fault] = {
    "bit": _bit,
    "run of bytes": _run,
    "cut": _cut,
    "grown": _grow,
    "emptied": _empty,
    "gone": _remove,
    "folder": _folder,
    "link": _link,
    "swapped": _swap,
    "manifest": _lie,
}


def kinds(root: Path) -> list[Path]:
    """Bundles that hold all the files that there are."""
    plain = make_bundle(300, 40, root)
    content, past = make_bundle(300, 40, root, domains=2).content(), np.arange(len(plain.histories)) % 2
    histories = replace(content.histories, event=past.astype(np.int8), weight=(1 + past).astype(np.float32))
    index = IndexSettings(factory="IVF4,SQfp16", effort=4, target=0.5, target_p5=0.1, k=5)
    typed: dict[str, Any] = {"event_names": ("view", "buy"), "event_weights": {"buy": 2.0}}
    indexed = write(root, replace(content, histories=histories, index=index, **typed))
    return [plain.path, indexed, two_tower(root)]


def damage(good: Path, into: Path, draw: random.Random) -> str:
    """Makes a copy of a bundle with one fault; which."""
    shutil.copytree(good, into)
    files = sorted(path for path in into.rglob("*") if path.is_file() and path.stat().st_size)
    name = draw.choice(sorted(FAULTS))
    FAULTS[name](draw.choice(files), draw)
    return name


def refusal(folder: Path) -> str | None:
    """What is said of a bundle by the check that stands before the service; None where it would serve."""
    try:
        load(folder)
    except BundleError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def goes_on(process: Process, root: Path, good: str, folder: Path) -> bool:
    """Whether the service keeps what it serves when a damaged bundle is published, and says that it did not
    load."""
    shutil.move(folder, root / folder.name)
    (root / POINTER).write_text(folder.name + "\n")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status, model = process.get("/v1/model")
        if status == 200 and model["swap"]["state"] == "failed" and model["swap"]["bundle_id"] == folder.name:
            break
        time.sleep(0.05)
    else:
        return False
    kept = bool(model["bundle_id"] == good)
    point_to(root, good)
    shutil.rmtree(root / folder.name)
    return kept


def corrupt(cases: int, seed: int, every: int = 500) -> list[dict[str, Any]]:
    """A row for each kind of fault. every: each so many-th is also published to a service that runs."""
    draw, count, passed, on, off = (
        random.Random(seed),
        Counter[str](),
        Counter[str](),
        Counter[str](),
        Counter[str](),
    )
    with TemporaryDirectory() as place:
        root = Path(place, "bundles")
        bundles = kinds(root)
        good = bundles[0]
        point_to(root, good.name)
        options = ("--exposures", "off", "--state", "off", "--poll-s", "0.05", "--idle-check-s", "0")
        with serving(root, *options) as process:
            for case in range(cases):
                bad = Path(place, f"damaged-{case}")
                name = damage(bundles[case % len(bundles)], bad, draw)
                count[name] += 1
                passed[name] += refusal(bad) is None
                if case % every == 0:
                    (on if goes_on(process, root, good.name, bad) else off)[name] += 1
                shutil.rmtree(bad, ignore_errors=True)
    return [
        {
            "fault": name,
            "cases": count[name],
            "accepted": passed[name],
            "published": on[name] + off[name],
            "lost": off[name],
        }
        for name in sorted(count)
    ]


@click.command()
@click.option("--cases", default=5_000, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--quick", is_flag=True, help="100 cases; writes no results.")
@click.option("--json", "as_json", is_flag=True)
def main(cases: int, seed: int, quick: bool, as_json: bool) -> None:
    """Writes benchmarks/results/bundle_corruptions.md; exit status 1 where something fails."""
    rows = corrupt(100 if quick else cases, seed)
    note = (
        "Accepted: what the check would let serve. Published: put before a running service. Lost: it did "
        "not go on."
    )
    report("bundle_corruptions", rows, title="Damaged bundles", note=note, quick=quick, as_json=as_json)
    sys.exit(any(row["accepted"] or row["lost"] for row in rows))


if __name__ == "__main__":
    main()
