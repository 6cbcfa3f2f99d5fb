"""What routes say of the service itself: TensorFlow Serving's model status, KServe's health, changes,
history."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

BUNDLE_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


class _Asked(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ActivateRequest(_Asked):
    """Which bundle of the folder becomes the champion."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"bundle_id": "20260101T120000000000Z-1a2b3c4d"}]}
    )

    bundle_id: str = Field(pattern=BUNDLE_ID)


class RollBackRequest(_Asked):
    """Nothing is asked: the champion before this one becomes the champion."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})


class VersionState(BaseModel):
    """error_code: OK, or what stands in the way, which error_message says."""

    error_code: str
    error_message: str


class VersionStatus(BaseModel):
    """A bundle. version: its id. state: LOADING, AVAILABLE or END. labels: its roles, beyond TensorFlow
    Serving."""

    version: str
    state: str
    status: VersionState
    labels: list[str]


class ModelStatus(BaseModel):
    """In TensorFlow Serving's form."""

    model_config = ConfigDict(protected_namespaces=())

    model_version_status: list[VersionStatus]


class Activation(BaseModel):
    """bundle_id: the champion. etag: of the deployment, for the next If-Match. reported: workers that serve
    it, of so many. errors: what workers say that cannot. Ask again, with the same body, until all report
    (status 200)."""

    bundle_id: str
    etag: str
    reported: int
    workers: int
    errors: list[str]


class AssignmentAnswer(BaseModel):
    """The arm of a unit. phase: from 0. reason: assigned, tester, holdout, not targeted, outside its slots,
    not in the ramp yet, or does not run; arm: null where it has none, and the champion is served."""

    experiment: str
    unit_id: str
    phase: int | None
    arm: str | None
    reason: str


class LiveV2(BaseModel):
    """KServe's form: the process answers."""

    live: bool


class ReadyV2(BaseModel):
    """KServe's form: a bundle is served."""

    ready: bool


class ModelReadyV2(BaseModel):
    """KServe's form: the model of this name is served."""

    name: str
    ready: bool


class Watched(BaseModel):
    """Counts by day (UTC), placement and arm. joined: of those whose list is known."""

    columns: list[str]
    rows: list[list[Any]]


class Stats(BaseModel):
    """What was counted by time, over all workers. columns: names; rows: one for each step, the oldest first.

    watched: lists, impressions and outcomes by day, placement and arm, of the last 31 days.
    """

    step_s: float
    watched: Watched
    columns: list[str]
    rows: list[list[Any]]


class Live(BaseModel):
    """The process answers."""

    status: str


class Exposures(BaseModel):
    """The exposure log: lines written and lost since the start, and what is wrong with it now."""

    written: int
    lost: int
    error: str | None


class Ready(BaseModel):
    """A bundle is loaded and answers are given."""

    status: str = Field(
        description="ready; degraded where a bundle that should serve does not, and others go on"
    )
    bundle_id: str
    exposures: Exposures


class Swap(BaseModel):
    """The last attempt to load a bundle: loading, serving or failed; which, since when (unix seconds), and
    why not."""

    state: str
    bundle_id: str | None
    since: int
    error: str | None


class DeploymentAnswer(BaseModel):
    """Which bundles answer: the champion, the one before it, the shadow, and those of arms by experiment.

    experiments: those that were started, and the digest of their definition. quarantined: bundles that do not
    serve, and why. etag: changes with the rest.
    """

    champion: str
    previous: str | None
    shadow: str | None
    arms: dict[str, dict[str, str]]
    experiments: dict[str, str]
    etag: str
    quarantined: dict[str, str]


class ModelAnswer(BaseModel):
    """What is served: the essentials of the bundle's manifest, and the last swap."""

    model_config = ConfigDict(protected_namespaces=())

    bundle_id: str
    space_id: str
    name: str
    kind: str
    dim: int
    metric: str
    counts: dict[str, int]
    domains: list[str]
    index: dict[str, Any]
    seen: str | dict[str, Any]
    fallback: dict[str, Any]
    created: str
    versions: dict[str, str]
    lineage: dict[str, Any]
    deployment: DeploymentAnswer
    swap: Swap
