"""From bytes to text: byte order marks, UTF-8, what the file says of itself, and older encodings by their looks."""

from __future__ import annotations

import codecs
import re

from rag.errors import DocumentsError

_MARKS = [
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
]
_DECLARED = re.compile(rb"""(?:<meta[^>]{0,200}charset|<\?xml[^>]{0,200}encoding)\s*=\s*["']?([\w.:-]{2,40})""", re.I)
# As browsers do: these names mean the Windows encoding, which has more characters.
_MEANT = {
    "iso-8859-1": "cp1252", "latin1": "cp1252", "us-ascii": "cp1252", "iso-8859-9": "cp1254",
    "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc-kr": "cp949",
}  # fmt: skip
_SAMPLE = 65_536

# No other text looks like this by chance, whereas single bytes of many encodings look like narrow katakana.
_JAPANESE = ("cp932", "euc_jp")
_HIRAGANA = re.compile("[ぁ-ゖ]")
_NARROW_KATAKANA = re.compile("[｡-ﾟ]")

# What Western European text in Windows-1252 has beyond ASCII; letters that are rare there speak for another encoding.
_LETTERS = frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüœßÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜŒ")
_SIGNS = frozenset("‘’“”„‚–—…•€£§©®™°·«»¡¿²³¼½¾±×µªº´\xa0\xad")
_INSIDE_WORDS = re.compile(r"(?<=[^\W\d_])[“”„‚…•€£§©®™°«»¡¿²³¼½¾±×µªº´](?=[^\W\d_])")
# Of languages: their encodings, the letters beyond ASCII, and the letters of ASCII that they do without. The first one
# into whose alphabet a short text fits is taken; in longer texts other things tell more.
_ALPHABETS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("cp1252",), "äöüß", ""),
    (("cp1252",), "àâæçéèêëîïôùûüÿœ", "kw"),
    (("cp1252",), "áéíñóúü", "kw"),
    (("cp1252",), "ãáâàçéêíõóôúü", "kwy"),
    (("cp1252",), "àèéìíòóùú", "jkwxy"),
    (("cp1252",), "åäöé", ""),
    (("cp1252",), "æøåé", ""),
    (("cp1250", "iso8859_2"), "ąćęłńóśźż", "qvx"),
    (("cp1250", "iso8859_2"), "áčďéěíňóřšťúůýžäľô", "qwx"),
    (("cp1250", "iso8859_2"), "áéíóöőúüű", "qwx"),
    (("cp1254",), "çğıöşüâî\u0307", "qwx"),
)
# Of languages in scripts of their own: their encodings, and the letters that make up two thirds of any text. The
# one is taken that has the most of these, as the same bytes are letters in all of them.
_SCRIPTS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("cp1251", "koi8_r", "iso8859_5", "cp866"), "[а-яёА-ЯЁ]", "оеаинтсрвл"),
    (("cp1251",), "[а-щьюяєіїґА-ЩЬЮЯЄІЇҐ]", "оаинтвіре"),
    (("cp1253", "iso8859_7"), "[ά-ώΆΈ-Ώΐ-Ϋ]", "αοιετσςνηυρίά"),
    (("cp1255",), "[א-ת]", "יוהלמאתרבש"),
)
_SHORT = 150  # bytes
_LEAST_COMMON = 0.45
_UNEVEN = re.compile(r"[^\W\d_a-zA-Z][a-zA-Z]|[a-zA-Z][^\W\d_a-zA-Z]|(?!ё)[а-яά-ώ][А-ЯΑ-Ω]")
_BESIDE_EACH_OTHER = re.compile(r"[À-ÿœ](?=[À-ÞàâãåæçëìíîïñòóôõøùúûüÿœŒäöáéè])")


def decode(raw: bytes) -> str:
    """
    The text of a file, with `\\n` line ends.

    Raises:
        DocumentsError: the bytes are no text, or text in an encoding that cannot be told.

    >>> decode("Grüße".encode("latin-1"))
    'Grüße'
    """
    return _unified(_decoded(raw))


def decode_declared(raw: bytes) -> str:
    """The text of an HTML or XML file, which may name its encoding in its first 2,048 bytes; see `decode`."""
    declared = None if _marked(raw) else _DECLARED.search(raw[:2048])
    name = declared[1].decode("ascii", "replace").lower() if declared else ""
    if name and name not in ("utf-8", "utf8") and not name.startswith(("utf-16", "utf16", "utf-32")):
        try:
            if not _is_binary(raw):
                return _unified(raw.decode(_MEANT.get(name, name), "replace"))
        except (LookupError, ValueError):
            pass  # a name that nobody knows, or a codec that is not for text
    return decode(raw)


