"""The one place that sets thread counts; libraries never do it at import."""

import os


def set_threads(threads: int) -> int:
    """Sets numba, BLAS and faiss to `threads` (0 = all cores of this process) and returns the number in force."""
    import faiss
    import numba
    from threadpoolctl import threadpool_limits

    count = min(threads or os.cpu_count() or 1, len(os.sched_getaffinity(0)))
    most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    numba.set_num_threads(min(count, most))
    faiss.omp_set_num_threads(count)
    threadpool_limits(count, user_api="blas")
    return count
