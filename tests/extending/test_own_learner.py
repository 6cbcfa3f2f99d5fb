"""The learner of docs/own-learner.md, as the page has it: it keeps the contracts, is judged and is tuned."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recsys.models.registry import model_class, space_of
from recsys.pipelines.console import Steps
from recsys.pipelines.run.measure import measure
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from recsys.testing.learners import Case, LearnerContract, ReasonContract, TasteContract, VectorContract

PAGE = Path(__file__).parents[2] / "docs/own-learner.md"
MINE, TEST = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of whoever copies the page's first file, which is on the path."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(MINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.delitem(sys.modules, "mine", raising=False)
        yield folder
        sys.modules.pop("mine", None)


class TestPMF(LearnerContract, TasteContract, VectorContract, ReasonContract):
    case = Case("mine:PMF", {"dim": 8, "epochs": 100, "learning_rate": 0.05})


def test_the_page_shows_the_test_of_this_very_case() -> None:
    shown: dict[str, type] = {}
    exec(TEST, shown)
    assert shown["TestPMF"].case == TestPMF.case  # type: ignore[attr-defined]
    assert issubclass(TestPMF, shown["TestPMF"].__bases__)


def test_it_is_judged_and_beats_what_all_people_had(mine: Path) -> None:
    own = ["model=mine:PMF", "world.users=400", "world.items=150", "threads=1"]
    measured = measure(prepare(load_settings(None, own), Steps(quiet=True)))
    values = {name: report.values["ndcg_at_10"].mean() for name, report in measured.reports.items()}
    assert values["mine:PMF"] > max(value for name, value in values.items() if name != "mine:PMF")


def test_what_it_says_to_search_are_settings_of_its_own() -> None:
    settings = model_class("mine:PMF").Settings
    assert set(space_of("mine:PMF")) == {"learning_rate", "regularization", "half_life"}
    assert set(space_of("mine:PMF")) <= set(settings.model_fields)


def test_ids_only_answers_those_who_have_a_row_and_nobody_else() -> None:
    """The last row of the page's table of encoders."""
    from recsys.arrays import Ragged
    from recsys.encoders.bag import Bag
    from recsys.encoders.encoder import FALLBACK, USER_ROW
    from recsys.encoders.users import Users

    items, users = np.ones((4, 3), np.float32), np.eye(3, dtype=np.float32)
    encoder = Bag(np.zeros_like(items), users, unit=False)
    history = Ragged.of([[2], [1, 3]])
    known, strangers = encoder.encode(Users.of_rows([0, 1], history)), encoder.encode(Users.unknown(history))
    np.testing.assert_array_equal(known.vectors, users[:2])
    assert (known.source.tolist(), strangers.source.tolist()) == ([USER_ROW] * 2, [FALLBACK] * 2)
