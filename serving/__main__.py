"""Entry point of `python -m recsys.serving`; sets the thread counts that must be set before numpy is imported."""

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one thread a request: threads of threads only wait for each other

try:
    from recsys.serving.cli import main
except ModuleNotFoundError as error:
    print(f"Error: {error}. The service needs the extra `serve`, as in: pip install '.[serve]'.", file=sys.stderr)
    sys.exit(2)

main(prog_name="python -m recsys.serving")
