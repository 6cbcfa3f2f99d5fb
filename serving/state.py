"""Which bundles are served: verified aside at low priority, opened, warmed, and swapped in by one assignment.

A request takes one bundle and answers all from it: encoder, vectors, ids and rules come together, so that no
answer is mixed. Requests in flight hold the bundle they began with; its memory goes with the last of them.
"""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from recsys.bundle.bundle import Bundle, load
from recsys.bundle.deployment import FILE, Deployment
from recsys.bundle.manifest import SEAL
from recsys.bundle.root import POINTER, deployment_of
from recsys.durable import hold_lock
from recsys.errors import BundleError
from recsys.serving.lists.arms import Arms

_log = logging.getLogger("serving")
_PATIENCE_S = 1.0
_FAULT = 3  # exit status of a check that found the bundle wanting
_CHECK = f"""
import os, sys
if sys.argv[2] == "idle":
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
from pathlib import Path
from recsys.bundle.bundle import load
try:
    load(Path(sys.argv[1]))
except Exception as error:
    kind = type(error).__name__
    print(error if kind == "BundleError" else f"{{kind}}: {{error}}", file=sys.stderr)
    os._exit({_FAULT})
"""

Started = Callable[[Bundle | Exception], None]


@dataclass(frozen=True)
class Swap:
    """The last attempt to serve another deployment. state: loading, serving or failed; since: unix
    seconds."""

    state: str
    bundle_id: str | None = None
    error: str | None = None
    since: int = field(default_factory=lambda: int(time.time()))


@dataclass(frozen=True, eq=False)
class Live:
    """What is served, in one piece. loaded: the bundles that are open, by id: all that answer, and the way
    back.

    quarantined: bundles that the deployment names and that do not serve, with the reason. arms: of the
    experiments that were started, by what is open.
    """

    deployment: Deployment
    loaded: Mapping[str, Bundle]
    quarantined: Mapping[str, str] = field(default_factory=dict)
    arms: Arms = field(default_factory=lambda: Arms((), {}))

    @property
    def champion(self) -> Bundle:
        return self.loaded[self.deployment.champion]

    @property
    def shadow(self) -> Bundle:
        """What answers requests that leave no trace: the bundle in this role, else the champion."""
        return self.loaded.get(self.deployment.shadow or "", self.champion)

    def arm(self, experiment: str, arm: str) -> Bundle | None:
        """The bundle of an arm; None where there is none, or where it is in quarantine."""
        return self.loaded.get(self.deployment.arms.get(experiment, {}).get(arm, ""))


