"""The one place that sets thread counts and how memory is kept; libraries never do it at import."""

import atexit
import ctypes
import os
import shutil
import sys
import tempfile
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of <malloc.h>
_NEVER = (1 << 31) - 1


def writable_numba_cache() -> None:
    """Lets numba keep compiled code in a folder of this process where neither this package nor the home can
    be written.

    To be called before numba is imported; NUMBA_CACHE_DIR of the user's own wins.
    """
    package, cache = Path(__file__).parent, Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    known = next(path for path in (cache, *cache.parents) if path.exists())
    if (
        not os.access(package, os.W_OK)
        and not os.access(known, os.W_OK)
        and "NUMBA_CACHE_DIR" not in os.environ
    ):
        os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="recsys-numba-")
        atexit.register(shutil.rmtree, os.environ["NUMBA_CACHE_DIR"], ignore_errors=True)


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory, large blocks included, for the next allocation.

    A learner takes and frees arrays as large as its tables in every step, and pages that are mapped anew are
    zeroed: at dim 256 on 41,000 items that took two fifths of the time of softmax. Nothing happens where
    there is no glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)


def set_threads(threads: int) -> int:
    """Sets the threads of numba, BLAS, faiss and torch, and returns their number.

    0 = all cores of this process, shared with the others that torchrun started on this machine.
    """
    writable_numba_cache()
    keep_freed_memory()
    import faiss
    import numba
    from threadpoolctl import threadpool_limits

    cores = len(os.sched_getaffinity(0))
    count = min(threads or max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))), cores)
    most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    numba.set_num_threads(min(count, most))
    faiss.omp_set_num_threads(count)
    threadpool_limits(count)  # BLAS and OpenMP, whoever brought them
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    else:
        os.environ["OMP_NUM_THREADS"] = str(count)  # what torch takes when a learner loads it
    return count
