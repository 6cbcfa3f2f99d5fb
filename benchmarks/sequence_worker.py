"""One fit of a SASRec-like model by one library, in a process of its own, for `benchmarks.sequence_peers`.

    PYTHON sequence_worker.py '{"library": "recsys", "data": FOLDER, "dim": 64, "epochs": 10, "longest": 200,
    ...}'

Runs under the Python of the library's own environment, so it imports nothing of this project but where it is
the library asked for. FOLDER holds `user.npy` and `item.npy`, the events to learn from, user by user and
oldest first. Writes the ten best items of each user that they have not had to `lists.npy` in the folder
`out`. The last line of output is a JSON object: CPU seconds of each epoch, all threads together, and the
events to be found in it.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

Asked = dict[str, Any]
K = 10


def main() -> None:
    asked = json.loads(sys.argv[1])
    os.environ["OMP_NUM_THREADS"] = str(asked["threads"])
    folder = Path(asked["data"])
    user, item = np.load(folder / "user.npy"), np.load(folder / "item.npy")
    fit = {"recsys": _recsys, "rectools": _rectools, "rectools_fast": _rectools_fast, "plain": _plain}
    seconds, lists = fit[asked["library"]](asked, user, item)
    if lists is not None:
        np.save(Path(asked["out"]) / "lists.npy", lists)
    events = np.minimum(np.bincount(user) - 1, asked["longest"] if asked["last_only"] else len(user)).clip(
        min=0
    )
    print(json.dumps({"epochs_cpu_s": seconds, "events": int(events.sum())}))


def _recsys(asked: Asked, user: Any, item: Any) -> Any:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import pyarrow as pa
    import torch  # noqa: F401  so that set_threads finds it

    from recsys.data.dataset import Dataset
    from recsys.data.interactions import Interactions
    from recsys.encoders.users import Users
    from recsys.ids import IdMap
    from recsys.models.registry import make_model
    from recsys.pipelines.threads import set_threads
    from recsys.training.loop import Aids

    set_threads(asked["threads"])
    n_users, n_items = int(user.max()) + 1, int(item.max()) + 1
    if asked["last_only"]:  # the peer reads the last window of each person alone
        places = np.arange(len(user)) - np.repeat(
            np.cumsum(np.bincount(user)) - np.bincount(user), np.bincount(user)
        )
        kept = np.bincount(user)[user] - places <= asked["longest"] + 1
        learn_user, learn_item = user[kept], item[kept]
    else:
        learn_user, learn_item = user, item
    user_ids, item_ids = (IdMap.of([str(row) for row in range(n)]) for n in (n_users, n_items))
    table = pa.table({"title": pa.nulls(n_items, pa.string())})

    def data(user: Any, item: Any) -> Any:
        events = Interactions.in_order(user, item, n_users=n_users, n_items=n_items)
        return Dataset("peers", events, user_ids, item_ids, table)

    settings = {
        "dim": asked["dim"],
        "epochs": asked["epochs"],
        "longest_history": asked["longest"],
        "averaged": 0.0,
    }
    settings |= {"dropout": asked["dropout"], "batch_size": asked["batch"], "precision": asked["precision"]}
    settings |= {"widened": asked["widened"], "older_history": 0, "learning_rate": asked["rate"]}
    model: Any = make_model("sequence", settings)
    few = min(2_000, len(learn_user))
    warm: Any = make_model("sequence", settings | {"epochs": 1})
    warm.fit(data(learn_user[:few], learn_item[:few]), seed=1)  # compiles, or loads what was compiled
    seconds, began = list[float](), [time.process_time()]

    def watch(epoch: int, learned: Any) -> bool:
        seconds.append(time.process_time() - began[0])
        began[0] = time.process_time()
        return False

    learned = model.fit(data(learn_user, learn_item), seed=asked["seed"], aids=Aids(watch=watch))
    if not asked["lists"]:
        return seconds, None
    past = data(user, item).interactions.histories()
    lists = np.zeros((n_users, K), np.int64)
    for start in range(0, n_users, 1_000):
        rows = np.arange(start, min(start + 1_000, n_users))
        scores = learned.encoder.encode(Users.unknown(past.take(rows))).vectors @ learned.items.T
        for at, row in enumerate(rows):
            scores[at, past.items.row(row)] = -np.inf
        lists[rows] = np.argsort(-scores, axis=1)[:, :K]
    return seconds, lists


def _frame(user: Any, item: Any) -> Any:
    import pandas as pd

    order = np.arange(len(user))
    return pd.DataFrame(
        {"user_id": user, "item_id": item, "weight": 1.0, "datetime": pd.to_datetime(order, unit="s")}
    )


def _rectools(asked: Asked, user: Any, item: Any) -> Any:
    """RecTools' SASRec as it is, with the softmax over all items."""
    import torch
    from pytorch_lightning import Callback, Trainer
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    torch.set_num_threads(asked["threads"])
    seconds = list[float]()

    class Clock(Callback):  # type: ignore[misc]
        def on_train_epoch_start(self, *arguments: Any) -> None:
            self.began = time.process_time()

        def on_train_epoch_end(self, *arguments: Any) -> None:
            seconds.append(time.process_time() - self.began)

    def trainer() -> Any:
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        epochs, accelerator = asked["epochs"], "cpu"
        return Trainer(
            max_epochs=epochs,
            accelerator=accelerator,
            enable_checkpointing=False,
            callbacks=[Clock()],
            **quiet,
        )

    torch.manual_seed(asked["seed"])
    data = Dataset.construct(_frame(user, item))
    model = SASRecModel(
        n_blocks=2,
        n_heads=2,
        n_factors=asked["dim"],
        dropout_rate=asked["dropout"],
        session_max_len=asked["longest"],
        loss="softmax",
        lr=asked["rate"],
        batch_size=asked["users_a_batch"],
        epochs=asked["epochs"],
        get_trainer_func=trainer,
    )
    model.fit(data)
    if not asked["lists"]:
        return seconds, None
    table = model.recommend(np.unique(user), data, k=K, filter_viewed=True)
    lists = np.full((int(user.max()) + 1, K), -1, np.int64)
    lists[table[Columns.User].to_numpy(), table[Columns.Rank].to_numpy() - 1] = table[Columns.Item].to_numpy()
    return seconds, lists


