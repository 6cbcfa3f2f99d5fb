"""What finished tests have taught: the ledger in MLflow, as people read it, and its forecast for a
challenger."""

from collections.abc import Mapping, Sequence
from typing import Any

from recsys.analysis.interleaving import Preference
from recsys.errors import TrackingError
from recsys.evaluation.significance import Interval
from recsys.pipelines.tracking import ab_tests
from recsys.pipelines.tracking.compare_runs import read_judged, relative_difference
from recsys.text import text_table

ASKED = 0.03  # the offline difference of which the sentence speaks where none is asked about
_FIGURES = ("offline", "offline_error", "online", "online_error")


def lines() -> list[dict[str, Any]]:
    """A line for each arm of each finished, healthy test, the newest first; figures are shares of the
    control."""
    rows = []
    for test in ab_tests.tests():
        for arm, run in test.arms.items():
            told = {
                key.removeprefix("ledger."): value
                for key, value in run.tags.items()
                if key.startswith("ledger.")
            }
            if told.get("finished") == "True" and test.word != "cannot be trusted" and "online" in told:
                words = {key: told.get(key) for key in ("metric", "offline_metric", "preferred")}
                figures = {
                    key: float(value) for key, value in told.items() if key not in (*words, "finished")
                }
                rows.append({"test": test.name, "arm": arm, "verdict": test.word, **words, **figures})
    return rows


def write_preference(name: str, preference: Preference) -> None:
    """Writes which arm people preferred into the line of a test: clicks that a person gives the arm more
    than the control. Raises TrackingError where the merged lists were not of the control and an arm of the
    test."""
    test = ab_tests.known_test(name)
    control = next((arm for arm, run in test.arms.items() if run.tags["control"] == "True"), None)
    other = [arm for arm in preference.arms if arm != control]
    if control not in preference.arms or other[0] not in test.arms:
        raise TrackingError(
            f"the merged lists are of {' and '.join(preference.arms)}, and test {name!r} has the arms "
            f"{', '.join(sorted(test.arms))}. They must be of its control and another one."
        )
    sign = 1.0 if preference.arms[0] == control else -1.0
    low, high = sorted((sign * preference.difference.low, sign * preference.difference.high))
    figures = {
        "interleaving": sign * preference.difference.mean,
        "interleaving_low": low,
        "interleaving_high": high,
    }
    ab_tests.write_figures(test, other[0], figures | {"preferred": preference.winner or "none shown"})


def fit_regression(of: Sequence[Mapping[str, Any]], metric: str | None = None) -> Any | None:
    """The regression over the lines that have both figures, of one offline metric (the most common one where
    none is named); None where they are too few."""
    from recsys.analysis.ledger import LEAST, learn_ledger

    whole = [
        one for one in of if all(one.get(key) is not None for key in _FIGURES) and one["online_error"] > 0
    ]
    names = [one["offline_metric"] for one in whole]
    metric = metric or max(sorted(set(names), key=str), key=names.count, default=None)
    whole = [one for one in whole if one["offline_metric"] == metric]
    if len(whole) < LEAST:
        return None
    return learn_ledger([_entry(one) for one in whole])


def _entry(line: Mapping[str, Any]) -> Any:
    from recsys.analysis.ledger import Entry

    offline, offline_error, online, online_error = (float(line[key]) for key in _FIGURES)
    chosen = int(line.get("candidates") or 1)
    return Entry(f"{line['test']}, {line['arm']}", offline, offline_error, online, online_error, chosen)


def told_ledger(of: Sequence[Mapping[str, Any]], fitted: Any | None, offline: float, error: float) -> str:
    """A table of the tests, and what they say of an offline difference."""
    if not of:
        return (
            "The ledger is empty: no finished test was tracked. One is written by `recsys ab analyse ... "
            "--track NAME`."
        )
    shrunk = {} if fitted is None else {one.name: one.online for one in fitted.shrunk()}
    rows = [
        [
            one["test"],
            one["arm"],
            one["verdict"] or "",
            _of(one, "offline"),
            _share(one.get("overlap")),
            _of(one, "interleaving", "+.3f", 1),
            _of(one, "online"),
            _percent(shrunk.get(f"{one['test']}, {one['arm']}")),
        ]
        for one in of
    ]
    head = [
        "test",
        "arm",
        "verdict",
        "offline, 95 %",
        "same items",
        "interleaving",
        "online, 95 %",
        "online, shrunk",
    ]
    return text_table(head, rows) + "\n\n" + sentence(fitted, offline, error, len(of))


def sentence(fitted: Any | None, offline: float, error: float, tests: int) -> str:
    """A sentence on what an offline difference of this size has meant online."""
    from recsys.analysis.ledger import LEAST

    if fitted is None:
        return (
            f"{tests} finished tests, of which too few have an offline difference: {LEAST} are needed to "
            "forecast."
        )
    forecast = fitted.forecast(offline, error)
    return (
        f"By {len(fitted.entries)} tests, an offline {100 * offline:+.2g} % has meant "
        f"{_percent(forecast.meant)} online here; of a single one the effect will lie in "
        f"{_ends(forecast.single)} (95 %). Online per offline: {fitted.slope.mean:.2f} "
        f"[{fitted.slope.low:.2f}, {fitted.slope.high:.2f}]."
    )


def plain_ledger(
    of: Sequence[Mapping[str, Any]], fitted: Any | None, offline: float, error: float
) -> dict[str, Any]:
    """The tests, the regression and the forecast as plain data, for JSON."""
    if fitted is None:
        return {"tests": list(of), "slope": None, "forecast": None}
    forecast = fitted.forecast(offline, error)
    return {
        "tests": list(of),
        "slope": fitted.slope._asdict(),
        "intercept": fitted.intercept._asdict(),
        "shrunk": {one.name: one.online._asdict() for one in fitted.shrunk()},
        "forecast": {
            "asked": offline,
            "error": error,
            **{key: one._asdict() for key, one in forecast._asdict().items()},
        },
    }


def forecast(challenger: str, control: str) -> dict[str, Any] | None:
    """What the ledger says of one run against another, by their ids; None where it cannot: too few tests,
    other holdouts, or no values of users."""
    known = lines()
    if not known:
        return None
    try:
        metric, difference, error = relative_difference(
            read_judged(control, None), read_judged(challenger, None)
        )
    except TrackingError:
        return None
    fitted = fit_regression(known, metric)
    if fitted is None:
        return None
    said = plain_ledger((), fitted, difference.mean, error)["forecast"]
    told = f"The ledger: {metric} {_percent(difference)} offline; " + sentence(
        fitted, difference.mean, error, len(known)
    ).removeprefix("By ").replace(" tests, an", " tests say: an", 1)
    return {"challenger": challenger, "control": control, "metric": metric, **said, "sentence": told}


def _of(line: Mapping[str, Any], key: str, form: str = "+.2f", times: float = 100) -> str:
    if line.get(key) is None:
        return ""
    low, high = line.get(f"{key}_low"), line.get(f"{key}_high")
    unit = " %" if times == 100 else ""
    said = f"{times * line[key]:{form}}{unit}"
    return said if low is None or high is None else f"{said} [{times * low:{form}}, {times * high:{form}}]"


def _percent(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f"{100 * interval.mean:+.2f} % {_ends(interval)}"


def _ends(interval: Interval) -> str:
    return f"[{100 * interval.low:+.2f}, {100 * interval.high:+.2f}]"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"