def _unified(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _marked(raw: bytes) -> tuple[bytes, str] | None:
    return next(((mark, name) for mark, name in _MARKS if raw.startswith(mark)), None)


def _decoded(raw: bytes) -> str:
    marked = _marked(raw)
    if marked:
        return raw[len(marked[0]) :].decode(marked[1], "replace")
    wide = _wide_without_mark(raw[:4096])
    if wide:
        return raw.decode(wide, "replace")
    if _is_binary(raw):
        raise DocumentsError("binary, not text")
    if b"\x1b$" in raw[:_SAMPLE]:  # ISO-2022-JP is ASCII to the eye
        try:
            return raw.decode("iso2022_jp")
        except UnicodeDecodeError:
            pass
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return _older(raw)


def _is_binary(raw: bytes) -> bool:
    return b"\0" in raw[:8192]


def _wide_without_mark(head: bytes) -> str | None:
    """UTF-16 of mostly Latin text has a zero in every second byte, and hardly any in the others."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if half >= 4 and max(even, odd) > 0.6 * half and min(even, odd) < 0.02 * half:
        return "utf-16-be" if even > odd else "utf-16-le"
    return None


def _older(raw: bytes) -> str:
    mended = raw.decode("utf-8", "replace")
    broken, sound = mended.count("\ufffd"), sum(map(len, re.findall(r"[^\x00-\x7f\ufffd]+", mended)))
    if sound > 10 * broken:
        return mended  # UTF-8 with a few bad bytes: a cut or patched file
    sample = _sample(raw)
    if len(sample) < _SHORT and (fitting := _by_alphabet(sample)):
        return raw.decode(fitting, "replace")
    if _is_western(sample):
        return raw.decode("cp1252", "replace")
    from charset_normalizer import from_bytes

    guesses = [guess.encoding for guess in from_bytes(sample)]
    for encoding in (*_JAPANESE, *guesses):
        # On a few bytes, wide encodings make letters of anything.
        if encoding.startswith(("utf_16", "utf_32", "utf_7")):
            continue
        try:
            text = sample.decode(encoding)
            beyond = len(re.findall(r"[^\x00-\x7f]", text))
            if encoding in _JAPANESE and len(_HIRAGANA.findall(text)) < beyond * 0.2:
                continue
            if len(_NARROW_KATAKANA.findall(text)) > beyond * 0.2:
                continue
            return raw.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    raise DocumentsError("not UTF-8, and no other encoding fits: save it as UTF-8")


def _sample(raw: bytes) -> bytes:
    """The first lines that are not ASCII: they tell the encoding, however far down they are."""
    lines: list[bytes] = []
    size = 0
    for line in raw.split(b"\n"):
        if not line.isascii():
            lines.append(line)
            size += len(line)
            if size > _SAMPLE:
                break
    sample = b"\n".join(lines)
    if len(sample) > _SAMPLE:
        cut = max(sample.rfind(b" ", 0, _SAMPLE), sample.rfind(b"\n", 0, _SAMPLE))
        sample = sample[: cut if cut > 0 else _SAMPLE]
    return sample


def _by_alphabet(sample: bytes) -> str:
    """The encoding in which a short text is in one alphabet; empty if there is none."""
    for encodings, letters, foreign in _ALPHABETS:
        for encoding in encodings:
            text = _text_without_strange_signs(sample, encoding).lower()
            beyond = [character for character in text if character > "\x7f" and character not in _SIGNS]
            if beyond and set(letters).issuperset(beyond) and not set(foreign).intersection(text):
                return encoding
    shares: dict[str, float] = {}
    for encodings, letters, common in _SCRIPTS:
        for encoding in encodings:
            text = _text_without_strange_signs(sample, encoding)
            beyond = [character for character in text if character > "\x7f" and character not in _SIGNS]
            if len(beyond) > 1 and not _UNEVEN.search(text) and not re.sub(letters, "", "".join(beyond)):
                share = sum(character.lower() in common for character in beyond) / len(beyond)
                shares[encoding] = max(share, shares.get(encoding, 0.0))
    best = max(shares, key=shares.__getitem__, default="")
    return best if best and shares[best] >= _LEAST_COMMON else ""


def _text_without_strange_signs(sample: bytes, encoding: str) -> str:
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError:
        return ""
    return "" if _INSIDE_WORDS.search(text) else text


def _is_western(sample: bytes) -> bool:
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    beyond = [character for character in text if character > "\x7f"]
    if not all(character in _LETTERS or character in _SIGNS for character in beyond):
        return False
    special = sum(character in _LETTERS for character in beyond)
    letters = sum(map(str.isalpha, text))
    return (
        special <= max(2, letters * 0.25)
        and len(_INSIDE_WORDS.findall(text)) <= len(beyond) * 0.02
        and len(_BESIDE_EACH_OTHER.findall(text)) <= max(1, special * 0.2)
        and (letters > special or not special)
    )
