"""Tokens of captions as the COCO evaluation counts them.

The published figures rest on the Stanford PTBTokenizer (CoreNLP 3.4.1, options `-preserveLines
-lowerCase`), a Java program of several hundred rules, and on a list of punctuation that is dropped
afterwards (pycocoevalcap 1.2). This is a tokeniser of our own with the same behaviour, found by
trying texts. Like its model it takes, at each place, the rule that reads furthest, and the earlier
of two that read equally far; what a rule must see behind its token counts as read.
"""

import re
from collections.abc import Iterable

from vlp_jax.metrics.caption_token_rules import GAP, PLAIN, RULES, Write

# What pycocoevalcap drops; its "-LRB-" and the like never match tokens in lower case.
_DROPPED = frozenset("'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;".split())
_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\u2028\u2029]")
# Control characters that Windows prints, as the characters they stand for.
_WINDOWS = str.maketrans("\x80\x91\x92\x93\x94\x96\x97\x85", "€‘’“”–—…")


def tokenize_caption(caption: str) -> str:
    """Returns the tokens of a caption in lower case, without punctuation, one blank between them.

    Line breaks of any kind count as blanks. (In the original some, such as a carriage return, move
    all later captions to the wrong image; see `ptb_lines`.)
    """
    (tokens,) = ptb_lines(_LINE_BREAK.sub(" ", caption))
    return " ".join(drop_punctuation(tokens))


def drop_punctuation(tokens: Iterable[str]) -> list[str]:
    """Returns the tokens that are not on pycocoevalcap's list of punctuation."""
    return [token for token in tokens if token not in _DROPPED]


def ptb_lines(text: str) -> list[list[str]]:
    """Returns the lower-case tokens, punctuation included, of each line of a text.

    A line ends at a line feed, carriage return, vertical tab, form feed, U+2028 or U+2029. A token
    may hold a no-break space, between the parts of a telephone number or of a mixed fraction.
    """
    text, place, lines = f"{text.translate(_WINDOWS)}\n", 0, [[]]
    while place < len(text):
        if found := PLAIN.match(text, place):
            lines[-1].append(found[0].lower())
            place = found.end()
        elif found := GAP.match(text, place):
            lines.extend([] for _ in _LINE_BREAK.findall(found[0]))
            place = found.end()
        else:
            found, write = _furthest(text, place)
            lines[-1].extend(token.lower() for token in write(found[1]))
            place = found.end(1)
    return lines[:-1]


def _furthest(text: str, place: int) -> tuple[re.Match[str], Write]:
    """Returns the match that ends last: its token is group 1, what must follow lies behind it."""
    matches = ((pattern.match(text, place), write) for pattern, write in RULES)
    return max((m for m in matches if m[0]), key=lambda match: match[0].end())
