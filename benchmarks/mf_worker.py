"""One fit of implicit ALS by one library, in a process of its own, for `benchmarks.mf_speed`.

    PYTHON mf_worker.py '{"library": "recsys", "data": FOLDER, "dim": 64, "solver": "cg", "epochs": 15, ...}'

Runs under the Python of the library's own environment, so it imports nothing of this project but where it is
the library asked for. All three minimize, after the translation below,

    sum_observed (x_u y_i - 1)^2 + a sum_all (x_u y_i)^2 + sum_u r_u |x_u|^2 + sum_i r_i |y_i|^2.

irspack's loss IALSPP is half of it, with r_u = reg * (n_u + a n_items)^nu. implicit's has a confidence c for
observed pairs and 1 for the others; with c = 1 + 1/a and the regularization multiplied by c it is this one of
the vectors divided by sqrt(1 + a), up to a factor and a constant; it has no exponent. The last line of output
is a JSON object.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    asked = json.loads(sys.argv[1])
    folder = Path(asked["data"])
    fit = {"recsys": _recsys, "implicit": _implicit, "irspack": _irspack}[asked["library"]]
    run = fit(asked)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    warm = time.perf_counter()
    run(None, 2, [])  # compiles, or reads what was compiled; the peers' first call of BLAS
    compiled = time.perf_counter() - warm
    ends: list[tuple[float, float]] = []
    data = _load(folder, asked["library"])
    started = time.perf_counter()
    users, items = run(data, asked["epochs"], ends)
    total = time.perf_counter() - started
    peak = _memory("VmHWM")
    if asked["factors"]:
        scale = np.float32(np.sqrt(1 + asked["unobserved_weight"]) if asked["library"] == "implicit" else 1)
        np.save(asked["factors"] + "-users.npy", users / scale)
        np.save(asked["factors"] + "-items.npy", items / scale)
    epochs, cpu = np.diff(ends, axis=0).T.tolist()
    figures = {
        "compile_s": compiled,
        "total_s": total,
        "epochs_s": epochs,
        "cpu_s": cpu,
        "peak_bytes": peak - before,
    }
    print(json.dumps(figures))


def _load(folder: Path, library: str) -> Any:
    """What each takes: our events, the peers' matrix."""
    counts = json.loads((folder / "counts.json").read_text())
    if library == "recsys":
        return np.load(folder / "user.npy"), np.load(folder / "item.npy"), counts["users"], counts["items"]
    from scipy import sparse

    indptr, indices = np.load(folder / "indptr.npy"), np.load(folder / "indices.npy")
    ones = np.ones(len(indices), np.float32)
    return sparse.csr_matrix((ones, indices, indptr), shape=(counts["users"], counts["items"]))


def _small(library: str) -> Any:
    user, item = np.nonzero(
        np.random.default_rng(0).random((300, 200)) < np.linspace(0.01, 0.6, 300)[:, None]
    )
    if library == "recsys":
        return user.astype(np.int32), item.astype(np.int32), 300, 200
    from scipy import sparse

    return sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), shape=(300, 200))


def _recsys(asked: dict[str, Any]) -> Any:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import pyarrow as pa

    from recsys.data.dataset import Dataset
    from recsys.data.interactions import Interactions
    from recsys.ids import IdMap
    from recsys.models.als import alternation  # noqa: F401  loads numba, as the peers' imports load theirs
    from recsys.models.als.als import ALS, ALSSettings
    from recsys.pipelines.threads import set_threads

    set_threads(asked["threads"])
    names = ("dim", "solver", "regularization", "unobserved_weight", "exponent", "cg_steps")

    def run(data: Any, epochs: int, ends: list[tuple[float, float]]) -> Any:
        user, item, n_users, n_items = data or _small("recsys")
        settings = ALSSettings(epochs=epochs, **{name: asked[name] for name in names})
        events = Interactions(user, item, n_users, n_items)
        ids = IdMap.of([])  # learning asks for no id
        train = Dataset("benchmark", events, ids, ids, pa.table({}))
        learned = ALS(settings).fit(
            train, seed=asked["seed"], progress=lambda step: ends.append(_now()) if step.values else None
        )
        return learned.encoder.table, learned.items  # type: ignore[attr-defined]

    return run


def _implicit(asked: dict[str, Any]) -> Any:
    from implicit.cpu.als import AlternatingLeastSquares  # type: ignore[import-not-found]

    a = asked["unobserved_weight"]
    confidence = 1 + 1 / a

    def run(data: Any, epochs: int, ends: list[tuple[float, float]]) -> Any:
        model = AlternatingLeastSquares(
            factors=asked["dim"],
            regularization=asked["regularization"] * confidence,
            alpha=confidence,
            use_cg=asked["solver"] == "cg",
            iterations=epochs,
            num_threads=asked["threads"],
            random_state=asked["seed"],
        )
        model.cg_steps = asked["cg_steps"]
        matrix = _small("implicit") if data is None else data
        model.fit(matrix, show_progress=False, callback=lambda *_: ends.append(_now()))
        return model.user_factors, model.item_factors

    return run


def _irspack(asked: dict[str, Any]) -> Any:
    from irspack import IALSRecommender  # type: ignore[import-not-found]

    def run(data: Any, epochs: int, ends: list[tuple[float, float]]) -> Any:
        model = IALSRecommender(
            _small("irspack") if data is None else data,
            n_components=asked["dim"],
            alpha0=asked["unobserved_weight"],
            reg=asked["regularization"],
            nu=asked["exponent"],
            solver_type={"cg": "CG", "exact": "CHOLESKY"}[asked["solver"]],
            max_cg_steps=asked["cg_steps"],
            random_seed=asked["seed"],
            n_threads=asked["threads"],
            train_epochs=epochs,
        )
        model.start_learning()
        for _ in range(epochs):
            model.run_epoch()
            ends.append(_now())
        return model.get_user_embedding(), model.get_item_embedding()

    return run


def _now() -> tuple[float, float]:
    """Seconds on the wall, and of all threads of this process on a core."""
    return time.perf_counter(), time.process_time()


def _memory(name: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


if __name__ == "__main__":
    main()
