"""The errors a user can meet. Each message names the thing, its owner, the rule, the value found and the next
step.

RecsysError              the user's or the environment's fault: exit status 2, no traceback
├── SettingError         a setting is unknown, of the wrong type or out of range
├── DataError            a file, a column or a row breaks a rule
├── ModelError           a model cannot learn from these data, or cannot do what it is asked
├── BundleError          a bundle is missing, damaged, or made by an incompatible version
├── TrackingError        the tracking store does not take or give what is asked
└── RequestError         a request asks for something that no answer can meet
"""


class RecsysError(Exception):
    """Base of every error that a message can settle."""


class SettingError(RecsysError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(RecsysError):
    """A file, a column or a row breaks a rule."""


class ModelError(RecsysError):
    """A model cannot learn from these data, or cannot do what it is asked."""


class BundleError(RecsysError):
    """A bundle is missing, damaged, or made by an incompatible version."""


class TrackingError(RecsysError):
    """The tracking store does not take or give what is asked."""


class RequestError(RecsysError):
    """A request asks for something that no answer can meet. code: stable, for machines; the service sends it
    on."""

    def __init__(self, message: str, *, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.code = code
