"""`python -m rlgen`, the same as `rlgen`."""

import sys

from rlgen.commands import main

sys.exit(main())
