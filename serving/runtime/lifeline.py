"""What every process of the service has: a log of JSON lines, and an end that comes with its parent's."""

import json
import logging
import os
from collections.abc import Callable


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("serving").setLevel(logging.INFO)


def read_to_end(then: Callable[[], None]) -> None:
    """Calls `then` when standard input ends: whoever holds its other end is gone."""
    while os.read(0, 4096):
        pass
    then()
