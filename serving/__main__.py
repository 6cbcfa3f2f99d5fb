"""Entry point of `python -m recsys.serving`; sets the thread counts that must be set before numpy is
imported."""

import os
import sys

# one thread a request: threads of threads only wait for each other
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

try:
    from recsys.serving.cli import main

    main(prog_name="python -m recsys.serving")
except ModuleNotFoundError as error:
    if (error.name or "").startswith("recsys"):
        raise  # a fault of ours
    print(
        f"Error: {error}. The service needs the extra `serve`: pip install 'recsys-embeddings[serve]'.",
        file=sys.stderr,
    )
    sys.exit(2)
