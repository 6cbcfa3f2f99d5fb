"""Which bundles of a root are served, and to whom: `deployment.toml` beside them.

    champion = "20261122T144341769202Z-6d249c20"     # always what the pointer `current` names
    previous = "20261121T020000000000Z-0a1b2c3d"     # the way back
    shadow = "20261123T020000000000Z-5e6f7a8b"       # answers requests that leave no trace

    [arms.new-towers]                                # an experiment, and the bundle of each of its arms
    b = "20261123T020000000000Z-5e6f7a8b"

Without the file, `current` rules and nothing else is served. Experiments that were started stand beside it,
in the folder `experiments` (`recsys.experiments.frozen`): what their arms serve is deployed, too.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from recsys import durable
from recsys.config import read_toml
from recsys.errors import BundleError, SettingError
from recsys.events.clock import now_s
from recsys.experiments.frozen import Frozen, read_frozen

FILE = "deployment.toml"
_IDS = ("champion", "previous", "shadow")


@dataclass(frozen=True)
class Deployment:
    """Ids of bundles of one root. arms: experiment -> arm -> bundle id, of those that others assign people
    to.

    started: experiments that run, or will; they stand in files of their own.
    """

    champion: str
    previous: str | None = None
    shadow: str | None = None
    arms: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    started: tuple[Frozen, ...] = ()

    @property
    def live(self) -> tuple[str, ...]:
        """The bundles that answer, the champion first, each once."""
        arms = [bundle_id for arms in self.arms.values() for bundle_id in arms.values()]
        arms += [bundle_id for one in self.started for bundle_id in sorted(one.bundles)]
        return tuple(dict.fromkeys([self.champion, *arms, *([self.shadow] if self.shadow else [])]))

    @property
    def named(self) -> frozenset[str]:
        """All bundles that must not be deleted."""
        return frozenset(self.live) | ({self.previous} if self.previous else set())

    @property
    def etag(self) -> str:
        """A digest that changes with the deployment and with the experiments that run."""
        experiments = "".join(f"\n{one.name} {one.digest}" for one in self.started)
        return sha256((self.toml() + experiments).encode()).hexdigest()[:16]

    def with_champion(self, champion: str) -> "Deployment":
        """A copy with another champion; the present one becomes the previous one, which a roll back returns
        to."""
        return self if champion == self.champion else replace(self, champion=champion, previous=self.champion)

    def with_role(self, role: str, bundle_id: str | None) -> "Deployment":
        """With a bundle in a role: champion, shadow, or an arm as EXPERIMENT/ARM. None takes the role away,
        of all arms by EXPERIMENT alone. Raises BundleError where there is no such role, or nobody in it."""
        experiment, _, arm = role.partition("/")
        if bundle_id is not None:
            if role == "champion":
                return self.with_champion(bundle_id)
            if role == "shadow":
                return replace(self, shadow=bundle_id)
            if not (experiment and arm):
                raise BundleError(
                    f"there is no role {role!r}; name champion, shadow, or an arm as EXPERIMENT/ARM."
                )
            return replace(
                self, arms={**self.arms, experiment: {**self.arms.get(experiment, {}), arm: bundle_id}}
            )
        if role == "shadow" and self.shadow:
            return replace(self, shadow=None)
        if experiment not in self.arms or (arm and arm not in self.arms[experiment]):
            roles = [f"{one}/{other}" for one, arms in self.arms.items() for other in arms]
            serving = ", ".join([*(["shadow"] if self.shadow else []), *roles]) or "the champion alone"
            raise BundleError(
                f"no bundle serves as {role!r}, so that it cannot be taken away; beside it: {serving}."
            )
        kept = {name: held for name, held in self.arms[experiment].items() if arm and name != arm}
        others = {name: arms for name, arms in self.arms.items() if name != experiment}
        return replace(self, arms=others | ({experiment: kept} if kept else {}))

    def toml(self) -> str:
        """The deployment as the text of its file."""
        lines = [
            f"{name} = {json.dumps(value)}" for name in _IDS if (value := getattr(self, name)) is not None
        ]
        for experiment, arms in self.arms.items():
            lines += ["", f"[arms.{json.dumps(experiment)}]"]
            lines += [f"{json.dumps(arm)} = {json.dumps(bundle_id)}" for arm, bundle_id in arms.items()]
        return "\n".join(lines) + "\n"


def read_deployment(root: Path, champion: str) -> Deployment:
    """What the file of a root says; the champion is the one that the pointer names, whatever the file says.

    Raises BundleError where it says something else than bundles in roles, and where an experiment cannot be
    read.
    """
    path = root / FILE
    now = now_s()
    started = tuple(one for one in read_frozen(root) if not one.over(now))
    if not path.is_file():
        return Deployment(champion, started=started)
    try:
        values: dict[str, Any] = read_toml(path)
    except SettingError as error:
        raise BundleError(f"{error} Mend it, or delete it to serve the current bundle alone.") from None
    arms = values.pop("arms", {})
    tables = [values, *(arms.values() if isinstance(arms, dict) else [None])]
    if (
        set(values) - set(_IDS)
        or "champion" not in values
        or not all(_names_bundles(table) for table in tables)
    ):
        raise BundleError(
            f"{path} must name bundles by champion, previous, shadow, and in tables [arms.EXPERIMENT] by "
            f"their arms. Mend it, or delete it to serve the current bundle alone."
        )
    held = Deployment(values["champion"], values.get("previous"), values.get("shadow"), arms, started)
    return held.with_champion(champion)


def write_deployment(root: Path, deployment: Deployment) -> None:
    """Replaces the file; a reader sees the old one or the new one."""
    durable.write_pointer(root / FILE, deployment.toml())


def _names_bundles(table: Any) -> bool:
    """Whether a value is a table whose values are names of folders directly below a root."""
    return isinstance(table, dict) and all(
        isinstance(name, str) and name not in ("", "..") and Path(name).name == name
        for name in table.values()
    )
