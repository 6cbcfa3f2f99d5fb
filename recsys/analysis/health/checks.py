"""All checks of a test, in the order in which a report names them."""

from recsys.analysis.health.assigned import (
    check_arms,
    check_left_out,
    check_mixed,
    check_others,
    check_ratio,
    check_ratio_by,
)
from recsys.analysis.health.carried import check_carried
from recsys.analysis.health.check import Check
from recsys.analysis.health.logged import (
    check_before,
    check_days,
    check_joins,
    check_read_before,
    check_repeats,
)
from recsys.analysis.study import Study


def check_health(study: Study) -> list[Check]:
    """What must be well before an effect is looked at."""
    return [
        check_ratio("people came to the arms as planned", study, study.assigned_arm, study.assigned_first),
        check_ratio("so did the people who are analysed", study, study.arm, study.first),
        check_ratio_by(study),
        check_before(study),
        check_mixed(study),
        check_arms(study),
        check_left_out(study),
        check_carried(study),
        check_joins(study),
        check_repeats(study),
        check_days(study),
        check_read_before(study),
        check_others(study),
    ]
