"""Lets `python -m vlp_jax` do what `vlp-jax` does."""

import sys

from vlp_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