class Store:
    """Serves the bundle that `path` is, or what is deployed in it, looked up again every `poll_s` seconds.

    A roll back is a deployment that names an earlier bundle. A bundle that failed is tried again when the
    pointer or the deployment is written again. started: called once, after the first attempt, with the
    champion or what stands in the way. count: told how each attempt went. shared: a folder in which several
    processes tell each other what they verified, so that it is done once. idle_check_s: seconds in which a
    bundle is verified by what processors have left.
    """

    def __init__(
        self,
        path: Path,
        poll_s: float,
        started: Started,
        count: Callable[[str], None] = lambda outcome: None,
        shared: Path | None = None,
        idle_check_s: float = 0.0,
    ) -> None:
        self.live: Live | None = None
        self.swap = Swap("loading")
        self._path, self._poll_s, self._started, self._count, self._shared = (
            path,
            poll_s,
            started,
            count,
            shared,
        )
        self._idle_check_s = idle_check_s
        self._seen: object = None
        self._seals = dict[
            str, str
        ]()  # of the editions that are open, by bundle: forgetting writes a bundle anew
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="bundles", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stops the watch. A load that still runs is not waited for, since nothing depends on it."""
        self._stop.set()
        self._thread.join(_PATIENCE_S)

    def _watch(self) -> None:
        error = self._look()
        self._started(error if self.live is None and error is not None else self._champion())
        while not self._stop.wait(self._poll_s):
            self._look()

    def _champion(self) -> Bundle:
        assert self.live is not None
        return self.live.champion

    def _look(self) -> Exception | None:
        """Serves what the path leads to, unless that is served or has been tried already; the error, if
        any."""
        try:
            root, wanted = deployment_of(self._path)
            seen = self._stamp(root, wanted), root, wanted
        except (BundleError, OSError, ValueError) as error:
            return None if self._seen == str(error) else self._fail(None, error, str(error))
        if seen == self._seen:
            return None
        self._seen, failed = seen, dict[str, str]()
        loaded = {} if self.live is None else self.live.loaded
        held = {
            name: bundle for name, bundle in loaded.items() if _seal(root / name) in ("", self._seals[name])
        }
        if self.live is not None and wanted.started != self.live.deployment.started:
            # at once, for an arm begins at its second: until its bundle is open, the champion answers for it
            self.live = replace(self.live, arms=Arms(wanted.started, dict(self.live.loaded)))
        written_anew = [name for name in loaded if name in wanted.named and name not in held]
        for bundle_id in dict.fromkeys([*wanted.live, *written_anew]):
            if bundle_id not in held:
                self.swap = Swap("loading", bundle_id)
                try:
                    self._seals[bundle_id] = _seal(root / bundle_id)
                    held[bundle_id] = self._open_bundle(root / bundle_id)
                except Exception as error:  # a damaged file can fail anywhere; what is served serves on
                    failed[bundle_id] = _sentence(error)
                    if bundle_id == wanted.champion:
                        return self._fail(bundle_id, error, seen)
                    _log.error("bundle %s is left out: %s", bundle_id, failed[bundle_id])
        kept = {bundle_id: bundle for bundle_id, bundle in held.items() if bundle_id in wanted.named}
        if self.live is None or wanted.champion != self.live.deployment.champion:
            _log.info("serving bundle %s", wanted.champion)
        self.live = Live(wanted, kept, failed, Arms(wanted.started, kept))
        self.swap = Swap("serving", wanted.champion)
        self._count("quarantined" if failed else "serving")
        return None

    def _open_bundle(self, folder: Path) -> Bundle:
        """A verified bundle, warm. The first is verified here; later ones aside, while requests are
        answered."""
        if self.live is not None:
            self._check(folder)
        bundle = load(folder, verified=self.live is not None)
        _ = bundle.norms  # computed here, not in the first request that needs it
        return bundle

    def _check(self, folder: Path) -> None:
        if self._shared is None:
            return _check_aside(folder, self._idle_check_s)
        done = self._shared / f"{folder.name}.{_seal(folder)[:16]}.verified"
        with hold_lock(self._shared / f"{folder.name}.lock"):
            if not done.exists():
                _check_aside(folder, self._idle_check_s)
                done.touch()
        return None

    def _stamp(self, root: Path, wanted: Deployment) -> list[tuple[int, int]]:
        """(inode, nanoseconds of the last write) of pointer, deployment, and each bundle that it names."""
        places = [
            self._path / POINTER,
            self._path / FILE,
            *(root / name / SEAL for name in sorted(wanted.named)),
        ]
        stats = [path.stat() for path in places if path.is_file()]
        return [(status.st_ino, status.st_mtime_ns) for status in stats]

    def _fail(self, bundle_id: str | None, error: Exception, seen: object) -> Exception:
        self._seen, self.swap = seen, Swap("failed", bundle_id, _sentence(error))
        self._count("failed")
        if self.live is not None:
            _log.error("keeping bundle %s: %s", self.live.deployment.champion, self.swap.error)
        return BundleError(str(self.swap.error))


def _check_aside(folder: Path, idle_s: float) -> None:
    """Verifies a bundle and replays its golden queries in a process of its own, which takes neither the
    interpreter's lock nor memory of this one. For `idle_s` seconds it takes only the time that processors
    have left; where that does not suffice, it is begun again as a process like any other, so that a busy
    machine swaps, too."""
    for claim, patience_s in [("idle", idle_s), ("share", None)][not idle_s :]:
        command = [sys.executable, "-P", "-c", _CHECK, str(folder), claim]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=patience_s,
            )
        except subprocess.TimeoutExpired:
            continue
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise BundleError(
                said[-1] if said else f"{folder}: the check ended with status {done.returncode}."
            )
        return


def _seal(folder: Path) -> str:
    """The seal of a bundle, which changes with every file of it; empty where there is none."""
    try:
        return (folder / SEAL).read_text("ascii", "replace")
    except OSError:
        return ""


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, BundleError) else f"{type(error).__name__}: {error}"
