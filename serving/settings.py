"""What an operator can set; each field is an option of `python -m recsys.serving`."""

from pathlib import Path

from pydantic import Field

from recsys.config import Settings, home
from recsys.keys import FILE


class ServingSettings(Settings):
    """Settings of the service. What a client may rely on (k, history, body, batch) is fixed in
    serving/schemas.py."""

    host: str = Field(
        "127.0.0.1", description="address to listen on; beyond loopback only where there are keys"
    )
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 picks a free one and prints it")
    workers: int = Field(
        1, ge=1, le=256, description="processes that answer; SIGHUP replaces them one by one"
    )
    admin_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description=(
            "port of GET /metrics and /debug, for those who watch it; 0 picks a free one; none if unset"
        ),
    )
    state: Path = Field(
        Path("mlruns/state"),
        description=(
            "folder of keys, audit log and history, below RECSYS_HOME or here; off = no keys, no admin calls"
        ),
    )
    keys: str = Field(
        "", description="file of keys, where it is not keys.json in the folder of state, as a mounted secret"
    )
    access_log: str = Field("off", description="file to append a line for each request to; off = none")
    model_name: str = Field(
        "recommender",
        pattern=r"^[A-Za-z0-9_.-]{1,60}$",
        description="name of what is served in /v1/models and /v2/models",
    )
    history_s: float = Field(10.0, gt=0, description="seconds between points of the page's history")
    otel: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="address to send OpenTelemetry's spans to (extra `otel`); empty = none",
    )
    otel_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of the requests that become spans where their caller did not decide",
    )
    poll_s: float = Field(
        1.0, gt=0, description="seconds between looks at the pointer; one small read, so it is cheap"
    )
    idle_check_s: float = Field(
        20.0, ge=0, description="seconds in which a new bundle is verified by the processors' idle time alone"
    )
    exposures: Path = Field(
        Path("store"),
        description="where served lists go: store = the event store of --state (nowhere where that is "
        "off), a file to append to, - = standard output, off = nowhere",
    )
    hashed_ids: bool = Field(
        False,
        description=(
            "keep people's ids in a new event store as hashes by a key beside it; a store stays as it is"
        ),
    )
    keep_days: float | None = Field(
        None, gt=0, description="days after which told events and served lists are deleted; for ever if unset"
    )
    watch_s: float = Field(10.0, gt=0, description="seconds between counts of what followed the served lists")
    root_path: str = Field(
        "",
        pattern=r"^(/[^/?#\s]+)*$",
        description="path below which a proxy shows the service, as in /recommender",
    )
    cors: str = Field(
        "",
        pattern=r"^(\*|https?://[^/,\s]+(,\s*https?://[^/,\s]+)*)?$",
        description="origins whose pages may ask from a browser, separated by commas; * = any, empty = none",
    )
    threads: int = Field(
        0, ge=0, description="requests searched at a time; 0 = one for each core, a search fills one"
    )
    waiting: int = Field(
        8,
        ge=0,
        description="requests that may wait for a thread; more get 429, since long queues take seconds",
    )
    deadline_ms: int = Field(
        1_000,
        ge=1,
        description="milliseconds a request may wait for a thread; a header of the caller may say less",
    )
    read_s: float = Field(
        10.0, gt=0, description="seconds in which a body must arrive; frees what a dead client holds"
    )
    keep_alive_s: int = Field(
        75, ge=1, description="seconds an idle connection stays; longer than proxies keep theirs"
    )
    lame_duck_s: float = Field(
        3.0,
        ge=0,
        description="seconds after SIGTERM in which readiness is refused and connections are still taken",
    )
    drain_s: float = Field(
        0.5, ge=0, description="seconds after that in which open connections are still answered, then closed"
    )
    clock: str = Field(
        "",
        description=(
            "file in which a simulator keeps the time that is served by; on loopback alone; empty = none"
        ),
    )
    stop_s: int = Field(
        10, ge=1, description="seconds after which a request that still runs is given up at the end"
    )

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
