"""What an operator can set; each field is an option of `python -m recsys.serving`."""

from pathlib import Path

from pydantic import Field

from recsys.config import Settings, home
from recsys.keys import FILE


class ServingSettings(Settings):
    """Settings of the service. What a client may rely on (k, history, body, batch) is fixed in
    serving/schemas.py."""

    host: str = Field("127.0.0.1", description="address to listen on; any but loopback needs keys")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 picks a free one and prints it")
    workers: int = Field(1, ge=1, le=256, description="worker processes; SIGHUP replaces them one by one")
    admin_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description=(
            "port for operators: GET /metrics and GET /debug; 0 picks a free one; unset = no such port"
        ),
    )
    state: Path = Field(
        Path("mlruns/state"),
        description=(
            "folder of keys, audit log and history, below RECSYS_HOME or here; off = no keys, no admin calls"
        ),
    )
    keys: str = Field(
        "", description="file of keys, such as a mounted secret; empty = keys.json in the folder of state"
    )
    access_log: str = Field("off", description="file that gets one JSON line per request; off = none")
    model_name: str = Field(
        "recommender",
        pattern=r"^[A-Za-z0-9_.-]{1,60}$",
        description="name of what is served in /v1/models and /v2/models",
    )
    history_s: float = Field(10.0, gt=0, description="seconds between two points of the charts on the page")
    otel: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="address that OpenTelemetry spans are sent to (needs the extra `otel`); empty = none",
    )
    otel_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of requests recorded as spans, where the caller's traceparent does not decide",
    )
    poll_s: float = Field(
        1.0,
        gt=0,
        description="seconds between two checks for a newly published bundle; each reads one small file",
    )
    idle_check_s: float = Field(
        20.0,
        ge=0,
        description=(
            "seconds that a new bundle is verified at idle priority, before it takes its share of "
            "the processors"
        ),
    )
    exposures: Path = Field(
        Path("store"),
        description="where served lists are logged: store = the event store in the folder of state (nowhere "
        "if that is off), a file to append to, - = standard output, off = nowhere",
    )
    hashed_ids: bool = Field(
        False,
        description=(
            "write user ids to a new event store as keyed hashes; a store that exists stays as it is"
        ),
    )
    keep_days: float | None = Field(
        None,
        gt=0,
        description="days after which received events and served lists are deleted; unset = kept for ever",
    )
    watch_s: float = Field(
        10.0, gt=0, description="seconds between two counts of clicks and other outcomes of served lists"
    )
    root_path: str = Field(
        "",
        pattern=r"^(/[^/?#\s]+)*$",
        description="path under which a proxy publishes the service, such as /recommender",
    )
    cors: str = Field(
        "",
        pattern=r"^(\*|https?://[^/,\s]+(,\s*https?://[^/,\s]+)*)?$",
        description=(
            "origins whose pages may call the service from a browser, separated by commas; * = any, "
            "empty = none"
        ),
    )
    threads: int = Field(
        0,
        ge=0,
        description="requests answered at a time; 0 = one per core, since one search uses a whole core",
    )
    waiting: int = Field(
        8,
        ge=0,
        description="requests that may wait for a thread; further ones get 429 at once",
    )
    deadline_ms: int = Field(
        1_000,
        ge=1,
        description=(
            "milliseconds that a request may wait for a thread; the header X-Request-Timeout-Ms may "
            "shorten it"
        ),
    )
    read_s: float = Field(
        10.0,
        gt=0,
        description=(
            "seconds within which a request body must arrive, so that dead clients do not hold connections"
        ),
    )
    keep_alive_s: int = Field(
        75,
        ge=1,
        description="seconds that an idle connection stays open; set it longer than your proxy keeps its own",
    )
    lame_duck_s: float = Field(
        3.0,
        ge=0,
        description=(
            "seconds after SIGTERM in which readiness answers 503 and new connections are still accepted"
        ),
    )
    drain_s: float = Field(
        0.5,
        ge=0,
        description="seconds after that in which open connections are still answered before they are closed",
    )
    clock: str = Field(
        "",
        description=(
            "file from which the service reads the time, written by a simulator; on loopback "
            "only; empty = system time"
        ),
    )
    stop_s: int = Field(10, ge=1, description="seconds that the shutdown waits for running requests")

    @property
    def state_folder(self) -> Path | None:
        """Where keys, audit log and history lie; None where there are none."""
        return None if str(self.state) == "off" else home() / self.state

    @property
    def keys_file(self) -> Path | None:
        """Where keys lie; None where none are asked for."""
        if self.keys:
            return home() / self.keys
        return None if self.state_folder is None else self.state_folder / FILE
