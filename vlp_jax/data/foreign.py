"""One guard for bytes that others have written: whatever parsing them raises is a ValueError."""

import contextlib
from collections.abc import Iterator

_LONGEST = 400  # characters of a reason; parsers put what they were given into theirs


@contextlib.contextmanager
def foreign_bytes(name: str = "") -> Iterator[None]:
    """Turns every error of parsing into a ValueError that begins once with `name`.

    Errors of the disk stay what they are: those are OSErrors with a number; a library's own
    OSErrors for damage (h5py, Pillow) have none.
    """
    try:
        yield
    except Exception as error:  # parsing hostile bytes can raise anything
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = _reason(error)
        named = not name or reason.startswith(name)
        raise ValueError(reason if named else f"{name}: {reason}") from None


def shortened(text: str, longest: int = _LONGEST) -> str:
    """Returns a text, cut to a length that a message can hold."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def listed(names: list[str], most: int = 5) -> str:
    """Returns the first names of a list joined by commas, and how many more there are."""
    shown = ", ".join(shortened(name, 60) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _reason(error: Exception) -> str:
    """Returns what a ValueError says; of another error also its kind, which is half of it."""
    text = shortened(str(error))
    if type(error) is ValueError:
        return text
    kind = type(error).__name__
    return f"{kind}: {text}" if text else kind
