"""``python -m carina`` is the command line."""

import sys

from carina.cli import main

sys.exit(main())
