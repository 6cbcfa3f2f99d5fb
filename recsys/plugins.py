"""What is not ours: a learner or a metric of the user's own, named as "module:attribute"."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from recsys.errors import SettingError


def load_attribute(name: str, what: str) -> Any:
    """What "module:attribute" names, from a module on the import path or in the working directory.

    what: what it is to be, for errors, as in "metric". Raises SettingError where there is none of this name.
    """
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        value = getattr(import_module(module), attribute, None)
    except ImportError as error:
        raise SettingError(
            f"{what} {name!r}: module {module!r} cannot be imported: {error}. Run from its folder or "
            "install it."
        ) from None
    finally:
        sys.path.remove(here)
    if not callable(value):
        raise SettingError(
            f"{what} {name!r}: module {module!r} has no {attribute!r} to call. Check the spelling."
        )
    return value
