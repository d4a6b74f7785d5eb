"""`python -m ambiguity_nb` is the `ambiguity` command."""
from ambiguity_nb.cli import main

if __name__ == "__main__":
    main()
