"""Functions that numba compiles for several threads, run from the code on disk alone, so that all processes
agree.

A process that compiles a parallel function runs another machine code than the processes that load it from
numba's cache: numba links the body of the loop into the function before it saves it and optimises the whole
once more, while the compiling process goes on with the body as it was before. Where the floating-point rules
let sums be reordered (`fastmath`), the two differ in the last bits. So another process compiles, and
everybody loads.
"""

import atexit
import importlib
import logging
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache, update_wrapper
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

import numba

from recsys.durable import hold_lock

_P = ParamSpec("_P")
_R = TypeVar("_R")
_log = logging.getLogger(__name__)
_waited_s = [0.0]
_PROGRAM = "from recsys.matrix.compiled import serve_parent; serve_parent()"


class SavedKernel(Generic[_P, _R]):
    """A function compiled for several threads, called with positional arguments like the one it was made
    from."""

    def __init__(self, function: Callable[_P, _R], **options: Any) -> None:
        """options: of `numba.njit`; `cache` is always on."""
        self.dispatcher: Any = numba.njit(cache=True, **options)(function)
        self._loaded: set[Any] = set()
        self.name = function.__name__
        update_wrapper(self, function)

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """What the compiled function returns. The first call with arguments of these types may have it
        compiled."""
        assert not kwargs, "numba would compile anew for each order of keywords"
        types = tuple(map(numba.typeof, args))
        if types not in self._loaded:
            if not self._is_saved(types):
                _compile_elsewhere(self.__module__, self.name, types)
            self._loaded.add(types)
        result: _R = self.dispatcher(*args)
        return result

    def _is_saved(self, types: tuple[Any, ...]) -> bool:
        """Whether numba's cache on disk holds the function for arguments of these types."""
        if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
            return True  # nothing is compiled: the Python function itself runs
        context = self.dispatcher.targetdescr.target_context
        context.refresh()  # what the saved code leans on must be known before it is loaded
        return self.dispatcher._cache.load_overload(types, context) is not None

    def save(self, types: tuple[Any, ...]) -> None:
        """Compiles and saves, or loads what another process saves meanwhile: two at once would mix up numba's
        files."""
        folder = Path(self.dispatcher._cache.cache_path)
        folder.mkdir(parents=True, exist_ok=True)
        with hold_lock(folder / ".compiling"):
            self.dispatcher.compile(types)


def compile_seconds() -> float:
    """How long this process has waited for compiled functions: once in an installation, and not again."""
    return _waited_s[0]


def kernel(**options: Any) -> Callable[[Callable[_P, _R]], SavedKernel[_P, _R]]:
    """Decorates as `numba.njit(cache=True, **options)` does: `@kernel(parallel=True, fastmath=True)`."""
    return lambda function: SavedKernel(function, **options)


def _compile_elsewhere(module: str, name: str, types: tuple[Any, ...]) -> None:
    """Has the other process compile a function for arguments of these types, and waits until it is saved.

    Where that fails, nothing is saved, and the caller compiles it itself or says what is wrong.
    """
    _log.info("compiling for this machine, once in an installation; it takes a minute or two in all")
    compiler, began = _compiler(os.getpid()), time.monotonic()
    assert compiler.stdin is not None
    assert compiler.stdout is not None
    try:
        pickle.dump((module, name, types), compiler.stdin)
        compiler.stdin.flush()
    except BrokenPipeError:
        return
    compiler.stdout.readline()
    _waited_s[0] += time.monotonic() - began


@cache
def _compiler(parent: int) -> "subprocess.Popen[bytes]":
    """The process that compiles for the one with this id: started when first needed, gone with it."""
    command = [sys.executable, "-c", _PROGRAM]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    atexit.register(
        lambda: process.communicate() if os.getpid() == parent else None
    )  # it ends with its input
    return process


def serve_parent() -> None:
    """In the other process: compiles what standard input asks for, and writes a line when each is saved."""
    while True:
        try:
            module, name, types = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        getattr(importlib.import_module(module), name).save(types)
        sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()
