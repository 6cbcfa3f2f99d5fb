"""A release: wheel, sdist, bill of materials, table of licences, notes and sums of one version in one folder.

    python .ci/release.py 0.2.0 --out build/release --dry-run

It works on a clone of the last commit, so that nothing but what is committed gets in, and the repository is
as it was if a step fails. The clone gets the version and the cut changelog; the wheel is built there,
installed into an empty environment, and asked for its version. With `--tag` the commit that was built becomes
the branch's next one and is tagged. Needs git and Python alone: `build` and `cyclonedx-bom` (the extra
`release`) are installed into an environment of their own.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
PLACES = {  # file -> the text around the version that stands in it
    "pyproject.toml": 'version = "{}"',
    "recsys/__init__.py": '__version__ = "{}"',
    "deploy/kubernetes.yaml": "image: recsys:{}",
}
EXTRAS = ("serve", "train")
IMPORTS = {  # extra -> what the wheel imports with it; "" = without any
    "": "import recsys.pipelines.cli, recsys.serving.cli",
    "serve": "import recsys.serving.app",
    "train": "from recsys.models.registry import MODELS, model_class; print(*map(model_class, MODELS))",
}


def main() -> None:
    """Exits with a sentence where the version cannot be released, or a step fails."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("version", help="such as 0.2.0")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "dist", help="a new or empty folder (default: dist)"
    )
    parser.add_argument("--extras", default=",".join(EXTRAS), help="of the environment that is listed")
    parser.add_argument("--tag", action="store_true", help="commit version and changelog, and tag the commit")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    asked = parser.parse_args()
    extras = [name for name in asked.extras.split(",") if name]
    out = asked.out.resolve()
    changelog, notes = refuse_or_cut(asked.version, out)
    if asked.dry_run:
        print(plan(asked.version, out, extras, tag=asked.tag, notes=notes))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        clone = prepare_clone(work / "source", asked.version, changelog, commit=asked.tag)
        tools = make_tools(work / "tools", clone)
        wheel = build(tools, clone, out)
        python = install(tools, work / "wheel", wheel, extras, clone)
        check(python, asked.version, extras, work)
        materials = list_materials(tools, python, clone, out / f"recsys-{asked.version}.cdx.json")
        (out / "LICENCES.md").write_text(licence_table(materials, asked.version, extras), encoding="utf-8")
        (out / "NOTES.md").write_text(f"# recsys {asked.version}\n\n{notes}\n", encoding="utf-8")
        write_sums(out)
        if asked.tag:
            git("pull", "--quiet", "--ff-only", str(clone), "HEAD")
            git("tag", "--annotate", f"v{asked.version}", "--message", f"recsys {asked.version}")
    print(f"recsys {asked.version} in {out}:")
    for path in sorted(out.iterdir()):
        print(f"  {path.stat().st_size:>10,}  {path.name}")
    print(f"tagged v{asked.version}; git push --follow-tags publishes it" if asked.tag else "not tagged")


