"""What is served, by name and version, and its change: TensorFlow Serving's status, activation, the way
back."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from recsys.bundle.deployment import Deployment
from recsys.bundle.root import POINTER, StaleError, assign, deployment_of, roll_back
from recsys.errors import BundleError, SettingError
from recsys.keys import note
from recsys.serving.access.call import Call
from recsys.serving.problems import Problem
from recsys.serving.routes.documents import Activation, ModelStatus, VersionState, VersionStatus
from recsys.serving.service import Service
from recsys.serving.settings import ServingSettings

_OK = VersionState(error_code="OK", error_message="")
_log = logging.getLogger("serving")


class Models:
    """The one model that a service has, whose versions are bundles."""

    def __init__(self, service: Service, settings: ServingSettings) -> None:
        self._service, self._settings = service, settings

    def refuse_other_names(self, name: str) -> None:
        if name != self._settings.model_name:
            raise Problem("unknown_model", f"What is served is called {self._settings.model_name}.")

    def etag(self) -> str:
        """The header ETag of what is deployed."""
        return f'"{self._service.live().deployment.etag}"'

    def status(self, name: str, *, version: str | None = None, label: str | None = None) -> ModelStatus:
        """Every bundle with a role, or those of one id or label. Raises a Problem where there is none."""
        self.refuse_other_names(name)
        live, swap = self._service.live(), self._service.store.swap
        labels = _labels(live.deployment)
        if swap.bundle_id is not None and swap.state != "serving":
            labels.setdefault(swap.bundle_id, [])
        versions = []
        for bundle_id, roles in labels.items():
            if (version is None or bundle_id == version) and (label is None or label in roles):
                state, told = "AVAILABLE" if bundle_id in live.loaded else "LOADING", _OK
                why = live.quarantined.get(bundle_id) or (swap.error if swap.bundle_id == bundle_id else None)
                if bundle_id not in live.loaded and why is not None:
                    state = "END"
                    told = VersionState(
                        error_code="FAILED_PRECONDITION", error_message=self._service.without_root(why)
                    )
                elif bundle_id not in live.loaded and roles == ["previous"]:
                    state = "END"
                versions.append(VersionStatus(version=bundle_id, state=state, status=told, labels=roles))
        if not versions:
            raise Problem("unknown_model", "No bundle of this version or label is deployed.")
        return ModelStatus(model_version_status=versions)

    def activate(self, name: str, bundle_id: str, call: Call) -> Activation:
        """Makes a bundle of the folder the champion, after verifying it; nothing where it is that already."""
        self.refuse_other_names(name)
        root, now = self._read_deployment()
        if now.champion == bundle_id:
            self._expected_etag(call, now)
            return self.activation(now)
        if not (root / bundle_id).is_dir():
            raise Problem("unknown_bundle", "The folder of bundles holds none of this id.")
        return self._change(
            call, "activate_bundle", bundle_id, lambda tag: assign(root, "champion", bundle_id, expected=tag)
        )

    def roll_back(self, name: str, call: Call) -> Activation:
        """Makes the champion before this one the champion."""
        self.refuse_other_names(name)
        root, now = self._read_deployment()
        return self._change(call, "roll_back_bundle", now.previous, lambda tag: roll_back(root, expected=tag))

    def activation(self, wanted: Deployment) -> Activation:
        """The champion, and how many workers serve it already."""
        reports = self._service.reports.read()
        errors = {self._service.without_root(one.error) for one in reports if one.error is not None}
        return Activation(
            bundle_id=wanted.champion,
            etag=wanted.etag,
            reported=sum(one.bundle_id == wanted.champion and one.etag == wanted.etag for one in reports),
            workers=self._service.reports.workers,
            errors=sorted(errors),
        )

    def _read_deployment(self) -> tuple[Path, Deployment]:
        """The folder and what its files say now. Raises a Problem where a bundle by itself is served."""
        self._service.live()
        if not (self._service.path / POINTER).is_file():
            raise Problem("bundle_refused", "A bundle by itself is served, and no folder of which to choose.")
        try:
            return deployment_of(self._service.path)
        except BundleError as error:
            raise Problem("bundle_refused", self._service.without_root(str(error))) from None

    @staticmethod
    def _expected_etag(call: Call, now: Deployment) -> str | None:
        """The etag of the header `If-Match`, None without one; a Problem where it is not the current one."""
        given = call.headers.get(b"if-match", b"*").decode("latin-1").strip()
        if given == "*":
            return None
        if f'"{now.etag}"' not in [one.strip() for one in given.split(",")]:
            detail = f"What is deployed has the etag {now.etag}; look at it, then ask again with `If-Match`."
            raise Problem("precondition_failed", detail, headers={"ETag": f'"{now.etag}"'})
        return now.etag

    def _change(
        self, call: Call, operation: str, bundle_id: str | None, change: Callable[[str | None], Deployment]
    ) -> Activation:
        """Changes the deployment; the audit log gets who asked before it, and the outcome after it."""
        _, before = self._read_deployment()
        expected = self._expected_etag(call, before)
        self._note(call, operation, bundle_id, before.etag, "asked")
        try:
            after = change(expected)
        except StaleError:
            self._note(call, operation, bundle_id, before.etag, "precondition_failed")
            raise Problem(
                "precondition_failed", "What is deployed has changed meanwhile; look at it again."
            ) from None
        except BundleError as error:
            self._note(call, operation, bundle_id, before.etag, "refused")
            raise Problem("bundle_refused", self._service.without_root(str(error))) from None
        self._note(call, operation, after.champion, after.etag, "done")
        _log.info("champion is %s, said by key %s", after.champion, call.key and call.key.id)
        return self.activation(after)

    def _note(self, call: Call, operation: str, bundle_id: str | None, etag: str, outcome: str) -> None:
        state = self._settings.state_folder
        if state is None:
            raise Problem(
                "audit_failed", "There is no folder of state to write it down in; start without --state off."
            )
        who = {} if call.key is None else {"key": call.key.id, "name": call.key.name}
        line = {"operation": operation, **who, "request_id": call.shown_id.decode(), "bundle_id": bundle_id}
        try:
            note(state, {**line, "etag": etag, "outcome": outcome})
        except SettingError as error:
            _log.error("%s", error)
            raise Problem(
                "audit_failed", "Nothing is changed that cannot be written down; see the log."
            ) from None


def _labels(deployment: Deployment) -> dict[str, list[str]]:
    """bundle id -> its roles."""
    labels: dict[str, list[str]] = {}
    roles = asdict(deployment)
    for role in ("champion", "previous", "shadow"):
        if roles[role] is not None:
            labels.setdefault(roles[role], []).append(role)
    for experiment, arms in deployment.arms.items():
        for arm, bundle_id in arms.items():
            labels.setdefault(bundle_id, []).append(f"{experiment}/{arm}")
    return labels
