"""`python -m rlgen`, the same as `rlgen`."""

import sys

from rlgen.cli import main

sys.exit(main())
