"""Hooks of MkDocs: pages link to the changelog, to results and to deploy files, which lie outside docs/; the
site has them, too."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PLACES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "benchmarks/results/*.md",
    "benchmarks/results/*.png",
    "deploy/*",
)


def on_files(files: Any, config: Any) -> Any:
    """The files of the site, with those of PLACES under their own paths."""
    from mkdocs.structure.files import File

    for path in sorted(path for place in PLACES for path in ROOT.glob(place) if path.is_file()):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page with its links as they are in the site, where docs/ is the root."""
    path = page.file.src_uri
    outside = any(Path(path).match(place) for place in PLACES)
    if not outside and "/" not in path:
        markdown = markdown.replace("](../", "](")
    if outside:
        markdown = re.sub(r"\]\((?:\.\./)*docs/", f"]({'../' * path.count('/')}", markdown)
    return markdown
