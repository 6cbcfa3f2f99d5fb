"""Ctrl-C that is not lost: a compiler in the middle of its work may swallow the exception that it raises."""

import signal
import sys
import threading
from types import FrameType

_asked = False


def listen() -> None:
    """Starts to remember Ctrl-C, where Python handles it."""
    global _asked
    _asked = False
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _remember)
        loud = sys.unraisablehook
        sys.unraisablehook = lambda lost: None if issubclass(lost.exc_type, KeyboardInterrupt) else loud(lost)


def was_pressed() -> bool:
    """Whether Ctrl-C was pressed since `listen`."""
    return _asked


def stop_if_asked() -> None:
    """Raises KeyboardInterrupt where Ctrl-C was pressed and the exception got lost; long work calls this
    after each step."""
    if _asked:
        raise KeyboardInterrupt


def _remember(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = True
    signal.default_int_handler(number, frame)
