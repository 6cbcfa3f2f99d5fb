"""Whether people came to the arms as they were meant to, and stayed there."""

import numpy as np
from scipy import special, stats

from recsys.analysis.health.check import ALARM, OK, SICK, UNKNOWN, Check, sick_if
from recsys.analysis.study import BOT, MIXED, OVERACTIVE, UNTRIGGERED, Study
from recsys.arrays import F64, I32, I64, Array
from recsys.history import DAY_S
from recsys.text import utc_text

MIXED_SHARE = 0.005  # of people: more than that have seen several arms
PRIORS = {
    10_000.0: 0.8,
    100.0: 0.2,
}  # how near the design other shares are taken to be, and how much each counts


def ratio_p(counts: F64, weights: F64) -> F64:
    """(..., looks): whether people came to the arms as designed; a p-value by each look, valid over all of
    them.

    counts: (..., looks, arms) people so far, by look. weights: (arms,) as designed, adding up to 1. The first
    prior finds 51 to 49 among many people, the second 60 to 40 among a few hundred.

    Source: Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022.
    """
    n = counts.sum(axis=-1)
    parts = []
    for prior, share in PRIORS.items():
        alpha = prior * weights
        evidence = special.gammaln(prior) - special.gammaln(prior + n) + np.log(share)
        parts.append(
            evidence
            + (special.gammaln(alpha + counts) - special.gammaln(alpha) - counts * np.log(weights)).sum(-1)
        )
    return np.minimum.accumulate(np.exp(-np.maximum(np.logaddexp(*parts), 0.0)), axis=-1)


def weights_of(study: Study) -> F64:
    return np.array([study.plan.weights[arm] for arm in study.plan.arms])


def check_ratio(name: str, study: Study, arm: I32, first: I64) -> Check:
    """By day of first exposure, valid over all days."""
    weights = weights_of(study)
    days = first // DAY_S - int(first.min()) // DAY_S
    counts = np.zeros((int(days.max()) + 1, len(weights)))
    np.add.at(counts, (days, arm), 1)
    whole = counts.sum(axis=0)
    p = float(ratio_p(counts.cumsum(axis=0), weights)[-1])
    said = _describe_counts(study, whole) + f"; p = {p:.2g} over all days"
    return Check(name, sick_if(p < ALARM), said)


def check_ratio_by(study: Study) -> Check:
    """Each day and each value of a segment alone: all people may be even where days are not."""
    name = "each day and each segment alone"
    groups: list[tuple[str, Array]] = []
    day = study.assigned_first // DAY_S
    tables: list[tuple[str, Array, list[str]]] = [
        (
            "day",
            day - day.min(),
            [utc_text((int(day.min()) + at) * DAY_S)[:10] for at in range(int(np.ptp(day)) + 1)],
        )
    ]
    tables += [(segment, codes, labels) for segment, (codes, labels) in study.assigned_segments.items()]
    for what, codes, labels in tables:
        counts = np.zeros((len(labels) + 1, len(study.plan.arms)))
        np.add.at(counts, (codes, study.assigned_arm), 1)
        groups += [
            (f"{what} {label}", row) for label, row in zip(labels, counts, strict=False) if row.sum() >= 100
        ]
    if not groups:
        return Check(name, UNKNOWN, "no day and no segment has a hundred people")
    p = ratio_p(np.stack([row for _, row in groups])[:, None, :], weights_of(study))[:, 0]
    worst = int(np.argmin(p))
    sick = p[worst] * len(p) < ALARM
    group, counts = groups[worst]
    said = f"worst of {len(p)}: {group}, {_describe_counts(study, counts)}; p = {p[worst]:.2g}"
    return Check(name, sick_if(sick), said)


def _describe_counts(study: Study, counts: Array) -> str:
    total = max(float(counts.sum()), 1.0)
    return ", ".join(
        f"{arm} {int(count):,} ({count / total:.2%}, planned {study.plan.weights[arm]:.2%})"
        for arm, count in zip(study.plan.arms, counts, strict=True)
    )


def check_mixed(study: Study) -> Check:
    name = "nobody saw several arms"
    shown = study.exposures
    people, mixed = int((shown.arms != 0).sum()), int(shown.mixed.sum())
    by_arm = ", ".join(
        f"{arm} {count:,}" for arm, count in zip(study.plan.arms, study.excluded[MIXED].tolist(), strict=True)
    )
    said = f"{mixed:,} of {people:,} people did ({by_arm}), and are left out"
    return Check(name, sick_if(mixed > MIXED_SHARE * people), said)


def check_arms(study: Study) -> Check:
    name = "all arms are in the plan"
    unknown = study.exposures.unknown_arms
    if not unknown:
        return Check(name, OK, ", ".join(study.plan.arms))
    said = ", ".join(f"{arm!r} {count:,}" for arm, count in sorted(unknown.items()))
    return Check(name, SICK, f"exposures of arms that the plan does not know: {said}")


def check_left_out(study: Study) -> Check:
    """Who is taken for a bot must not depend on the arm; who is triggered neither."""
    name = "nobody was left out because of their arm"
    assigned = np.bincount(study.assigned_arm, minlength=len(study.plan.arms))
    tried = []
    for reason in (BOT, OVERACTIVE, UNTRIGGERED):
        out = study.excluded.get(reason)
        if out is not None and 0 < out.sum() < assigned.sum():
            tried.append((_dependence(np.stack([out, assigned - out])), reason, out))
    if not tried:
        return Check(name, OK, "nobody was left out as a bot")
    p, reason, out = min(tried, key=lambda one: one[0])
    by_arm = ", ".join(
        f"{arm} {count:,} of {of:,}"
        for arm, count, of in zip(study.plan.arms, out.tolist(), assigned.tolist(), strict=True)
    )
    return Check(name, sick_if(p * len(tried) < ALARM), f"{reason}: {by_arm}; p = {p:.2g}")


def _dependence(table: Array) -> float:
    """The p-value of a table of counts (2, arms): exact where counts are small and there are two arms."""
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2 or (table.sum(axis=1) == 0).any():
        return 1.0
    if table.shape == (2, 2) and table.min() < 50:
        return float(stats.fisher_exact(table).pvalue)
    return float(stats.chi2_contingency(table, correction=False).pvalue)


def check_others(study: Study) -> Check:
    """Other experiments on the same people do no harm while their arms are drawn independently."""
    name = "other experiments are independent"
    tried = []
    for other, held in study.exposures.others.items():
        codes = held["arm"][study.rows]
        both = codes >= 0
        if both.sum() < 100:
            continue
        table = np.zeros((len(held["labels"]), len(study.plan.arms)))
        np.add.at(table, (codes[both], study.arm[both]), 1)
        table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
        p = float(stats.chi2_contingency(table, correction=False).pvalue) if min(table.shape) > 1 else 1.0
        tried.append((p, f"{other} shares {int(both.sum()):,} of {len(codes):,} people"))
    if not tried:
        return Check(name, OK, "none in the table of exposures shares a hundred people")
    p, said = min(tried)
    sick = p * len(tried) < ALARM
    return Check(
        name, sick_if(sick), f"{said}; p = {p:.2g}" + (f", of {len(tried)}" if len(tried) > 1 else "")
    )
