"""`python -m altgrad_core`: the program `altgrad`, as `torchrun -m altgrad_core` starts it."""

from altgrad_core.cli.main import main

if __name__ == "__main__":
    main()
