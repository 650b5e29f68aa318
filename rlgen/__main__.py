"""`python -m rlgen`, the same as `rlgen`."""

import sys

from rlgen.commands.main import main

sys.exit(main())
