"""What one would write: FastAPI, FAISS, a set of seen items for each user. Arguments: items, users."""

import json
import socket
import sys
import uuid

import faiss
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

faiss.omp_set_num_threads(1)
n, users = map(int, sys.argv[1:])
random = np.random.default_rng(0)
index = faiss.IndexFlatIP(64)
index.add(random.standard_normal((n, 64), np.float32))
people = random.standard_normal((users, 64), np.float32)
ids = [f"i{item}" for item in range(n)]
seen = [set(random.integers(0, n, 50).tolist()) for _ in range(users)]
app = FastAPI()


class Asked(BaseModel):
    """Who asks."""

    user_id: str
    k: int = 10


class Item(BaseModel):
    """An item of the answer."""

    item_id: str
    score: float


class Answer(BaseModel):
    """The answer."""

    request_id: str
    items: list[Item]


@app.post("/v1/recommend", response_model=Answer)
def recommend(asked: Asked) -> Answer:
    user = int(asked.user_id[1:])
    scores, rows = index.search(people[user : user + 1], asked.k + len(seen[user]))
    pairs = zip(rows[0].tolist(), scores[0].tolist(), strict=True)
    items = [Item(item_id=ids[item], score=score) for item, score in pairs if item not in seen[user]]
    return Answer(request_id=uuid.uuid4().hex, items=items[: asked.k])


listener = socket.create_server(("127.0.0.1", 0))
print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listener])
