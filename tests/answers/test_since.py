"""What was told of a person since the training, beside what is stored, is the history of the whole log."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.answers.person import person_of, usable_items
from recsys.answers.question import Event, Question
from recsys.bundle.bundle import load
from recsys.bundle.write import publish
from recsys.data.prepare import PrepareSettings, prepare_data
from recsys.encoders.users import Users
from recsys.models.export import content_of
from recsys.models.registry import make_model
from recsys.testing.toys import random_log

SMALL: dict[str, dict[str, Any]] = {
    "als": {"dim": 8, "half_life": 5.0},
    "softmax": {"dim": 8, "epochs": 1},
    "cooccurrence_svd": {"dim": 8},
    "two_tower": {"dim": 8, "epochs": 1},
    "sequence": {"dim": 8, "epochs": 1, "widened": 16, "layers": 1},
}


@pytest.mark.parametrize("duplicates", ["all", "first", "last", "sum"])
@pytest.mark.parametrize("name", SMALL)
def test_stored_and_told_events_are_one_history(name: str, duplicates: str, tmp_path: Path) -> None:
    log, rule = random_log(3, n_users=40, n_items=30, n=900), PrepareSettings(duplicates=duplicates)
    time = log.interactions.time
    assert time is not None
    cut, now = int(np.quantile(time, 0.7)), int(time.max()) + 60
    train, _ = prepare_data(log.having(log.interactions.where(time <= cut)), rule, compact=False)
    whole, _ = prepare_data(log, rule, compact=False)
    learned: Any = make_model(name, SMALL[name]).fit(train, seed=1)
    bundle = load(publish(tmp_path, content_of(name, learned, train, prepare=rule)))
    people = Users.of_rows(np.arange(40), whole.had.histories(), np.full(40, now))
    expected = bundle.encoder.encode(replace(people, fresh=np.ones(40, bool)))
    for row in range(40):
        own = np.flatnonzero((log.interactions.user == row) & (time > cut))
        since = [Event(log.item_ids[int(log.interactions.item[at])], int(time[at])) for at in own]
        question = Question(log.user_ids[row], since=since, now=now)
        person, _ = person_of(bundle, question, usable_items(bundle, question.events, []))
        person = replace(person, fresh=np.ones(1, bool))  # also who did nothing since
        vector = bundle.encoder.encode(person).vectors[0]
        np.testing.assert_allclose(vector, expected.vectors[row], rtol=1e-4, atol=1e-5)
