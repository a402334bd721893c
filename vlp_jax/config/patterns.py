"""Regular expressions that a user has written in a config."""

import re


def regex(pattern: str, where: str = "") -> re.Pattern[str]:
    """Returns the compiled pattern; a ValueError that begins with `where` if it is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f'{where}"{pattern}" is no regular expression: {error}') from None
