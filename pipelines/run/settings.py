"""The settings of a run: what a config file in `pipelines/configs` or a key=value on the command line may
say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from recsys.config import Settings, overridden, read_toml, toml_value
from recsys.data.planted.world import WorldSettings
from recsys.data.prepare import PrepareSettings
from recsys.data.read.columns import COLUMN_ROLES, own_names
from recsys.data.read.event_table import Reading
from recsys.data.read.load import locate_data
from recsys.data.read.storage.partitions import days_of
from recsys.data.split.holdout import SplitSettings
from recsys.errors import SettingError
from recsys.evaluation.evaluate import RUN_METRICS
from recsys.evaluation.metrics.by_name import resolve_all
from recsys.models.registry import make_model
from recsys.retrieval.seen import SeenSettings

CONFIGS = Path(__file__).parent.parent / "configs"
WORLD = "world"
DEFAULT_EXPERIMENT = "recsys"


class RunSettings(Settings):
    """Settings of a training run."""

    data: str = Field(
        WORLD, description="`world`, a named data set, or the path of a folder or a file of events"
    )
    columns: Annotated[dict[str, str], BeforeValidator(own_names)] = Field(
        {},
        description="the user's own column names by role, e.g. user_id = 'visitor', title = 'name'; also "
        "'a or b', 'items[].item_id', 'at:ms', and numbers from 1 for a file without a header",
    )
    items: str | None = Field(None, description="the table of items; none = that of the folder")
    users: str | None = Field(None, description="the table of users; none = that of the folder")
    since: str | None = Field(
        None,
        description="read only the date partitions of the last days or weeks, such as 180d or 26w, "
        "counted back from the start of the newest one; none = all",
    )
    on_disk: bool = Field(
        False,
        description="keep the events in files below mlruns/ during the run instead of in memory: for "
        "Parquet logs larger than memory, and two_tower",
    )
    world: WorldSettings = Field(
        WorldSettings(), description="settings of the planted world, for data = world"
    )
    prepare: PrepareSettings = Field(
        PrepareSettings(), description="rating threshold, event weights, duplicates, k-core: before the split"
    )
    split: SplitSettings = Field(
        SplitSettings(), description="how the events are split into train, validation and test"
    )
    model: dict[str, Any] = Field(
        {"name": "als"}, description="`name` of the model, and its settings beside it"
    )
    judge: Literal["test", "validation"] = Field(
        "test", description="the part to judge on; tune on validation only"
    )
    refit: bool = Field(
        False,
        description="after judging, train the bundle's model again on all events, the judged ones too; "
        "takes twice the time, and the figures stay those of the judged model",
    )
    warm: str | None = Field(
        None,
        description="a bundle, folder of bundles or run to start from: known ids keep their vectors, new "
        "ones start from fold-in; needs the same model and dim; none = start anew",
    )
    checkpoint_s: float = Field(
        30,
        ge=0,
        description="seconds of learning that a crash may cost, or one epoch where that is longer "
        "(`recsys train --resume` goes on); 0 = save after each epoch",
    )
    evaluate_users: int | None = Field(
        None, ge=1, description="judge on a random sample of so many users; none = all of them"
    )
    metrics: tuple[str, ...] = Field(
        RUN_METRICS,
        description="metrics to compute, as in ndcg_at_10, sum_of_price_at_10 of a column of the items, or "
        "your own as module:function",
    )
    segments: tuple[str, ...] = Field(
        (),
        description="columns of the table of users or items, such as gender or item.brand, for each "
        "value of which the metrics are reported, too",
    )
    baselines_days: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (7, 30, 365), description="days that the popularity baselines count, beside the one of all time"
    )
    fallback_days: float | None = Field(
        30, gt=0, description="days that the popularity fallback counts; ignored without times"
    )
    seen: SeenSettings = Field(
        SeenSettings(),
        description="whether a list may repeat items that the user had: exclude | allow | a table [seen]; by "
        "default exclude, and with prepare.target_event only items had by that event",
    )
    seed: int = Field(1, ge=0, description="seed of all random draws of the run")
    threads: int = Field(
        0, ge=0, description="threads for numba, BLAS, faiss and torch; 0 = all cores of this process"
    )
    system_metrics: bool = Field(
        False,
        description="log how busy the machine is, every 10 seconds of the run: processors, memory, disk, "
        "network, GPUs; needs the extra `system`",
    )
    experiment: str = Field(
        DEFAULT_EXPERIMENT, description="the MLflow experiment that the run is logged under"
    )

    @property
    def reading(self) -> Reading:
        """Which events are read, and what they may hold."""
        drop = self.prepare.missing_users == "drop"
        return Reading(self.since, drop_missing_users=drop, ratings=self.prepare.rates)

    def parameters(self) -> dict[str, Any]:
        """What the run logs as its parameters: every setting of its model, the defaults too; those of the
        planted world only where that is the data."""
        plain = self.model_dump(mode="json", exclude=None if self.data == WORLD else {"world"})
        model = make_model(self.model_name, self.model_settings)
        return plain | {"model": {"name": self.model_name, **model.settings.model_dump(mode="json")}}

    @property
    def model_name(self) -> str:
        return str(self.model["name"])

    @property
    def model_settings(self) -> dict[str, Any]:
        return {key: value for key, value in self.model.items() if key != "name"}


def load_settings(config: str | None, assignments: Sequence[str], **values: Any) -> RunSettings:
    """Defaults < config file < `values` < key=value, all checked: a wrong one is a SettingError before work
    starts.

    config: a path, or the name of a file in `pipelines/configs`.
    """
    table: dict[str, Any] = read_toml(_config_path(config)) if config else {}
    table, assignments = _with_model({**table, **values}, assignments)
    model_of_config = table.get("model")
    table = overridden(table, assignments)
    for key in ("data", "items", "users"):
        if isinstance(name := table.get(key), str) and name != WORLD:
            table[key] = locate_data(name)
    if isinstance(warm := table.get("warm"), str) and Path(warm).exists():
        table["warm"] = str(Path(warm).resolve())
    prepare = table.get("prepare", {})
    target = prepare.get("target_event") if isinstance(prepare, Mapping) else None
    if target is not None and "seen" not in table:  # what was only viewed may still be bought
        table["seen"] = _had_by(target)
    model = table.get("model", {})
    if isinstance(model, Mapping):  # model.dim=32 alone keeps the default name
        table["model"] = {"name": "als", **model}
    where = "settings" if config is None else config
    settings = RunSettings.build(table, where=where)
    try:
        make_model(
            settings.model_name,
            settings.model_settings,
            where=f"model {settings.model_name!r} of {where}",
            path="model",
        )
    except SettingError as error:
        cure = _cure_of_lent(settings.model_name, model_of_config, where, error)
        raise SettingError(f"{error}{cure}") from None
    _refuse_hopeless_repeats(settings)
    resolve_all(settings.metrics)
    if settings.since is not None:
        days_of(settings.since)
    unknown = set(settings.columns) - {*COLUMN_ROLES}
    if unknown:
        raise SettingError(f"columns.{min(unknown)} is unknown; roles are {', '.join(COLUMN_ROLES)}.")
    return settings


def _had_by(target: Any) -> dict[str, Any]:
    """The seen policy in which only events of the judged types count as had, everywhere or by domain."""
    if isinstance(target, Mapping):
        return {"domains": {domain: _had_by(types) for domain, types in target.items()}}
    return {"events": [target] if isinstance(target, str) else target}


def _refuse_hopeless_repeats(settings: RunSettings) -> None:
    """Raises SettingError where repeats are asked for and the seen policy keeps all of them out of the
    answers."""
    seen, target = settings.seen, settings.prepare.target_event
    judged = [(rule, target) for rule in (seen, *seen.domains.values())]
    if isinstance(target, Mapping):
        judged = [
            (seen, None),
            *((seen.domains.get(domain, seen), types) for domain, types in target.items()),
        ]
    asked = [(rule, [types] if isinstance(types, str) or types is None else types) for rule, types in judged]
    if settings.split.repeats and not any(rule.ever_returns(name) for rule, types in asked for name in types):
        raise SettingError(
            "split.repeats = true counts targets that a person had before, and the seen policy keeps all "
            "of these out of the answers: none can be hit. Allow them (seen=allow, or a cooldown), or "
            "leave split.repeats out."
        )


def _with_model(table: dict[str, Any], assignments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The settings with the model that `model = "als"` or model=als names, and the other assignments.

    Settings of another model, from a config, are not lent to it.
    """
    words = [text.partition("=")[2] for text in assignments if text.partition("=")[0] == "model"]
    named = [name for name in (table.get("model"), *map(toml_value, words)) if isinstance(name, str)]
    if not named:
        return table, list(assignments)
    own = table.get("model")
    base = own if isinstance(own, Mapping) and own.get("name", "als") == named[-1] else {}
    others = [
        text
        for text in assignments
        if not (text.startswith("model=") and isinstance(toml_value(text[6:]), str))
    ]
    return table | {"model": {**base, "name": named[-1]}}, others


def _cure_of_lent(name: str, of_config: Any, where: str, error: SettingError) -> str:
    """What to do where a model was given settings that a config states for another one; empty elsewhere."""
    lent = set(of_config) - {"name"} if isinstance(of_config, Mapping) else set()
    own = of_config.get("name", "als") if lent else name
    if own == name or not any(f"'model.{key}'" in str(error) for key in lent):
        return ""
    return (
        f" The config {where} states these for {own}: model={name}, in place of model.name={name}, starts "
        "without them."
    )


def _config_path(config: str) -> Path:
    path = Path(config)
    named = CONFIGS / f"{config}.toml"
    if path.is_file():
        return path
    if named.is_file():
        return named
    known = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.toml")))
    raise SettingError(f"config {config!r} is neither a file nor one of {known}.")