def _rectools_fast(asked: Asked, user: Any, item: Any) -> Any:
    """The net and the sequences of RecTools' `fast_transformers`, for which there is no model of ids: in the
    loop of its UniSRec model, softmax over all items, Adam."""
    import torch
    from rectools.fast_transformers import FlatSASRecNet, SequenceBatchDataset, build_sequences
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(asked["threads"])
    torch.manual_seed(asked["seed"])
    order = torch.arange(len(user))
    x, y, items, _ = build_sequences(
        torch.from_numpy(user.astype(np.int64)),
        torch.from_numpy(item.astype(np.int64)),
        order,
        asked["longest"],
    )
    net = FlatSASRecNet(len(items), asked["dim"], 2, 2, asked["longest"], asked["dropout"])
    optimizer = torch.optim.Adam(net.parameters(), lr=asked["rate"])
    loader = torch.utils.data.DataLoader(
        SequenceBatchDataset(x, y), batch_size=asked["users_a_batch"], shuffle=True
    )
    seconds = list[float]()
    for _ in range(asked["epochs"]):
        began = time.process_time()
        for batch in loader:
            logits = net(batch)
            target = batch["y"] - 1
            loss = cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-1)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        seconds.append(time.process_time() - began)
    return seconds, None


def _plain(asked: Asked, user: Any, item: Any) -> Any:
    """What anybody would write with torch alone: padded windows, its encoder, its loss, its Adam."""
    import torch
    from torch import nn

    torch.set_num_threads(asked["threads"])
    torch.manual_seed(asked["seed"])
    n_items, longest, dim = int(item.max()) + 1, asked["longest"], asked["dim"]
    histories = np.split(item + 1, np.flatnonzero(np.diff(user)) + 1)
    rows = torch.zeros(len(histories), longest + 1, dtype=torch.long)
    for row, history in zip(rows, histories, strict=True):
        row[: len(history[-longest - 1 :])] = torch.from_numpy(history[-longest - 1 :])

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.items = nn.Embedding(n_items + 1, dim, padding_idx=0)
            self.places = nn.Embedding(longest, dim)
            layer = nn.TransformerEncoderLayer(
                dim, 2, dim, asked["dropout"], batch_first=True, norm_first=True
            )
            self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(dim), enable_nested_tensor=False)
            self.dropout = nn.Dropout(asked["dropout"])
            nn.init.normal_(self.items.weight, std=0.02)

        def forward(self, history: Any) -> Any:
            events = self.dropout(self.items(history) + self.places.weight[: history.shape[1]])
            mask = nn.Transformer.generate_square_subsequent_mask(history.shape[1])
            return self.encoder(events, mask=mask, is_causal=True) @ self.items.weight.T

    net, seconds = Plain(), list[float]()
    optimizer = torch.optim.Adam(net.parameters(), lr=asked["rate"])
    for _ in range(asked["epochs"]):
        began = time.process_time()
        for batch in torch.randperm(len(rows)).split(asked["users_a_batch"]):  # type: ignore[no-untyped-call]
            scores, target = net(rows[batch, :-1]), rows[batch, 1:]
            loss = nn.functional.cross_entropy(scores.flatten(0, 1), target.flatten(), ignore_index=0)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        seconds.append(time.process_time() - began)
    if not asked["lists"]:
        return seconds, None
    net.eval()
    lists = np.zeros((len(rows), K), np.int64)
    with torch.no_grad():
        for who, history in enumerate(histories):
            scores = net(torch.from_numpy(history[None, -longest:]))[0, -1]
            scores[history], scores[0] = -torch.inf, -torch.inf
            lists[who] = scores.topk(K).indices.numpy() - 1
    return seconds, lists


if __name__ == "__main__":
    main()
