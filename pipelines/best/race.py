"""The race of a search: a portfolio on a sample of people, the better half on everybody, and steps from the
best."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from recsys.pipelines.best.facts import Facts
from recsys.pipelines.best.ledger import Tried
from recsys.pipelines.best.portfolio import Entry, portfolio, space_for
from recsys.pipelines.best.steps import steps_from, whole_settings, worse_last
from recsys.pipelines.best.trials import Trials, base_label

SCREEN, STEPS = "portfolio", "steps"
_SAMPLED = 60_000  # events of a first sample
_WHOLE = 250_000  # events up to which everybody is learned from at once
_QUICK_WHOLE = 3_000_000  # the same for what is quick
_PORTFOLIO = 0.5  # of all the time
_PORTFOLIO_OF_ORDER = 0.75  # where order tells: models of sequences are dear, and their first settings good
_DEAR = 0.4  # of the time that is left for the portfolio: what one model of it may take
_DEAR_OF_ORDER = 0.85  # the same for the first model of sequences, where order tells
_WIDE = 512  # numbers of a vector from which no model is quick
_FAR_BEHIND = 0.75  # of the best figure: no width makes up for it
_SHARES = (0.6, 0.3, 0.1)  # of the time for steps, by the rank of a family among those that are not done
_QUICK = (
    "popularity",
    "own_history",
    "item_knn",
    "cooccurrence",
    "ease",
    "spectral",
    "als",
    "cooccurrence_svd",
)
_OF_ORDER = ("sequence",)


class Passed(NamedTuple):
    """An entry that was not tried on everybody as it stands in the portfolio, and why. lacked: what there was
    no time for: "all" of it, some of its "epochs", or nothing, where it was worse or cannot learn."""

    label: str
    reason: str
    lacked: str = ""


def screen_portfolio(
    trials: Trials, facts: Facts, max_dim: int | None, until: Callable[[], float]
) -> list[Passed]:
    """Tries the portfolio: what is quick first; of the rest, where there are many people, the better half on
    a sample of them and the best of each family; until some second of the ledger's clock. Where order tells,
    the first model of sequences is learned before what is wide, and on no sample. Returns what was passed
    over.

    Of a very long log the quick ones begin on the sample as well, though of a few people narrow models look
    better than they are of many.
    """
    entries, passed = sorted(portfolio(facts, max_dim), key=_is_dear), list[Passed]()
    if facts.events > _WHOLE:
        unsampled = [entry for entry in entries if entry.family in _QUICK and facts.events <= _QUICK_WHOLE]
        _learn_all(trials, [entry for entry in unsampled if not _is_dear(entry)], until, passed)
        if _order_tells(trials):
            unsampled += [entry for entry in entries if entry.family in _OF_ORDER][:1]
        _learn_all(trials, [entry for entry in unsampled if _is_dear(entry)], until, passed)
        rest = [entry for entry in entries if entry not in unsampled]
        entries = _better_on_sample(trials, rest, _SAMPLED / facts.events, until, passed)
    _learn_all(trials, entries, until, passed)
    return passed


def portfolio_share(trials: Trials) -> float:
    """The part of all the time that the portfolio may take, by what was tried so far."""
    return _PORTFOLIO_OF_ORDER if _order_tells(trials) else _PORTFOLIO


def _better_on_sample(
    trials: Trials, entries: Sequence[Entry], share: float, until: Callable[[], float], passed: list[Passed]
) -> list[Entry]:
    """The better half of the entries on a share of the people, and the best of each family, the best first;
    why the others are out is added to `passed`."""
    done = list[tuple[Entry, Tried]]()
    for entry, left in _while_time(trials, entries, share, until, passed):
        within_s = _dear(trials, entry) * left * share
        one = trials.try_model(entry.label, entry.model, SCREEN, share, within_s, shorten=True)
        _note_epochs(entry, one, passed)
        if one.reason is None:
            done.append((entry._replace(label=one.label, model=one.model), one))
        else:
            lacked = "all" if trials.find_earlier(entry.model, share) is None else ""
            passed.append(Passed(entry.label, f"{one.reason}, on the sample", lacked))
    done.sort(key=lambda one: -one[1].mean)
    better, families = list[Entry](), set[str]()
    for place, (entry, one) in enumerate(done):
        if place < (len(done) + 1) // 2 or entry.family not in families:
            families.add(entry.family)
            better.append(entry)
        else:
            reason = f"{one.mean:.4f} on the sample, {done[0][1].mean:.4f} the best"
            passed.append(Passed(entry.label, reason))
    return better


def _learn_all(
    trials: Trials, entries: Sequence[Entry], until: Callable[[], float], passed: list[Passed]
) -> None:
    """Tries entries on everybody, until some second of the ledger's clock; what is passed over is added to
    `passed`."""
    for entry, left in _while_time(trials, _in_turn(trials, entries), 1.0, until, passed):
        within_s = _dear(trials, entry) * left
        tried_before = trials.find_earlier(entry.model) is not None
        if not tried_before and (over := _not_begun(trials, entry, left, within_s)):
            passed.append(over)
            continue
        one = trials.try_model(entry.label, entry.model, SCREEN, within_s=within_s, shorten=True)
        _note_epochs(entry, one, passed)
        if trials.find_earlier(entry.model) is None and one.reason is not None:
            reason = f"{one.reason}, and {left:,.0f} s were left for the portfolio"
            passed.append(Passed(entry.label, reason, "all"))


def _while_time(
    trials: Trials, entries: Iterable[Entry], share: float, until: Callable[[], float], passed: list[Passed]
) -> Iterator[tuple[Entry, float]]:
    """Each entry with the seconds that are left, while some are; those that were tried before in any case.
    The others are added to `passed`."""
    for entry in entries:
        left = until() - trials.ledger.spent
        if left > 0 or trials.find_earlier(entry.model, share) is not None:
            yield entry, left
        else:
            passed.append(Passed(entry.label, "the time for the portfolio was over", "all"))


def _in_turn(trials: Trials, entries: Sequence[Entry]) -> Iterator[Entry]:
    """The entries in their order, but the models of sequences before all others that are dear, where counting
    what follows what is ahead of all that takes events together."""
    waiting = list(entries)
    while waiting:
        of_order = [entry for entry in waiting if entry.family in _OF_ORDER]
        ahead = bool(of_order) and _is_dear(waiting[0]) and _order_tells(trials)
        yield waiting.pop(waiting.index(of_order[0]) if ahead else 0)


def _is_dear(entry: Entry) -> bool:
    """Whether it learns for long, or is wide."""
    return entry.family not in _QUICK or entry.model.get("dim", 0) >= _WIDE


def _dear(trials: Trials, entry: Entry) -> float:
    """What it may take of the time that is left: the first model of sequences most of it, where order
    tells."""
    first = entry.family in _OF_ORDER and not any(one.family in _OF_ORDER for one in trials.best())
    return _DEAR_OF_ORDER if first and _order_tells(trials) else _DEAR


def _not_begun(trials: Trials, entry: Entry, left: float, within_s: float) -> Passed | None:
    """Why a model without epochs, which nothing gives up on the way, is not begun, by narrower ones of its
    family: they say that it takes too long, or they are far behind. None where it may be worth it."""
    dim, tried = entry.model.get("dim", 0), trials.best()
    narrower = [one for one in tried if one.family == entry.family and one.model.get("dim", dim) < dim]
    if "epochs" in whole_settings(entry.model) or not narrower:
        return None
    least_s = max(one.seconds * dim / one.model["dim"] for one in narrower)
    if least_s > within_s:
        reason = f"would take {least_s:,.0f} s, and {left:,.0f} s were left for the portfolio"
        return Passed(entry.label, reason, "all")
    if narrower[0].mean < _FAR_BEHIND * tried[0].mean:
        return Passed(entry.label, f"{narrower[0].mean:.4f} where narrower, {tried[0].mean:.4f} the best")
    return None


def _order_tells(trials: Trials) -> bool:
    """Whether the best of what was tried counts what follows what."""
    best = next((one for one in trials.best() if one.family in _QUICK), None)
    return best is not None and best.family in ("cooccurrence", "cooccurrence_svd")


def _note_epochs(entry: Entry, one: Tried, passed: list[Passed]) -> None:
    """Puts an entry that was learned in fewer epochs than it asks for among the passed, once."""
    if one.label == entry.label:
        return
    whole = base_label(entry.label)
    passed[:] = [other for other in passed if other.label != whole]
    passed.append(Passed(whole, f"there was time for {one.model['epochs']} epochs", "epochs"))


def refine_best(trials: Trials, facts: Facts, max_dim: int | None, until: Callable[[], float]) -> None:
    """Goes on from the best settings of the best families, a step at a time, while the time lasts:
    until some second of the ledger's clock.

    The family that has had the least of its share of the time is next. A step changes one setting; where all
    steps from the best settings are tried, they become smaller, and then the family is done, and the next
    best takes its place. Source: Hooke and Jeeves, "Direct Search Solution of Numerical and Statistical
    Problems", Journal of the ACM 1961.
    """
    done: set[str] = set()
    while families := _families(trials, done):
        had = {name: _seconds(trials, name) / share for name, share in zip(families, _SHARES, strict=False)}
        family = min(had, key=had.__getitem__)
        best = families[family]
        left = until() - trials.ledger.spent
        steps = worse_last(trials, best, steps_from(trials, best, space_for(family, facts, max_dim)))
        if (step := next((one for one in steps if best.seconds * one.dearer <= left), None)) is None:
            done.add(family)
            continue
        label = _label(trials, best, step.model)
        if (
            trials.try_model(label, step.model, STEPS, within_s=until() - trials.ledger.spent).key
            not in trials.ledger.tried
        ):
            done.add(family)


def _label(trials: Trials, best: Tried, model: Mapping[str, Any]) -> str:
    """That of the model of the portfolio from which steps led here, and all that differs from it."""
    label = base_label(best.label)
    known = [one for one in trials.ledger.tried.values() if base_label(one.label) == label]
    first = min(known, key=lambda one: one.label != label, default=best)
    origin = {name: value for name, value in first.model.items() if name != "epochs" or first.label == label}
    changed = {name: value for name, value in model.items() if origin.get(name) != value}
    said = [
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in changed.items()
    ]
    return f"{label}, with {', '.join(said)}"


def _families(trials: Trials, done: Collection[str]) -> dict[str, Tried]:
    """The best of each of the families that an index can serve and that are not done, as many as share the
    time, the best first."""
    families: dict[str, Tried] = {}
    for one in trials.spaces():
        if one.family not in done:
            families.setdefault(one.family, one)
    return dict(list(families.items())[: len(_SHARES)])


def _seconds(trials: Trials, family: str) -> float:
    return sum(
        one.seconds for one in trials.ledger.tried.values() if one.stage == STEPS and one.family == family
    )
