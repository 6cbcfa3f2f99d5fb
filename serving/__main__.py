"""Entry point of `python -m serving`; sets the thread counts that must be set before numpy is imported."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one thread a request: threads of threads only wait for each other

from serving.cli import main

main(prog_name="python -m serving")
