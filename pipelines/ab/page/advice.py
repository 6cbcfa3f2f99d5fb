"""What each health check is for and what to do where it is sick, in the words of the page and of
docs/ab-report.md."""

from typing import NamedTuple


class Advice(NamedTuple):
    """meaning: what a sick test would do to the effect. remedy: where to look first."""

    meaning: str
    remedy: str


ADVICE = {
    "people came to the arms as planned": Advice(
        "More people in one arm than was planned means that some were lost or sent elsewhere, and not by "
        "chance: who is left differs.",
        "Were the planned weights changed, or others served than planned? Else compare assignment with "
        "exposures, by app version and day: a crash, a redirect or a bot filter of one arm loses people. "
        "Mend it and start a new phase.",
    ),
    "so did the people who are analysed": Advice(
        "Where the check before is well, more people were left out of one arm than of the other; where it "
        "fails, too, this is the same fault once more.",
        "Look at who was left out of which arm; leave out by what was known before the exposure alone.",
    ),
    "each day and each segment alone": Advice(
        "All people together may be even while one day or one app lost an arm's people.",
        "Look at that day or segment: a release, an outage, a change of weights in the middle.",
    ),
    "people were alike before they were shown anything": Advice(
        "Arms that differed before will differ afterwards without any effect.",
        (
            "Was a covariate read after the first exposure? Were people drawn by chance, with a salt of "
            "their own?"
        ),
    ),
    "nobody saw several arms": Advice(
        "Who saw both arms carries both effects, and leaving many of them out leaves others than were drawn.",
        (
            "Assign by an id that stays (an account, not a device), and look for two services with two "
            "definitions."
        ),
    ),
    "all arms are in the plan": Advice(
        "People of an arm that the plan does not know are analysed nowhere.",
        "Add the arm to `weights`, or mend the name that the service logs.",
    ),
    "nobody was left out because of their arm": Advice(
        "If an arm makes people look like bots, leaving out bots leaves out its effect.",
        "Judge bots by what they did before, or raise the limits in the plan before looking at effects.",
    ),
    "no few people carry an arm": Advice(
        "A few figures far from all others (bots, testers, a shop's own staff) make the mean of their arm, "
        "and by chance they are all in one.",
        "Look at these people with `recsys ab explain`; name them as `bot` or `tester` in the table of "
        "people, or set a `cap` in a new plan.",
    ),
    "outcomes find their lists in all arms alike": Advice(
        (
            "Outcomes of one arm whose lists were not logged, or that came before them, say that one arm's "
            "log is torn."
        ),
        "Compare the logs of the services of both arms, and the clocks of the machines.",
    ),
    "outcomes come once and in time in all arms alike": Advice(
        "Doubled or late outcomes of one arm look like an effect.",
        "Send an `event_id` with each outcome, so that repeats are known; mend what sends twice or late.",
    ),
    "no day is missing": Advice(
        "A day without rows is a hole in everybody's window, and rarely the same in both arms.",
        "Read the missing files again, or end the analysis before the hole with `--until`.",
    ),
    "what is said of people was read before their first exposure": Advice(
        "A figure that was read afterwards may be the effect itself; to correct by it takes the effect away.",
        "Read the table of people as of the day before the start, with its `as_of`.",
    ),
    "other experiments are independent": Advice(
        "Where another test's arms go with ours, its effect is counted as ours.",
        "Give each experiment a salt of its own, or a namespace whose slots do not overlap.",
    ),
    "each arm was served its own bundle": Advice(
        "Lists of another bundle are in the arm's effect, which is that of a mixture.",
        "Was a bundle missing when the service started, or published anew under way? `recsys ab list` says "
        "what each arm is to serve.",
    ),
    "no arm learned from what its own test brought": Advice(
        "A bundle that learned from both arms' people makes the arms alike, and the effect too small.",
        "Freeze the bundles of arms while a test runs, and start anew with such.",
    ),
    "everybody was in the arm that the definition gives them": Advice(
        "Somebody else assigned people, or weights, salt or slots were changed under way.",
        "Let one place assign; what is to be changed is a new phase.",
    ),
    "each list was written down once": Advice(
        "Lists that are logged twice in one arm look like more lists, and rates per list are too small.",
        "Look for what asks again after a time-out, or imports a log a second time.",
    ),
}
