"""What a run is about, read and split: the first stage of every pipeline."""

import numpy as np

from recsys.data.dataset import Dataset
from recsys.data.planted.world import World, make_world
from recsys.data.prepare import prepare_data as prepared_data
from recsys.data.prepare import refuse_one_sided
from recsys.data.read.load import load_dataset
from recsys.data.split.holdout import Holdout
from recsys.data.split.split import split
from recsys.errors import SettingError
from recsys.evaluation.metrics.by_name import refuse_worthless, resolve_all
from recsys.evaluation.metrics.columns import item_columns
from recsys.evaluation.segments import resolved_column
from recsys.pipelines.console import Steps
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import WORLD, RunSettings
from recsys.pipelines.threads import set_threads
from recsys.pipelines.tracking.store import place_for_events
from recsys.progress import Progress
from recsys.seeding import generator
from recsys.text import utc_text


def prepare(settings: RunSettings, steps: Steps) -> Run:
    """Reads and splits the data of a run, and makes it."""
    return ask(settings, steps, *read(settings, steps))


def read(settings: RunSettings, steps: Steps) -> tuple[World | None, Dataset]:
    """Reads the data of a run, and says what reading noticed."""
    set_threads(settings.threads)
    with steps.step("data") as progress:
        world, data, notes = read_data(settings, progress)
    for warning in data.warnings:
        steps.warn(warning)
    for note in notes:
        steps.say(note)
    refuse_columns(data, settings)
    return world, data


def ask(settings: RunSettings, steps: Steps, world: World | None, data: Dataset) -> Run:
    """Makes a run of data that were read, by the split and the part that its settings name."""
    threads = set_threads(settings.threads)
    with steps.step("split"):
        parts = split(data, settings.split, seed=settings.seed)
        holdout = _sample_users(getattr(parts, settings.judge), settings)
    asked = "" if holdout.now is None else f", asked at {utc_text(holdout.now)}"
    judged = "" if data.target_event is None else f", judged on {data.target_event.text}"
    title = f"{data.name}, {settings.judge} part, {parts.title}{judged}{asked}"
    return Run(settings, steps, data, holdout, title, threads, world)


def refuse_columns(data: Dataset, settings: RunSettings) -> None:
    """Raises SettingError where segments or metrics name a column that is not there, DataError where a metric
    counts one that holds no numbers."""
    refuse_worthless(resolve_all(settings.metrics), item_columns(data))
    for column in settings.segments:
        resolved_column(data, column)


def _sample_users(holdout: Holdout, settings: RunSettings) -> Holdout:
    """The holdout, or its question about `evaluate_users` of its users, the same ones for the same seed."""
    n, asked = len(holdout.user), settings.evaluate_users
    if asked is None or asked >= n:
        return holdout
    return holdout.take(np.sort(generator(settings.seed, "evaluated users").choice(n, asked, replace=False)))


def read_data(settings: RunSettings, progress: Progress) -> tuple[World | None, Dataset, list[str]]:
    """The data after the rules of `settings.prepare`, which keep the places of a world's users and items."""
    if settings.on_disk and settings.data == WORLD:
        raise SettingError(
            "on_disk keeps a log read from Parquet; data = world is made in memory. Leave on_disk out."
        )
    world = make_world(settings.world, progress) if settings.data == WORLD else None
    if world is None:
        folder = place_for_events() if settings.on_disk else None
        data = load_dataset(
            settings.data,
            settings.columns,
            items=settings.items,
            users=settings.users,
            reading=settings.reading,
            on_disk=folder,
            progress=progress,
        )
    else:
        data = world.dataset
    data, notes = prepared_data(data, settings.prepare, compact=world is None)
    refuse_one_sided(data.name, data.interactions.user, data.interactions.item)
    return world, data, notes
