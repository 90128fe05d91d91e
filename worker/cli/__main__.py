"""`python -m worker.cli` is `corranto`."""

import sys

from worker.cli import main

sys.exit(main())
