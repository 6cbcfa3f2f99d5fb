"""The dimension adviser: what each dim gives and costs, and the smallest that is as good as the best."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsys.arrays import F32, F64
from recsys.data.split.holdout import Holdout
from recsys.errors import ModelError, SettingError
from recsys.evaluation.evaluate import users_of
from recsys.evaluation.significance import Interval, advised_dim
from recsys.pipelines.run.run import Run
from recsys.pipelines.search import pictures
from recsys.pipelines.search.config_file import config_text, write_config
from recsys.pipelines.search.report import train_command
from recsys.pipelines.search.space import Searched, full_settings
from recsys.pipelines.search.trial import Judge, Tried
from recsys.pipelines.search.tune import Asked, name_of, tune
from recsys.pipelines.tracking.lineage import flat
from recsys.pipelines.tracking.store import store
from recsys.pipelines.tracking.trial_runs import Nested
from recsys.retrieval.embeddings import Embeddings
from recsys.text import text_table

_QUERIES, _K = 200, 20


@dataclass(frozen=True, eq=False)
class Weighed:
    """A dim with what it gives and costs. values: float64 (n,) per user. model: the full settings.

    megabytes: of the item vectors in float32. query_ms: median of one exact search in FAISS, on one thread.
    reason: why there is no model of this dim; then only `dim` is known.
    """

    dim: int
    model: Mapping[str, Any]
    values: F64
    interval: Interval
    megabytes: float
    query_ms: float
    seconds: float
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class Advice:
    """advised, best: dims. differences: dim -> mean and standard error of the paired difference to the
    best."""

    metric: str
    weighed: Sequence[Weighed]
    differences: Mapping[int, tuple[float, float]]
    best: int
    advised: int
    config: Path
    run_id: str | None
    text: str

    @property
    def chosen(self) -> Weighed:
        return next(one for one in self.weighed if one.dim == self.advised)


def checked_dims(dims: Sequence[int], name: str, settings: Mapping[str, Any]) -> list[int]:
    """The dims, rising. Raises SettingError for a model without dim, for one dim alone and for what is no
    dim."""
    if "dim" not in full_settings(name, settings):
        raise SettingError(f"model {name!r} has no setting `dim` to weigh; name one that has: --model als.")
    rising = sorted(set(dims))
    if len(rising) < 2:
        raise SettingError(
            f"dims {list(dims)} leave nothing to compare; name two or more, as in --dims 16,64."
        )
    for dim in rising:
        full_settings(name, {**settings, "dim": dim})
    return rising


def advise(
    run: Run,
    dims: Sequence[int],
    metric: str,
    *,
    search: Callable[[int], tuple[Searched, Asked]] | None = None,
    command: str = "recsys dims",
) -> Advice:
    """Learns and judges every dim of the model of a run on the validation part, and advises one.

    search: what to search, and how, for each dim; None = the same other settings for all. A dim whose model
    cannot be learned stays in the table with the reason. Raises ModelError where that leaves fewer than two.
    """
    settings, judge, nested = run.settings, Judge(run, metric), Nested(run)
    dims = checked_dims(dims, settings.model_name, settings.model_settings)
    run_id, label = nested.open(f"dims of {run.name}"), judge.label
    weighed = []
    for dim in dims:
        model = full_settings(settings.model_name, {**settings.model_settings, "dim": dim})
        if search is not None:
            run.steps.say(f"dim {dim}: search")
            model = dict(tune(run, *search(dim)).model)
        weighed.append(_weigh(dim, model, judge, nested))
    judged = [one for one in weighed if one.reason is None]
    if len(judged) < 2:
        raise ModelError(
            f"fewer than two of the dims could be learned; the last reason: {weighed[-1].reason}"
        )
    best, advised, differences = advised_dim({one.dim: one.values for one in judged})
    stated = settings.model_dump(mode="json") | {"metrics": [label]}
    config = store() / "tuned" / f"{name_of(run, label, {**stated, 'dims': dims})}-dims.toml"
    text = _text(run, label, weighed, differences, best, advised)
    advice = Advice(label, weighed, differences, best, advised, config, run_id, text)
    files, means = _write(run, advice, command), advice.chosen.interval
    logged = flat(settings.parameters() | {"metrics": [label]})
    nested.end(
        run_id,
        settings={name: value for name, value in logged.items() if name != "model.dim"},
        tags={"command": command, "advised": advised},
        metrics={label: means.mean, f"{label}_low": means.low, f"{label}_high": means.high},
        files=files,
    )
    return advice


def query_ms(items: F32, queries: F32) -> float:
    """The median of milliseconds that one exact search takes, over the queries (n, dim), on one thread."""
    import faiss

    index = faiss.IndexFlatIP(items.shape[1])
    index.add(np.ascontiguousarray(items))
    threads, taken = faiss.omp_get_max_threads(), []
    faiss.omp_set_num_threads(1)
    try:
        for query in queries:
            started = time.perf_counter()
            index.search(query[None], min(_K, len(items)))
            taken.append(time.perf_counter() - started)
    finally:
        faiss.omp_set_num_threads(threads)
    return 1e3 * float(np.median(taken))


def _weigh(dim: int, model: Mapping[str, Any], judge: Judge, nested: Nested) -> Weighed:
    trial = judge.run.trial(model, nested.begin(f"dim {dim}"))
    described = {"model": trial.settings.model, "metrics": (judge.label,)}
    try:
        with trial.steps.step(f"dim {dim}") as progress:
            tried = judge.try_settings(trial, progress, watched=False)
            assert isinstance(tried, Tried)
            if not isinstance(tried.learned, Embeddings):
                raise ModelError(
                    f"{trial.settings.model_name} learns no vectors, so no dim of them can be advised."
                )
            ms = query_ms(tried.learned.items, _queries(tried.learned, trial.holdout))
    except (ModelError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        nested.end(trial.run_id, settings=described, tags={"reason": reason[:500]}, status="FAILED")
        trial.steps.warn(f"dim {dim} is left out: {reason}")
        nothing = float("nan")
        return Weighed(
            dim, model, np.empty(0), Interval(nothing, nothing, nothing), nothing, nothing, 0.0, reason
        )
    interval, megabytes = tried.interval, tried.learned.items.nbytes / 1e6
    weighed = Weighed(dim, model, tried.values, interval, megabytes, ms, tried.seconds)
    figures = {
        judge.label: interval.mean,
        f"{judge.label}_low": interval.low,
        f"{judge.label}_high": interval.high,
    }
    costs = {"megabytes": megabytes, "query_ms": ms, "seconds": tried.seconds}
    values = (judge.label, tried.values)
    nested.end(trial.run_id, settings=described, metrics=figures | costs, curves=tried.curves, values=values)
    return weighed


def _queries(learned: Embeddings, holdout: Holdout) -> F32:
    """float32 (n, dim): the vectors of some users of the holdout, in its order."""
    users = users_of(holdout)
    encoded = learned.encoder.encode(users.take(np.arange(min(_QUERIES, len(users)))))
    vectors, known = encoded.vectors, encoded.known
    return np.ascontiguousarray(vectors[known] if known.any() else learned.items[:1])


def _text(
    run: Run,
    metric: str,
    weighed: Sequence[Weighed],
    differences: Mapping[int, tuple[float, float]],
    best: int,
    advised: int,
) -> str:
    rows = []
    for one in weighed:
        if one.reason is not None:
            rows.append([str(one.dim), "not learned", "-", "-", "-", "-"])
            continue
        mean, error = differences[one.dim]
        costs = [f"{one.megabytes:.2f}", f"{one.query_ms:.3f}", f"{one.seconds:.1f}"]
        against = "the best" if one.dim == best else f"{mean:+.4f} ± {error:.4f}"
        rows.append([str(one.dim), one.interval.text(), against, *costs])
    header = ["dim", metric, "to the best ± one error", "MB of vectors", "ms a query", "seconds"]
    mean, error = differences[advised]
    within = (
        f": {-mean:.4f} below dim {best}, within one standard error, {error:.4f}, of the paired difference"
    )
    users = f"{len(run.holdout.user):,} users, {run.data.n_items:,} items"
    top = best == max(one.dim for one in weighed if one.reason is None)
    lines = [f"{run.title}. {users}.", "", text_table(header, rows), ""]
    lines.append(f"Advised: dim {advised}{within if advised != best else ', the best itself'}.")
    if top:
        lines.append(f"The best, {best}, is the largest that was learned: a larger one may be better still.")
    return "\n".join(lines)


def _write(run: Run, advice: Advice, command: str) -> list[Path]:
    """Writes config, table, figures and picture, and returns their paths."""
    config, metric, chosen, differences = advice.config, advice.metric, advice.chosen, advice.differences
    judged = [one for one in advice.weighed if one.reason is None]
    config.parent.mkdir(parents=True, exist_ok=True)
    files = [config, *(config.with_suffix(suffix) for suffix in (".md", ".json", ".png"))]
    head = [
        f"Purpose: {run.name} in the smallest dim that is as good as the best.",
        f"Command: {train_command(run.settings.data, config)}",
        f"Found by: {command}",
        f"There {metric} was {chosen.interval.text()}.",
    ]
    write_config(config, config_text(run.settings, chosen.model, ["dim"], head))
    files[1].write_text(advice.text + "\n", encoding="utf-8")
    rows = [
        {
            key: value
            for key, value in dataclasses.asdict(one).items()
            if key not in ("values", "model", "reason")
        }
        | {"difference": differences[one.dim]}
        for one in judged
    ]
    files[2].write_text(json.dumps(rows, indent=1), encoding="utf-8")
    means, errors = [one.interval.mean for one in judged], [differences[one.dim][1] for one in judged]
    dims, ms = [one.dim for one in judged], [one.query_ms for one in judged]
    pictures.by_dim(metric, dims, means, errors, ms, dims.index(chosen.dim)).savefig(files[3], dpi=130)
    return files
