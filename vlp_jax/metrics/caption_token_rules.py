"""The rules of `caption_tokens`: what a token looks like, and how it is written."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

Write = Callable[[str], Sequence[str]]

# Words that are two: the second begins at the fourth letter.
_SPLIT_WORDS = "cannot gonna gotta lemme gimme wanna".split()
# Short forms before a name: their full stop never ends a sentence.
_TITLES = """
adj adm adv alex asst atty attys ave brig capt cf cie cmdr col comdr cpl det dr drs elec ens ft gen
gov govs hon insp invt jos lieut lt maj messrs mfg mlle mme mr mrs ms msgr mt mtg natl ph pfc pres
prof profs pvt rep reps rev sen sens sfc sgt spc st ste supt supts vs wm dept
""".split()
# Others, which may end a sentence.
_ABBREVIATIONS = """
al ala apr ariz assn assoc aug bancorp bhd bldg blvd bros calif co colo conn corp cos ct dak dec esq
est etc ext feb fla fri ga inc ind intl jan jr jul jun kan kans ky ltd mar md mich minn mo mon mont
neb nev nov oct okla penn plc ppte ppty pte ptes pty ptys rd rt sep sept seq sq sr sys tel tenn thu
thurs tue tues univ va vt wed wis wisc wyo
""".split()
_CAPITAL_ABBREVIATIONS = "az ark del ill la mass miss ore pa tex wash".split()
_BEFORE_NUMBERS = "art ca fig figs no nos op pp prop".split()
# Words with an apostrophe of their own, which is no quotation mark and begins no second word.
_APOSTROPHE_WORDS = """
'cause 'em 'til 'till dunkin' e'er hallowe'en ma'am nat'l ne'er nor'easter ol' qu'il qu'elle
s'mores somethin' ta'en ev'ry
""".split()
# Words that, with a capital, show that the full stop of initials before them ends a sentence.
_SENTENCE_STARTERS = """
a about according additionally after an as at but earlier he her here however if in it last many
more now once one other our she since so some such that the their then there these they this we
what when while yet you
""".split()
_FILE_ENDINGS = """
bat bmp bz2 c class cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl
png ppt ps py sql tar txt wav x xml zip
""".split()

_BRACKETS = {"(": "-LRB-", ")": "-RRB-", "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-"}
_WRITTEN = _BRACKETS | {
    "£": "#", "€": "$", "¤": "$", "₠": "$", "¢": "cents", "\xad": "-",
    "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3",
    "“": "``", "«": "``", "”": "''", "»": "''", "‘": "`", "‛": "`", "‹": "`", "’": "'", "›": "'",
    "–": "--", "—": "--", "―": "--", "…": "...",
    "&amp;": "&", "&lt;": "<", "&gt;": ">", "&apos;": "'",
}  # fmt: skip


def _as(*tokens: str) -> Write:
    return lambda token: tokens


def _mark(token: str) -> list[str]:
    return [_WRITTEN.get(token.lower(), token)]


def _word(token: str) -> list[str]:
    return [token.replace("\xad", "").replace("&amp;", "&") or "-"]


def _clitic(token: str) -> list[str]:
    """Writes the ending of a contraction with a plain apostrophe, or a plain backquote."""
    return [re.sub("&apos;|[’‘‛]", lambda mark: _WRITTEN[mark[0]], token)]


def _glued(token: str) -> list[str]:
    """Writes what is one token in spite of the blanks and brackets in it."""
    token = "".join(_BRACKETS.get(character, character) for character in token)
    return [token.replace(" ", "\xa0")]


def _face(token: str) -> list[str]:
    return [token.replace("(", "-LRB-").replace(")", "-RRB-")]


def _quotes(token: str) -> list[str]:
    """Writes two quotation marks side by side, which are one token."""
    return ["".join(_WRITTEN.get(mark, mark) for mark in token)]


def _split(token: str) -> list[str]:
    return [token[:3], token[3:]]


def _with_stop(token: str) -> list[str]:
    """Writes an abbreviation that ends a sentence: its full stop counts twice."""
    return [token, "."]


def _one_of(words: Iterable[str]) -> str:
    return f"(?i:{'|'.join(re.escape(w) for w in sorted(words, key=len, reverse=True))})"


def _range_of(characters: Iterable[int]) -> str:
    """Returns the inside of a character class; neighbours are joined to ranges."""
    ranges: list[list[int]] = []
    for code in sorted(characters):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(rf"\u{first:04x}-\u{last:04x}" for first, last in ranges)


def _is_letter(code: int) -> bool:
    """Whether a character is part of words. Marks that only dress emoji are dropped."""
    kind = unicodedata.category(chr(code))
    if kind in ("Mn", "Mc", "Nd"):
        return code > 0x7F and not (0x20D0 <= code <= 0x20FF or 0xFE00 <= code <= 0xFE6F)
    return kind[0] == "L" or code == 0xAD or (kind == "Sk" and 0x2C2 <= code <= 0x2FF)


def _is_symbol(code: int) -> bool:
    """Whether a character below U+2000 is a token by itself."""
    kind = unicodedata.category(chr(code))
    return not _is_letter(code) and (kind[0] in "PS" or kind == "No") and code != 0x58A


_BMP = [code for code in range(0x10000) if not 0xD800 <= code < 0xE000]
_L = _range_of(filter(_is_letter, _BMP))
_SYMBOL = _range_of(filter(_is_symbol, range(0x2000))) + (
    "‖‗‚„-‣‰-‸※‾-⁂⁄⁰⁴-⁾₀-₎₤–-―‘’‛-”…‹›₠€⅓⅔⅕-⅞℀℁℃-℆℈℉℔№-℘℞-℣℥℧℩℮℺℻⅀-⅄⅊-⅍⅏←-⯿"
    "、。〒・！-／：-＠［-｀｛-･￠￡￥￦"
)

# Parts of the patterns below.
_GAP = r"[ \t\n\r\v\f\u2028\u2029]"
_APOS = "(?:['’]|&apos;)"
_CLITIC = "(?:[msdMSD]|(?i:re|ve|ll))"
_NT = "[nN]['’`‘‛][tT]"
_PART = f"[{_L}0-9]+"
_ELIDED = f"(?:[dDoOlL]['’`‘‛](?=[A-Za-z0-9][{_L}0-9]))?"
_WORD = f"[{_L}][{_L}0-9]*(?:[.!?][{_L}][{_L}0-9]*)*"
_HYPHENED = f"{_ELIDED}{_PART}(?:[-_֊‐‑]{_ELIDED}{_PART})*"
_INITIALS = r"[A-Za-z](?:\.[A-Za-z])+\."
_MAY_END = (
    rf"(?:{_one_of(_ABBREVIATIONS)}|(?=[A-Z]){_one_of(_CAPITAL_ABBREVIATIONS)}|"
    r"(?i:ph|ed)\.[Dd])\."
)
_NEXT_SENTENCE = f"{_GAP}{{1,2}}[A-Z]"
_STARTER = f"{_GAP}{{1,2}}(?:(?=[A-Z]){_one_of(_SENTENCE_STARTERS)}{_GAP}|Mr\\.)"
_NUMBER = "(?:[0-9]*(?:[.:,][0-9]+)+|[0-9]+)"
_SLASHED = "[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
_NAME = "[A-Za-z][A-Za-z0-9_:.-]*"
_VALUE = f"(?:'[^'\r\n]*'|\"[^\"\r\n]*\"|{_NAME})"
_HOST = r"[^ \t\n\f\r\"<>|.!?(){}\[\],\-_$^'`:=/;@\\]+"
_WWW_HOST = r"[^ \t\n\f\r\"<>|.!?(){}\[\],$^'`:=/;@\\]+"
_PATH = r"[^ \t\n\f\r\"<>|(){}]+[^ \t\n\f\r\"<>|.!?(){},-]"
_MAIL_PART = r"[^ \t\n\f\r\"<>|(){}.\xa0]+"

_PATTERNS: tuple[tuple[str, Write], ...] = (
    # Contractions, before words: of equally long readings the first counts.
    (f"({_one_of(_SPLIT_WORDS)})", _split),
    (f"([A-Za-z]*[A-MO-Za-mo-z]){_NT}", _word),
    (f"((?i:c'mon)|[A-HJ-XZn]['’][{_L}]{{2,}}|[lLdDjJ]['’])", _word),
    (f"({_NT})[^A-Za-z]", _clitic),
    (f"((?:'|&apos;){_CLITIC})[^A-Za-z]", _clitic),
    (f"(’{_CLITIC})", _clitic),
    ("('[tT])(?i:is|was)", _word),
    ("([yY]['’])[A-Za-z]{2}", _word),
    (f"({_one_of(_APOSTROPHE_WORDS).replace(chr(39), _APOS)}|{_APOS}[nN]{_APOS}?)", _word),
    (f"({_APOS}[2-9]0[sS])", _word),
    (f"({_APOS}[0-9][0-9]){_GAP}", _word),
    # Words.
    (f"({_WORD})", _word),
    (f"({_WORD}\\.?(?:-{_PART})+)", _word),
    ("([A-Za-z0-9]+(?:,[A-Za-z0-9]+)+(?:-[A-Za-z0-9]+)+)", _word),
    (f"({_HYPHENED})", _word),
    ("([A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+)", _word),
    (f"({_SLASHED}(?:\\\\?/{_SLASHED}){{1,2}})", _word),
    (f"((?:[A-Za-z0-9]+[.])+(?:{'|'.join(_FILE_ENDINGS)}))(?![A-Za-z0-9])", _word),
    # Abbreviations.
    (f"({_MAY_END}){_NEXT_SENTENCE}", _with_stop),
    (f"({_INITIALS}){_STARTER}", _with_stop),
    (f"([A-Za-z])\\.{_STARTER}", _word),
    (f"({_MAY_END})[\\s\\S]{{2}}", _word),
    (f"({_MAY_END}|{_INITIALS}(?:-{_PART})*|(?:[A-Za-z]|{_one_of(_TITLES)})\\.)", _word),
    (f"({_one_of(_BEFORE_NUMBERS)}\\.) ?[0-9]", _word),
    (f"((?:{_WORD}|{_HYPHENED})\\.)[,:;、]", _word),
    # Numbers.
    (f"([-+]?{_NUMBER}|[0-9]{{1,2}}[-/][0-9]{{1,2}}[-/][0-9]{{2,4}})", _word),
    ("((?:[0-9]{1,4}[- \xa0])?[0-9]{1,4}(?:\\\\?/|⁄)[0-9]{1,4})", _glued),
    (r"(\([0-9]{2,3}\)[ \xa0]?[0-9]{3,4}[- \xa0]?[0-9]{3,5})", _glued),
    (
        r"((?:\+\+?)?(?:[0-9]{2,4}[- \xa0])?[0-9]{2,4}[- \xa0][0-9]{3,4}[- \xa0]?[0-9]{3,5})",
        _glued,
    ),
    (r"((?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5})", _word),
    (r"([A-Z]*\$)", _word),
    # The net.
    (f"((?i:https?)://{_PATH})", _word),
    (rf"(www\.(?:{_WWW_HOST}\.)+[A-Za-z]{{2,4}}(?:/{_PATH})?)", _word),
    (rf"((?:{_HOST}\.)+(?:com|net|org|edu)(?:/{_PATH})?)", _word),
    (rf"(<?[A-Za-z0-9][^ \t\n\f\r\"<>|(){{}}\xa0]*@(?:{_MAIL_PART}\.)*{_MAIL_PART}>?)", _word),
    (f"(@[A-Za-z_][A-Za-z_0-9]*|#[{_L}]+)", _word),
    (rf"(</?{_NAME}(?: +{_NAME}(?: *= *{_VALUE})?)* */? *>|<[!?][A-Za-z-][^>\r\n]*>)", _glued),
    (r"(&(?i:amp|lt|gt|apos);)", _mark),
    (r"(&#[0-9]+;)", _word),
    # Faces.
    (r"([<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]])[^A-Za-z0-9]", _face),
    (r"([-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][_.]?[-^x=~<>']\))", _face),
    # Marks.
    ("(\"|&quot;)[A-Za-z0-9$]", _as("``")),
    ("(''|\"|&quot;)", _as("''")),
    ("(')[A-Za-z][^ \t\n\r]", _as("`")),
    ("([“”‘’«»‹›`]{2})", _quotes),
    ("(--+)", _as("--")),
    (r"(\.{3,5}|\.(?: \.){2,3})", _as("...")),
    (r"(``|[?!]+|_+|\*+|#+|@+|<<|>>)", _word),
    (f"([{_SYMBOL}])", _mark),
)  # fmt: skip
RULES = tuple((re.compile(pattern), write) for pattern, write in _PATTERNS)

# What lies between tokens: blanks, and characters that are dropped, such as emoji.
GAP = re.compile(f"(?:[^{_L}0-9{_SYMBOL}]|&nbsp;)+")
# Words in running text, of which no rule can make anything else.
PLAIN = re.compile(f"(?!{_one_of(_SPLIT_WORDS)}{_GAP})[A-Za-z]+(?:-[A-Za-z]+)*(?={_GAP})")
