"""`python -m ambiguity_nb` is the `ambiguity` command."""
import sys

from ambiguity_nb.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main())
