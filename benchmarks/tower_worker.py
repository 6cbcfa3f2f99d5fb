"""One fit of a two-tower model by ids, by one library, in a process of its own, for `benchmarks.tower_peers`.

    PYTHON tower_worker.py '{"library": "recsys", "data": FOLDER, "dim": 64, "batch": 1024, "epochs": 3, ...}'

Runs under the Python of the library's own environment, so it imports nothing of this project but where it is
the library asked for. Writes vectors whose inner product ranks to `users.npy` and `items.npy` in the folder
`out`. The last
line of output is a JSON object: seconds of each epoch and the events in it.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

Asked = dict[str, Any]


def main() -> None:
    asked = json.loads(sys.argv[1])
    os.environ["OMP_NUM_THREADS"] = str(asked["threads"])
    folder, out = Path(asked["data"]), Path(asked["out"])
    user, item = np.load(folder / "user.npy"), np.load(folder / "item.npy")
    counts = json.loads((folder / "counts.json").read_text())
    fit = {"recsys": _recsys, "tfrs": _tfrs, "recbole": _recbole, "cornac": _cornac, "rectools": _rectools}
    seconds, events, users, items = fit[asked["library"]](asked, user, item, counts["users"], counts["items"])
    if users is not None:
        np.save(out / "users.npy", users)
        np.save(out / "items.npy", items)
    print(json.dumps({"epochs_s": seconds, "events": events}))


def _unit(rows: Any) -> Any:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _recsys(asked: Asked, user: Any, item: Any, n_users: int, n_items: int) -> Any:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import pyarrow as pa
    import torch  # noqa: F401  so that set_threads finds it

    from recsys.data.dataset import Dataset
    from recsys.data.interactions import Interactions
    from recsys.encoders.users import Users
    from recsys.ids import IdMap
    from recsys.models.towers.two_tower import TwoTowerFit, TwoTowerSettings
    from recsys.pipelines.threads import set_threads

    set_threads(asked["threads"])
    user_ids, item_ids = (IdMap.of([str(row) for row in range(n)]) for n in (n_users, n_items))
    events = Interactions.in_order(user, item, n_users=n_users, n_items=n_items)
    data = Dataset("peers", events, user_ids, item_ids, pa.table({"title": pa.nulls(n_items, pa.string())}))
    settings = TwoTowerSettings(
        dim=asked["dim"],
        epochs=asked["epochs"],
        batch_size=asked["batch"],
        learning_rate=asked["rate"],
        temperature=asked["temperature"],
        history="none",
        sampler=asked.get("sampler", "batch"),
        negatives=asked.get("negatives", 1_024),
        id_dropout=0.0,
        propagation=asked.get("propagation", 0.0),
    )
    some = data.having(events.where(slice(None, 4 * asked["batch"])))
    TwoTowerFit(settings, some, asked["seed"]).epoch(0)  # loads the compiled step
    learner, seconds = TwoTowerFit(settings, data, asked["seed"]), []
    for number in range(asked["epochs"]):
        started = time.perf_counter()
        learner.epoch(number)
        seconds.append(time.perf_counter() - started)
    learned = learner.finish()
    users, _ = learned.encoder.encode(Users.of_rows(np.arange(n_users), events.histories()))
    return seconds, len(user), users, learned.items


def _tfrs(asked: Asked, user: Any, item: Any, n_users: int, n_items: int) -> Any:
    """The retrieval task of the library's own tutorial: two embeddings, negatives of the batch, corrected by
    popularity."""
    os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    import tensorflow as tf
    import tensorflow_recommenders as tfrs
    import tf_keras

    tf.random.set_seed(asked["seed"])
    tf.config.threading.set_intra_op_parallelism_threads(asked["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(asked["threads"])

    class TwoTower(tfrs.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.users = tf_keras.layers.Embedding(n_users, asked["dim"])
            self.items = tf_keras.layers.Embedding(n_items, asked["dim"])
            self.task = tfrs.tasks.Retrieval(temperature=asked["temperature"])

        def compute_loss(self, inputs: Any, training: bool = False) -> Any:
            users = tf.math.l2_normalize(self.users(inputs["user"]), axis=1)
            items = tf.math.l2_normalize(self.items(inputs["item"]), axis=1)
            return self.task(
                users, items, candidate_sampling_probability=inputs["share"], compute_metrics=False
            )

    model = TwoTower()
    optimizers = {"adagrad": tf_keras.optimizers.legacy.Adagrad, "adam": tf_keras.optimizers.legacy.Adam}
    model.compile(optimizer=optimizers[asked["optimizer"]](asked["rate"]))
    share = (np.bincount(item, minlength=n_items) / len(item)).astype(np.float32)
    rows = {"user": user.astype(np.int32), "item": item.astype(np.int32), "share": share[item]}
    data = (
        tf.data.Dataset.from_tensor_slices(rows).shuffle(len(user), seed=1).batch(asked["batch"]).prefetch(2)
    )
    model.fit(data.take(2), verbose=0)  # compiles the step
    seconds = []
    for _ in range(asked["epochs"]):
        started = time.perf_counter()
        model.fit(data, verbose=0)
        seconds.append(time.perf_counter() - started)
    return seconds, len(user), *(_unit(layer.get_weights()[0]) for layer in (model.users, model.items))


def _recbole(asked: Asked, user: Any, item: Any, n_users: int, n_items: int) -> Any:
    """DSSM by user and item ids: pointwise, one drawn negative for each event."""
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.context_aware_recommender import DSSM
    from recbole.trainer import Trainer

    torch.set_num_threads(asked["threads"])
    torch.manual_seed(asked["seed"])
    folder = Path(asked["out"]) / "events"
    folder.mkdir(exist_ok=True)
    with (folder / "events.inter").open("w") as file:
        file.write("user_id:token\titem_id:token\n")
        file.writelines(f"{one}\t{other}\n" for one, other in zip(user.tolist(), item.tolist(), strict=True))
    settings = {
        "data_path": asked["out"],
        "load_col": {"inter": ["user_id", "item_id"]},
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
        "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "RO", "mode": "labeled"},
        "embedding_size": asked["dim"],
        "mlp_hidden_size": [asked["dim"]],
        "train_batch_size": 2 * asked["batch"],  # it counts an event and its negative
        "learning_rate": asked["rate"],
        "use_gpu": False,
        "show_progress": False,
        "seed": asked["seed"],
    }
    sys.argv = sys.argv[:1]
    config = Config(model="DSSM", dataset="events", config_dict=settings)
    data = create_dataset(config)
    batches, *_ = data_preparation(config, data)
    model = DSSM(config, data)
    trainer, seconds = Trainer(config, model), []
    for number in range(asked["epochs"]):
        started = time.perf_counter()
        trainer._train_epoch(batches, number, show_progress=False)
        seconds.append(time.perf_counter() - started)
    model.eval()
    vectors = []
    for field, size, mlp in (
        ("user_id", n_users, model.user_mlp_layers),
        ("item_id", n_items, model.item_mlp_layers),
    ):
        place = np.array([data.field2token_id[field].get(str(row), 0) for row in range(size)])
        at = torch.from_numpy(place) + int(model.token_field_offsets[0 if field == "user_id" else 1])
        with torch.no_grad():
            vectors.append(
                _unit(mlp(model.token_embedding_table.embedding(at)).numpy()) * (place > 0)[:, None]
            )
    return seconds, len(user), *vectors


def _cornac(asked: Asked, user: Any, item: Any, n_users: int, n_items: int) -> Any:
    """GMF, the nearest that it has: two embeddings, pointwise, one drawn negative for each event."""
    import cornac
    import torch
    from cornac.models import GMF

    torch.set_num_threads(asked["threads"])
    rows = [(str(one), str(other), 1.0) for one, other in zip(user.tolist(), item.tolist(), strict=True)]
    data = cornac.data.Dataset.from_uir(rows, seed=asked["seed"])
    model = GMF(
        num_factors=asked["dim"],
        num_epochs=asked["epochs"],
        batch_size=asked["batch"],
        lr=asked["rate"],
        num_neg=1,
        backend="pytorch",
        verbose=False,
        seed=asked["seed"],
    )
    started = time.perf_counter()
    model.fit(data)
    seconds = time.perf_counter() - started
    net = model.model
    weight = net.logit.weight.detach().numpy()
    users = (
        net.user_embedding.weight.detach().numpy()[[data.uid_map[str(row)] for row in range(n_users)]]
        * weight
    )
    known = np.array([data.iid_map.get(str(row), -1) for row in range(n_items)])
    items = net.item_embedding.weight.detach().numpy()[known] * (known >= 0)[:, None]
    return [seconds / asked["epochs"]] * asked["epochs"], len(user), users, items


def _rectools(asked: Asked, user: Any, item: Any, n_users: int, n_items: int) -> Any:
    """DSSM, whose towers take rows of ones and zeros as wide as the catalogue: some steps of it, no vectors.
    An example is a user with their whole history, one item of it, and one drawn negative."""
    import torch
    from rectools.models.nn.dssm import DSSM

    torch.set_num_threads(asked["threads"])
    torch.manual_seed(asked["seed"])
    net = DSSM(asked["dim"], asked["dim"], n_users, n_items, n_items, lr=asked["rate"], log_to_prog_bar=False)
    net.log = lambda *arguments, **named: None
    optimizer, seconds, steps = net.configure_optimizers(), [], 3
    rng = np.random.default_rng(asked["seed"])
    for _ in range(steps + 1):
        at: Any = rng.integers(len(user), size=asked["batch"])
        started = time.perf_counter()
        who, had = (torch.zeros(len(at), n) for n in (n_users, n_items))
        positive, negative = torch.zeros(len(at), n_items), torch.zeros(len(at), n_items)
        rows = np.arange(len(at))
        who[rows, user[at]] = had[rows, item[at]] = positive[rows, item[at]] = 1
        negative[rows, rng.integers(n_items, size=len(at))] = 1
        loss = net.training_step((who, had, positive, negative), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    return seconds[1:], asked["batch"], None, None


if __name__ == "__main__":
    main()
