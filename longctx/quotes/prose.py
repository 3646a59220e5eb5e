"""What a text looks like: words, headings, prose or code. Knows no files."""

import re
import unicodedata
from functools import cache
from pathlib import Path

from longctx.text.offsets import line_ends

LONGEST_HEADING = 100
MOST_SYMBOLS = 0.08  # prose in any language stays below 0.05, code and logs are above 0.1

LINE = re.compile(r"[^\r\n]*(?>\r\n|\r|\n)|[^\r\n]+")
_DIGIT = re.compile(r"[0-9]")
_SYMBOL = re.compile(r"[_{}()\[\]=<>/\\|*#&@$%+~^`]")
_INDENTED = re.compile(r"^[ \t]{2,}\S", re.MULTILINE)

# East Asian writing, Thai, Lao, Burmese and Khmer put no spaces between words; Korean endings stick to them.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3031-\u3035\u3041-\u30fa\u30fc-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+"
)
_HUMPED = re.compile(r"[a-z0-9][A-Z]|[A-Z]{2}[a-z]")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+")

_MARKDOWN_HEADING = re.compile(r"(#{1,6})[ \t]+\S")
_UNDERLINE = re.compile(r"(=|-)\1{2,}$")
_NAMED_HEADING = re.compile(
    r"(?P<wide>BOOK|Book|PART|Part|VOLUME|Volume|[A-Z]+ EPILOGUE)"
    r"|CHAPTER|Chapter|SECTION|Section|LETTER|Letter|CANTO|Canto|ACT|Act|SCENE|Scene|PROLOGUE|Prologue"
    r"|EPILOGUE|Epilogue|PREFACE|Preface|APPENDIX|Appendix"
)
_AFTER_NAME = re.compile(r"[ \t]+(?:the[ \t]+)?(?:\d+|[A-Z]+|[A-Z][a-z]+)(?![\w'])|[ \t]*(?:[.:]|$)")
_LONG_WORD = re.compile(r"[^\W\d_]{2,}")
_NUMBER_HEADING = re.compile(r"(?:[IVXLC]+|\d{1,3})\.?$")

END_OF_SENTENCE = re.compile(r"[.!?…。！？｡؟।][\"'”’»)\]」』*_]*$")

# The first docstring or comment of a program; "#" before a letter or "!" is for a preprocessor or the shell.
COMMENT = re.compile(
    r"\"{3}(?P<double>.*?)\"{3}|'{3}(?P<single>.*?)'{3}|/\*+(?P<block>.*?)\*/"
    r"|(?P<lines>(?:^[ \t]*(?:#(?![\w!\[])|//|--[ \t]|;+[ \t])[^\r\n]*(?:\r\n|\r|\n|\Z))+)",
    re.DOTALL | re.MULTILINE,
)
_CODE_LINE = re.compile(
    r"^[ \t]*(?:#include|import|from \S+ import|(?:class|def|fn|func|function|package|use|const|let|var"
    r"|public|private|static|void|int|struct|enum|impl|module|namespace|export)\b.*[({;:=])",
    re.MULTILINE,
)


def words(text: str) -> list[str]:
    """List the words; scripts without word spaces give overlapping pairs of characters instead."""
    if text.isascii():
        return _ASCII_WORD.findall(text)
    text = with_pairs(text)
    return "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text).split()


@cache
def common_words() -> frozenset[str]:
    """Return English function words: they say nothing about the subject of a text or a question."""
    return frozenset(Path(__file__).with_name("common_words.txt").read_text(encoding="utf-8").split())


def with_pairs(text: str) -> str:
    """Write runs of characters without word spaces as overlapping pairs and a last single character.

    An index of words then finds any two neighbouring characters, and a single one as the start of a pair.
    """
    return text if text.isascii() else _UNSPACED.sub(_pairs, text)


def unspaced_characters(text: str) -> int:
    """Count the characters of scripts without word spaces."""
    return 0 if text.isascii() else sum(map(len, _UNSPACED.findall(text)))


def _pairs(run: re.Match[str]) -> str:
    return f" {' '.join(run[0][i : i + 2] for i in range(len(run[0])))} "


def humps(text: str) -> str:
    """Write the parts of names such as CamelCase and HTTPServer as words of their own."""
    if not _HUMPED.search(text):
        return ""
    return " ".join(word for word in _HUMP.sub("\0", text).split() if "\0" in word).replace("\0", " ")


def heading_level(paragraph: str) -> int | None:
    """Tell how deep a heading is (1 = widest), or None for text.

    Headings are Markdown headings, names such as CHAPTER and what follows, lone numbers and lines in
    capitals; each has at most two lines, between blank lines.
    """
    if len(paragraph) > 4 * LONGEST_HEADING and len(paragraph.rstrip()) > 2 * LONGEST_HEADING:
        return None
    lines = [line.strip() for line in LINE.findall(paragraph.strip())]
    if not lines or len(lines) > 2 or max(map(len, lines)) > LONGEST_HEADING:
        return None
    if markdown := _MARKDOWN_HEADING.match(lines[0]):
        return len(markdown[1])
    if len(lines) == 2 and (underline := _UNDERLINE.match(lines[1])):
        return 1 if underline[1] == "=" else 2
    return _plain_heading_level(lines[0], alone=len(lines) == 1)


def _plain_heading_level(line: str, alone: bool) -> int | None:
    if (named := _NAMED_HEADING.match(line)) and _AFTER_NAME.match(line, named.end()):
        # "Section 8 applies to all of them." begins like a heading but ends like a sentence.
        sentence = named[0] != named[0].upper() and re.search(r"[a-z][.,;]", line)
        return None if sentence else 2 if named["wide"] else 3
    if alone and _NUMBER_HEADING.match(line):
        return 4
    return 5 if alone and line.isupper() and len(_LONG_WORD.findall(line)) > 1 else None


def is_code(text: str) -> bool:
    """Recognise program text by a comment at its top, its declarations or its symbols."""
    return _opens_with_comment(text.lstrip()) or bool(_CODE_LINE.search(text)) or not is_prose(text)


def _opens_with_comment(text: str) -> bool:
    """Tell a comment from a heading: one line behind "# " may be a heading of Markdown."""
    found = COMMENT.match(text)
    return found is not None and not (found["lines"] and re.fullmatch(r"#{1,6} [^\r\n]*\s*", found["lines"]))


def is_prose(text: str) -> bool:
    """Tell prose from code, logs and tables by its share of symbols, digits and indented lines."""
    # Four digits count as one symbol: "In 1805, 20,000 men fell." is prose; a line of a log seldom is.
    if len(_SYMBOL.findall(text)) + len(_DIGIT.findall(text)) / 4 > MOST_SYMBOLS * len(text):
        return False
    lines = line_ends(text.strip()) + 1
    return lines < 3 or len(_INDENTED.findall(text)) <= 0.5 * lines


def within_bracket(before: str, text: str) -> str:
    """Cut a text where a bracket opened before it closes: `a, b` of `a, b) -> int:`."""
    opened = depth = before.count("(") - before.count(")")
    for end, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if 0 <= depth < opened and end:
            return text[:end].rstrip()
    return text
