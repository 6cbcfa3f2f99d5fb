"""Is every fault of a folder named with its file, and does `train` take what `check` lets pass?

    python -m benchmarks.data_folders                    2,000 folders of all layouts, most with a fault
    python -m benchmarks.data_folders --quick            40 of them
    python -m benchmarks.data_folders --first 9001       2,000 others; nothing is written
    python -m benchmarks.data_folders --seed 7 --show    the folder of one seed, kept, with what was said

A folder is drawn from its seed alone. `recsys data check` and what `recsys train` does with data (read,
prepare, split, read the features, write the bundle) run in this process. Exit status 1 where a folder did not
come out right.
"""

import json
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from benchmarks.folder_faults import Draft, Fault
from benchmarks.folder_files import write_draft
from benchmarks.results import report
from recsys.bundle.write import write
from recsys.errors import RecsysError
from recsys.models.export import content_of
from recsys.models.registry import make_model
from recsys.models.towers.tower_start import described_items, described_users
from recsys.pipelines.cli import main as recsys
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from recsys.retrieval.embeddings import Embeddings

FOLDERS, QUICK = 2_000, 40
VERDICTS = ("right", "traceback", "let through", "not named", "false alarm")


@dataclass(frozen=True)
class Outcome:
    """What became of a folder. verdict: one of VERDICTS. check, train: what each of them said or raised."""

    seed: int
    fault: str
    verdict: str
    check: str
    train: str


def outcome_of(seed: int, folder: Path) -> Outcome:
    """Draws a folder, writes it, and holds what is said of it against what was planted."""
    draft = Draft.of_seed(seed)
    path = write_draft(draft, folder)
    options = [f"--{short}-col={name}" for short, name in draft.own_names().items()]
    checked = CliRunner().invoke(recsys, ["data", "check", str(path), *options, *draft.settings, "--json"])
    refusal, trace = _refused_by_train(path, draft)
    said = checked.stdout + checked.stderr
    fault = draft.fault
    if checked.exit_code not in (0, 1, 2) or (
        checked.exception and not isinstance(checked.exception, SystemExit)
    ):
        return Outcome(seed, fault.name, "traceback", said + _trace(checked.exception), refusal or "taken")
    if trace:
        return Outcome(seed, fault.name, "traceback", said, trace)
    if checked.exit_code == 0 and refusal:
        return Outcome(seed, fault.name, "let through", said, refusal)
    sentences = _sentences(checked.stdout, said)
    if fault.words and not any(_names(one, fault, draft, path) for one in sentences):
        return Outcome(seed, fault.name, "not named", said, refusal or "taken")
    if not fault.words and not fault.wild and checked.exit_code:
        return Outcome(seed, fault.name, "false alarm", said, refusal or "taken")
    return Outcome(seed, fault.name, "right", said, refusal or "taken")


def _sentences(stdout: str, said: str) -> list[str]:
    """Each finding as plain text with its file; the whole output where it is no list of findings."""
    lines = stdout.splitlines()
    if not lines or not lines[-1].startswith("{"):
        return [said]
    result = json.loads(lines[-1])
    return [json.dumps(one, ensure_ascii=False) + result["where"] for one in result["findings"]]


def _names(sentence: str, fault: Fault, draft: Draft, path: Path) -> bool:
    return all(word in sentence for word in (*fault.words, str(draft.file_of_fault or path.name)))


def _refused_by_train(path: Path, draft: Draft) -> tuple[str, str]:
    """What a run says where it refuses the data, "" where it takes them; and the traceback of anything
    else."""
    columns = [
        f"columns.{role}={json.dumps(name, ensure_ascii=False)}" for role, name in draft.columns.items()
    ]
    try:
        settings = load_settings(None, [*columns, *draft.settings], data=str(path))
        prepared = prepare(settings, Steps(quiet=True))
        train = prepared.holdout.train
        for columns_of, described in (("item_features", described_items), ("user_features", described_users)):
            described(
                getattr(make_model(settings.model_name, settings.model_settings).settings, columns_of, ()),
                train,
            )
        learned = make_model("popularity", {}).fit(train, seed=1)
        assert isinstance(learned, Embeddings)
        with tempfile.TemporaryDirectory() as root:
            write(Path(root), content_of("popularity", learned, train))
    except RecsysError as error:
        return str(error), ""
    except Exception as error:
        return "", _trace(error)
    return "", ""


def _trace(error: BaseException | None) -> str:
    return "" if error is None else "".join(traceback.format_exception(error))


def outcomes(seeds: Sequence[int]) -> Iterator[Outcome]:
    """The outcomes of these seeds, in order, each in a folder that is gone afterwards."""
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="folder") as root:
            yield outcome_of(seed, Path(root))


@click.command()
@click.option("--quick", is_flag=True, help="a few folders; nothing is written")
@click.option("--first", default=1, show_default=True, help="the first seed")
@click.option("--seed", type=int, help="this one alone")
@click.option("--show", is_flag=True, help="with --seed: keep the folder and print what was said")
@click.option(
    "--json", "as_json", is_flag=True, help="print one JSON object, as the last line, and nothing else"
)
def main(quick: bool, first: int, seed: int | None, show: bool, as_json: bool) -> None:
    """Draws folders, checks and reads them, and counts what went wrong, by fault."""
    if seed is not None:
        root = Path(tempfile.mkdtemp(prefix="folder"))
        one = outcome_of(seed, root)
        click.echo(f"{root}\n{one.fault}: {one.verdict}\n--- check\n{one.check}\n--- train\n{one.train}")
        if not show:
            shutil.rmtree(root)
        return
    counts: dict[str, Counter[str]] = {}
    for one in outcomes(range(first, first + (QUICK if quick else FOLDERS))):
        counts.setdefault(one.fault, Counter())[one.verdict] += 1
        if one.verdict != "right":
            click.echo(f"seed {one.seed}, {one.fault}: {one.verdict}", err=True)
    rows = [
        {
            "fault": name,
            "folders": sum(by_verdict.values()),
            **{verdict: by_verdict[verdict] for verdict in VERDICTS},
        }
        for name, by_verdict in sorted(counts.items())
    ]
    total: dict[str, Any] = {key: sum(row[key] for row in rows) for key in ("folders", *VERDICTS)}
    report(
        "data_folders",
        [*rows, {"fault": "all", **total}],
        title="Folders with a planted fault",
        note="Right: the fault is named with its file, no traceback, and a run takes what `check` lets pass. "
        "Not named: no finding says the fault and the file. False alarm: exit status 1 where nothing was "
        "planted.",
        quick=quick or first != 1,
        as_json=as_json,
    )
    if total["right"] < total["folders"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
