"""Vectors that another library learned become a bundle that answers as that library does."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.arrays import F64, Array
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.root import current
from tests.helpers.command_line import answer, recsys

USERS, ITEMS, DIM = 30, 40, 5


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Events with repeats and weights; user u29 and item i39 have none."""
    rng = np.random.default_rng(3)
    n = 400
    frame = pd.DataFrame({"user_id": [f"u{one}" for one in rng.integers(0, USERS - 1, n)]})
    frame["item_id"] = [f"i{one}" for one in rng.integers(0, ITEMS - 1, n) ** 2 // (ITEMS - 1)]
    frame["timestamp"] = 1_700_000_000 + np.arange(n) * 60
    frame["weight"] = rng.choice([0.5, 1.0, 3.0], n)
    frame.to_parquet(tmp_path / "log.parquet")
    return tmp_path / "log.parquet"


@pytest.fixture
def vectors() -> tuple[Array, Array]:
    """float32 (USERS, DIM) and (ITEMS, DIM)."""
    rng = np.random.default_rng(4)
    users, items = (rng.normal(0, 0.5, (n, DIM)).astype(np.float32) for n in (USERS, ITEMS))
    return users, items


def best_unseen(frame: pd.DataFrame, scores: F64, user: str, k: int) -> list[str]:
    """The best items that the user did not have."""
    had = set(frame.item_id[frame.user_id == user])
    order = [f"i{item}" for item in np.argsort(-scores, kind="stable")]
    return [item for item in order if item not in had][:k]


def answer_ids(bundle: Bundle, question: Question) -> list[str]:
    return [item.item_id for item in respond(bundle, question).items]


def events_of(frame: pd.DataFrame, user: str) -> list[Event]:
    return [
        Event(item, int(time))
        for item, time in frame.loc[frame.user_id == user, ["item_id", "timestamp"]].values
    ]


def import_vectors(home: Path, log: Path, *arguments: Any) -> Bundle:
    said = recsys(
        home, "import", "vectors", str(log), *map(str, arguments), "--to", str(home / "b"), "--json"
    )
    assert answer(said)["bundle"] == str(current(home / "b"))
    return load(current(home / "b"))


def confident(items: Array, frame: pd.DataFrame, ridge: float, alpha: float) -> F64:
    """A user's vector by the equation of Hu, Koren and Volinsky, in float64, the confidence of a pair from
    its sum."""
    y = items.astype(np.float64)
    left, right = y.T @ y + ridge * np.eye(DIM), np.zeros(DIM)
    for item, weight in frame.groupby("item_id").weight.sum().items():
        one = y[int(str(item)[1:])]
        left += (alpha * weight - 1) * np.outer(one, one)
        right += alpha * weight * one
    solved: F64 = np.linalg.solve(left, right)
    return solved


def test_a_model_of_implicit_answers_by_its_rows_and_folds_in_by_its_equation(
    log: Path, vectors: tuple[Array, Array], tmp_path: Path
) -> None:
    users, items = vectors
    frame, order = pd.read_parquet(log), np.random.default_rng(5).permutation(ITEMS)
    np.savez(
        tmp_path / "als.npz", user_factors=users, item_factors=items[order], regularization=0.3, alpha=4.0
    )
    (tmp_path / "items.txt").write_text("\n".join(f"i{item}" for item in order))
    pd.DataFrame({"user_id": [f"u{user}" for user in range(USERS)]}).to_csv(
        tmp_path / "users.csv", index=False
    )
    ids = ("--item-ids", tmp_path / "items.txt", "--user-ids", tmp_path / "users.csv")
    bundle = import_vectors(tmp_path, log, "--implicit", tmp_path / "als.npz", *ids, "--weight-col", "weight")
    for user in ("u0", "u7", "u28", "u29"):
        scores = items.astype(np.float64) @ users[int(user[1:])]
        assert answer_ids(bundle, Question(user, k=15)) == best_unseen(frame, scores, user, 15)
    assert respond(bundle, Question("u7")).source == "known"
    for user in ("u1", "u2", "u3"):  # a click of now takes the place of the row
        fresh = frame[frame.user_id == user]
        extra = pd.DataFrame(
            {"user_id": [user], "item_id": ["i39"], "timestamp": [1_800_000_000], "weight": [1.0]}
        )
        solved = confident(items, pd.concat([fresh, extra]), 0.3, 4.0)
        wanted = best_unseen(pd.concat([frame, extra]), items.astype(np.float64) @ solved, user, 15)
        reply = respond(bundle, Question(user, [Event("i39", 1_800_000_000)], k=15))
        assert [item.item_id for item in reply.items] == wanted
        assert reply.source == "history"
        scores_of = {item.item_id: item.score for item in reply.items}
        expected = items.astype(np.float64) @ solved
        assert scores_of == pytest.approx(
            {item: expected[int(item[1:])] for item in scores_of}, rel=1e-3, abs=1e-4
        )


@pytest.mark.parametrize("biased", [False, True])
def test_plain_vectors_score_by_inner_product_and_a_stranger_is_the_mean_of_a_history(
    biased: bool, log: Path, vectors: tuple[Array, Array], tmp_path: Path
) -> None:
    users, items = vectors
    frame, bias = pd.read_parquet(log), np.random.default_rng(6).normal(0, 1, ITEMS).astype(np.float32)
    columns: dict[str, Any] = {"item_id": [f"i{item}" for item in range(ITEMS)], "vector": list(items)}
    pd.DataFrame(columns | ({"bias": bias} if biased else {})).to_parquet(tmp_path / "items.parquet")
    np.save(tmp_path / "users.npy", users[:20])
    (tmp_path / "people.txt").write_text("\n".join(f"u{user}" for user in range(20)))
    files = ("--items", tmp_path / "items.parquet", "--users", tmp_path / "users.npy")
    bundle = import_vectors(tmp_path, log, *files, "--user-ids", tmp_path / "people.txt")
    added = bias.astype(np.float64) if biased else np.zeros(ITEMS)
    y = items.astype(np.float64)
    for user in ("u0", "u7", "u19"):
        scores = y @ users[int(user[1:])] + added
        assert answer_ids(bundle, Question(user, k=15)) == best_unseen(frame, scores, user, 15)
    for user in ("u21", "u25"):  # without a row of their own
        had = frame[frame.user_id == user]
        mean = np.average(y[[int(item[1:]) for item in had.item_id]], axis=0, weights=had.weight)
        reply = respond(bundle, Question(user, k=15))
        assert reply.source == "history"
        assert [item.item_id for item in reply.items] == best_unseen(frame, y @ mean + added, user, 15)
    assert respond(bundle, Question("nobody")).source == "fallback"


def test_an_imported_bundle_is_judged_like_any_other(
    log: Path, vectors: tuple[Array, Array], tmp_path: Path
) -> None:
    _, items = vectors
    frame = pd.read_parquet(log)
    frame[:300].to_parquet(tmp_path / "past.parquet")
    pd.DataFrame({"item_id": [f"i{item}" for item in range(ITEMS)], "vector": list(items)}).to_parquet(
        tmp_path / "items.parquet"
    )
    import_vectors(tmp_path, tmp_path / "past.parquet", "--items", tmp_path / "items.parquet")
    said = recsys(tmp_path, "evaluate", str(tmp_path / "b"), "--data", str(log), "split.test=0.2", "--json")
    assert answer(said)["metrics"]["ndcg_at_10"]["mean"] > 0
    refused = recsys(tmp_path, "evaluate", str(tmp_path / "b"), "--data", str(log), "split.test=0.5", rc=2)
    assert "has seen the answers" in refused.stderr


def no_file(folder: Path, items: Array) -> list[Any]:
    return []


def nowhere(folder: Path, items: Array) -> list[Any]:
    return ["--items", folder / "v.parquet"]


def no_ids(folder: Path, items: Array) -> list[Any]:
    np.save(folder / "v.npy", items)
    return ["--items", folder / "v.npy"]


def few_ids(folder: Path, items: Array) -> list[Any]:
    (folder / "ids.txt").write_text("i1\ni2\n")
    return [*no_ids(folder, items), "--item-ids", folder / "ids.txt"]


def ids_of_another_name(folder: Path, items: Array) -> list[Any]:
    (folder / "ids.csv").write_text("i1\ni2\n")
    return [*no_ids(folder, items), "--item-ids", folder / "ids.csv"]


def not_finite(folder: Path, items: Array) -> list[Any]:
    items = items.copy()
    items[7, 2] = np.nan
    (folder / "ids.txt").write_text("\n".join(f"i{item}" for item in range(ITEMS)))
    return [*no_ids(folder, items), "--item-ids", folder / "ids.txt"]


def twice(folder: Path, items: Array) -> list[Any]:
    pd.DataFrame({"item_id": ["i1", "i1"], "vector": list(items[:2])}).to_parquet(folder / "v.parquet")
    return ["--items", folder / "v.parquet"]


def of_two_lengths(folder: Path, items: Array) -> list[Any]:
    pd.DataFrame({"item_id": ["i1", "i2"], "vector": [[1.0, 2.0], [1.0]]}).to_parquet(folder / "v.parquet")
    return ["--items", folder / "v.parquet"]


def other_width(folder: Path, items: Array) -> list[Any]:
    pd.DataFrame({"user_id": ["u1"], "vector": [[1.0, 2.0]]}).to_parquet(folder / "u.parquet")
    pd.DataFrame({"item_id": ["i1", "i2"], "vector": list(items[:2])}).to_parquet(folder / "v.parquet")
    return ["--items", folder / "v.parquet", "--users", folder / "u.parquet"]


def another_npz(folder: Path, items: Array) -> list[Any]:
    np.savez(folder / "m.npz", weights=items)
    (folder / "ids.txt").write_text("i1")
    return [
        "--implicit",
        folder / "m.npz",
        "--item-ids",
        folder / "ids.txt",
        "--user-ids",
        folder / "ids.txt",
    ]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (no_file, "give --items FILE, or --implicit FILE"),
        (nowhere, "there is no file"),
        (no_ids, "--item-ids FILE"),
        (few_ids, "one vector for each of 2 ids"),
        (ids_of_another_name, "one id a line is called .txt or .ids"),
        (not_finite, "the first is that of 'i7' (row 8)"),
        (twice, "'i1'"),
        (of_two_lengths, "of 2 lengths"),
        (other_width, "vectors of 5 numbers"),
        (another_npz, "has no 'item_factors'; it holds weights"),
    ],
)
def test_what_is_no_model_is_refused_in_a_sentence(
    made: Any, said: str, log: Path, vectors: tuple[Array, Array], tmp_path: Path
) -> None:
    result = recsys(tmp_path, "import", "vectors", str(log), *map(str, made(tmp_path, vectors[1])), rc=2)
    assert said in result.stderr
    assert "Traceback" not in result.stderr
