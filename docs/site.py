"""Hooks of MkDocs: pages link to the changelog, to results and to deploy files, which lie outside docs/, and
two of them are notebooks; the site has them, too, the notebooks as pages."""

import json
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
    """The files of the site, with those of PLACES under their own paths, and notebooks as pages."""
    from mkdocs.structure.files import File

    for path in sorted(path for place in PLACES for path in ROOT.glob(place) if path.is_file()):
        file = File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))
        if file.src_uri == "README.md":  # MkDocs would put it in the place of docs/index.md
            file.dest_uri = "readme/index.html"
        files.append(file)
    for path in sorted((ROOT / "docs").glob("*.ipynb")):
        files.append(File.generated(config, f"{path.stem}.md", content=page_of(path)))
    return files


def page_of(notebook: Path) -> str:
    """The cells of a notebook as Markdown: text as it is, code, and below it what it prints and shows."""
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", ()):
            lines = output["text"] if "text" in output else output["data"]["text/plain"]
            parts.append(f"```text\n{''.join(lines).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page with its links as they are in the site, where docs/ is the root."""
    path = page.file.src_uri
    markdown = markdown.replace(".ipynb)", ".md)")
    outside = any(Path(path).match(place) for place in PLACES)
    if not outside and "/" not in path:
        markdown = markdown.replace("](../", "](")
    if outside:
        markdown = re.sub(r"\]\((?:\.\./)*docs/", f"]({'../' * path.count('/')}", markdown)
    return markdown
