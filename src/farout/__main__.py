"""``python -m farout``: the command ``farout``, where scripts of an environment are not on the path."""

import sys

from farout.cli import main

if __name__ == "__main__":
    sys.exit(main())
