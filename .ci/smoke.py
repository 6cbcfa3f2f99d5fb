"""What a newcomer does: the README's own commands, from an empty environment to an answered request.

The commands are those of the section "From your clicks to an answer", run as they stand, in one shell,
outside the repository; only the port is a free one, and the service is put into the background. The clicks
are as they come: semicolons, umlauts, blanks and quotes in ids, times with zones.
"""

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "venv", "mlruns", "build", "dist", "*.egg-info", "__pycache__")
ITEMS = [
    "tea",
    "pot",
    "Grüner Tee",
    "Käse, jung",
    'Müsli "Bio"',
    *(f"Brötchen {number:02}" for number in range(40)),
]


def main() -> None:
    """Exits with a sentence where something is not as the README says."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## From your clicks to an answer")[1]
    install, line, question = re.findall(r"```\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    *commands, serve = line.replace("8000", port).strip().splitlines()
    with tempfile.TemporaryDirectory() as folder:
        source, outside = Path(folder) / "source", Path(folder) / "elsewhere"
        shutil.copytree(ROOT, source, ignore=LEFT_OUT, symlinks=True)
        outside.mkdir()
        write_clicks(outside / "clicks.csv")
        script = [
            "set -e",
            f"cd {source}",
            install,
            f"cd {outside}",
            (
                'case "$(python -c "import recsys; print(recsys.__file__)")" in *site-packages*) ;; *) '
                "exit 9 ;; esac"
            ),
            *commands,
            f"{serve} > service.log &",
            "service=$!",
            "trap 'kill $service; wait $service' EXIT",
            "for _ in $(seq 100); do [ -s service.log ] && break; sleep 0.2; done",
            f"answer=$({question.replace('8000', port).strip()})",
            'printf "%s" "$answer" > answer.json',
        ]
        quiet = os.environ | {"PIP_QUIET": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        done = subprocess.run(["bash", "-c", "\n".join(script)], cwd=folder, env=quiet, timeout=900)
        if done.returncode:
            sys.exit(f"the README's commands end with exit status {done.returncode}")
        answer = json.loads((outside / "answer.json").read_text(encoding="utf-8"))
    asked = {event["item_id"] for event in json.loads(question.split("-d '")[1].rsplit("'", 1)[0])["history"]}
    suggested = {item["item_id"] for item in answer["items"]}
    if answer["source"] != "history" or len(suggested) != 3 or not suggested < set(ITEMS) - asked:
        sys.exit(f"the service answers {json.dumps(answer, ensure_ascii=False)}")
    print(f"smoke: {answer['why']} {[item['item_id'] for item in answer['items']]}")


def write_clicks(path: Path) -> None:
    """5,000 clicks of 400 visitors, each with a few favourites, over 300 days."""
    draw = random.Random(1)
    rows = []
    for visitor in range(400):
        favourites = draw.sample(ITEMS, 8)
        start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=draw.uniform(0, 250))
        for _ in range(draw.randint(5, 20)):
            item = draw.choice(favourites if draw.random() < 0.7 else ITEMS)
            at = (start + timedelta(days=draw.uniform(0, 50))).astimezone(
                timezone(timedelta(hours=draw.choice([1, 2])))
            )
            rows.append(
                [
                    f"Kundin {visitor:03} Müller",
                    item,
                    draw.choice(["web", "app"]),
                    at.isoformat(timespec="seconds"),
                ]
            )
    draw.shuffle(rows)
    quoted = [";".join('"' + field.replace('"', '""') + '"' for field in row) for row in rows]
    path.write_text("visitor;article;channel;at\n" + "\n".join(quoted) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