def refuse_or_cut(version: str, out: Path) -> tuple[str, str]:
    """(the changelog as it will be, the notes of this version); exits where there is a reason not to."""
    if not VERSION.fullmatch(version):
        sys.exit(f"{version!r} is no version: three numbers, such as 0.2.0 or 0.2.0rc1")
    if git("tag", "--list", f"v{version}"):
        sys.exit(f"v{version} is tagged already: a released version never changes, so choose the next one")
    if changed := git("status", "--porcelain"):
        sys.exit(f"the working tree is not clean: commit or remove\n{changed}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        sys.exit(f"{out} is not empty: name a new folder, so that old files get into no release")
    try:
        return cut(
            (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version, f"{datetime.now(UTC):%Y-%m-%d}"
        )
    except ValueError as error:
        sys.exit(str(error))


def cut(changelog: str, version: str, date: str) -> tuple[str, str]:
    """(the changelog with its first section under version and date and an empty one above, that section).

    ValueError where the first section is of another version, was released, or says nothing.
    """
    head, mark, rest = changelog.partition("\n## ")
    title, _, rest = rest.partition("\n")
    if not mark or title not in ("Unreleased", f"{version} (not released)"):
        raise ValueError(
            f"CHANGELOG.md begins with {title!r}: it needs a section '## Unreleased' or "
            f"'## {version} (not released)'"
        )
    notes, older, others = rest.partition("\n## ")
    if not notes.strip():
        raise ValueError(f"CHANGELOG.md says nothing under {title!r}")
    text = f"{head}\n## Unreleased\n\n## {version} ({date})\n{notes}{older}{others}"
    return text, notes.strip()


def plan(version: str, out: Path, extras: list[str], *, tag: bool, notes: str) -> str:
    """What a release would do, one step a line."""
    named = f"[{','.join(extras)}]" if extras else ""
    steps = [
        f"clone {git('rev-parse', '--short', 'HEAD')} ({git('log', '-1', '--format=%s')})",
        f"set the version {version} in {', '.join(PLACES)}",
        f"cut CHANGELOG.md: {len(notes.splitlines())} lines under {version}, a new 'Unreleased' above",
        f"build wheel and sdist into {out}",
        f"install the wheel{named} alone, and ask it for its version",
        f"write recsys-{version}.cdx.json, LICENCES.md, NOTES.md and SHA256SUMS",
        f"commit 'Release {version}' and tag v{version}" if tag else "leave branch and tags as they are",
    ]
    return "\n".join(["would:", *(f"  {step}" for step in steps)])


def prepare_clone(clone: Path, version: str, changelog: str, *, commit: bool) -> Path:
    """A clone of the last commit with the version and the changelog of the release."""
    git("clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone))
    for name, text in PLACES.items():
        path = clone / name
        pattern = re.escape(text).replace(r"\{\}", r"[^\"\s]+")
        new, times = re.subn(
            pattern, text.format(version), path.read_text(encoding="utf-8"), count=1, flags=re.M
        )
        if not times:
            sys.exit(f"{name} has no {text.format('VERSION')!r}: PLACES in .ci/release.py names another form")
        path.write_text(new, encoding="utf-8")
    (clone / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
    if commit:
        who = {f"user.{key}": git("config", f"user.{key}") for key in ("name", "email")}
        options = [word for key, value in who.items() for word in ("-c", f"{key}={value}")]
        git("-C", str(clone), *options, "commit", "--quiet", "--all", "--message", f"Release {version}")
    return clone


def make_tools(folder: Path, clone: Path) -> Path:
    """The python of an environment with what the extra `release` names."""
    project = tomllib.loads((clone / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    call(sys.executable, "-m", "venv", folder)
    python = folder / "bin/python"
    call(python, "-m", "pip", "install", "--quiet", *project["optional-dependencies"]["release"])
    return python


def build(tools: Path, clone: Path, out: Path) -> Path:
    """The wheel, beside the sdist that it was built from; its times are those of the commit."""
    when = git("-C", str(clone), "log", "-1", "--format=%ct")
    call(tools, "-m", "build", "--outdir", out, clone, extra={"SOURCE_DATE_EPOCH": when})
    return next(out.glob("*.whl"))


def install(tools: Path, folder: Path, wheel: Path, extras: list[str], clone: Path) -> Path:
    """The python of an environment that holds the wheel, what it needs by the pins, and no pip."""
    call(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin/python"
    named = f"{wheel}[{','.join(extras)}]" if extras else str(wheel)
    pip = [tools, "-m", "pip", "--python", python]
    call(*pip, "install", "--quiet", "-c", clone / "constraints.txt", named)
    return python


def check(python: Path, version: str, extras: list[str], outside: Path) -> None:
    """Exits where the installed wheel has another version, or imports something that is not there."""
    said = call(python.with_name("recsys"), "--version", cwd=outside).strip()
    if said != f"recsys, version {version}":
        sys.exit(f"the wheel says {said!r}, not 'recsys, version {version}'")
    for extra in ("", *extras):
        call(python, "-I", "-c", IMPORTS.get(extra, ""), cwd=outside)
    where = call(python, "-I", "-c", "import recsys; print(recsys.__file__)", cwd=outside)
    if not where.startswith(str(python.parents[1])):
        sys.exit(f"the wheel was not what was imported: {where}")


def list_materials(tools: Path, python: Path, clone: Path, path: Path) -> list[dict[str, Any]]:
    """Writes the bill of materials (CycloneDX) of an environment; returns its components."""
    form = ["--output-reproducible", "--of", "JSON", "--mc-type", "library"]
    project = clone / "pyproject.toml"
    call(tools, "-m", "cyclonedx_py", "environment", *form, "--pyproject", project, "-o", path, python)
    listed: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["components"]
    return [one for one in listed if one["name"] != "recsys-embeddings"]


def licence_table(materials: list[dict[str, Any]], version: str, extras: list[str]) -> str:
    """A table of what an environment holds: package, version, and its licence as its metadata declare it."""
    named = f"[{','.join(extras)}]" if extras else ""
    rows = [
        f"| {one['name']} | {one['version']} | {licence_of(one)} |"
        for one in sorted(materials, key=lambda one: str(one["name"]).lower())
    ]
    return "\n".join(
        [
            f"# Licences of what recsys {version} needs\n",
            f"recsys itself: Apache-2.0. Below is what `recsys-embeddings{named}` installed, with the "
            "licence that each package declares.\n",
            "| package | version | licence |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def licence_of(component: Mapping[str, Any]) -> str:
    """The licence of a component of a bill of materials: an SPDX expression, or names as declared."""
    names = [
        one.get("expression") or one["license"].get("id") or one["license"].get("name", "")
        for one in component.get("licenses", ())
    ]
    short = [" ".join(name.split()) for name in names if name and not name.startswith("declared license of")]
    return "; ".join(dict.fromkeys(short)) or "not declared"


def write_sums(out: Path) -> None:
    """Writes SHA256SUMS, which `sha256sum --check` reads."""
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(out.iterdir())
    ]
    (out / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def git(*arguments: str) -> str:
    """What a command of git prints, in the repository."""
    return call("git", *arguments, cwd=ROOT).strip()


def call(*command: str | Path, cwd: Path | None = None, extra: Mapping[str, str] | None = None) -> str:
    """What a program prints; exits with its last lines where it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=os.environ | (extra or {}), capture_output=True, text=True)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        sys.exit(f"{shlex.join(words)} ends with exit status {done.returncode}:\n{last}")
    return done.stdout


if __name__ == "__main__":
    main()
