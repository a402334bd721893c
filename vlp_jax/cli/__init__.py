"""The command line: `vlp-jax VERB …`."""
