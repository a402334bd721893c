"""A page on which people try a model: what it can be asked, and the server that shows it."""
