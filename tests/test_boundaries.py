"""Cuts are where the parts of a text split exactly as the whole does, for any text, and prose has many."""

from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from longctx.tokens.boundaries import Boundaries, NotProvableError

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CL100K = (
    CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + CONTRACTIONS + "?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + CONTRACTIONS + "?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
POSSESSIVE = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
UNKNOWN = (
    *(
        r"(?<=a)b",
        r"(?<!a)b",
        r"\bword",
        r"^a",
        r"a$",
        r"a\z",
        r"\Ga",
        r"(a)\1",
        r"(?i)a",
        r"a\Kb",
        r"(?<n>a)",
    ),
    *(r"\X", r"[a&&[b]]", r"[[:alpha:]]", r"\xe9", "(a", "a)", "[a", "a{", "+a", "\\"),
)
CHINESE = "[一-龥぀-ゟ゠-ヿ]+"


def split(pattern: str, behavior: str = "Isolated", invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def byte_level(use_regex: bool = True, add_prefix_space: bool = False) -> dict[str, Any]:
    settings = {"add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}
    return {"type": "ByteLevel", **settings}


def digits(individual: bool = True) -> dict[str, Any]:
    return {"type": "Digits", "individual_digits": individual}


def sequence(*stages: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(stages)}


def boundaries(stage: dict[str, Any] | None, **more: Any) -> Boundaries:
    return Boundaries({"model": {"type": "BPE"}, "normalizer": None, "pre_tokenizer": stage, **more})


def library(stage: dict[str, Any]) -> pre_tokenizers.PreTokenizer:
    """Build the library's pre-tokeniser independently of how the code under test reads the description."""
    match stage["type"]:
        case "Sequence":
            return pre_tokenizers.Sequence([library(one) for one in stage["pretokenizers"]])
        case "Digits":
            return pre_tokenizers.Digits(individual_digits=stage["individual_digits"])
        case "ByteLevel":
            return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=stage["use_regex"])
    pattern = Regex(stage["pattern"]["Regex"])
    return pre_tokenizers.Split(pattern, stage["behavior"].lower(), invert=stage["invert"])


PROVABLE = {
    "gpt2": byte_level(),
    "digits-gpt2": sequence(digits(), byte_level()),
    "digit-groups-gpt2": sequence(digits(individual=False), byte_level()),
    "cl100k": sequence(split(CL100K), byte_level(use_regex=False)),
    "cl100k-removed": sequence(split(CL100K, "Removed", invert=True), byte_level(use_regex=False)),
    "o200k": sequence(split(O200K), byte_level(use_regex=False)),
    "possessive": sequence(split(POSSESSIVE), byte_level(use_regex=False)),
    "three-splits": sequence(
        split(r"\p{N}{1,3}"), split(CHINESE), split(CL100K), byte_level(use_regex=False)
    ),
    "gaps": sequence(split("[A-Z][a-z]+|[0-9]+"), split(r"\s+", "Removed"), byte_level()),
}
WORDS = (
    *(
        "the",
        "The",
        "a",
        "Z",
        "don't",
        "I'LL",
        "'s",
        "'",
        "''",
        "'ſ",
        "ß",
        "é",
        "e\u0301",
        "日本",
        "かな",
        "語。",
        "и",
    ),
    *(" ", "  ", "\t", "\n", "\r", "\r\n", "\n\n", "\u00a0", "\u3000", "\u2028", "\x85", "\x0b", "\0"),
    *(
        "1",
        "22",
        "4096",
        "٣",
        "½",
        "Ⅷ",
        ",",
        ".",
        "...",
        "/",
        "<|end|>",
        "—",
        "🎉",
        "👩‍💻",
        "\u200d",
        "ǅ",
        "ʰ",
    ),
)
TEXTS = st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=14).map("".join)
Pieces = list[tuple[str, tuple[int, int]]]


def check_every_cut(found: Boundaries, whole: pre_tokenizers.PreTokenizer, text: str) -> int:
    """Assert that each proven cut really is one; return their number."""
    pieces: Pieces = whole.pre_tokenize_str(text)
    cuts = [place for place in range(1, len(text)) if found.between(text[place - 1 : place + 1])]
    for cut in cuts:
        left: Pieces = whole.pre_tokenize_str(text[:cut])
        right: Pieces = whole.pre_tokenize_str(text[cut:])
        assert left + [(piece, (a + cut, b + cut)) for piece, (a, b) in right] == pieces, (text, cut)
    return len(cuts)


@pytest.mark.parametrize("name", PROVABLE)
@given(text=TEXTS)
@example(text="a  \n  b \r\n\r\n c   ")
@example(text="x's 'Sx 'lL 123456 7")
def test_parts_split_as_the_whole_does(name: str, text: str) -> None:
    """Without it the tokens of a long text would depend on where the windows happen to end."""
    check_every_cut(boundaries(PROVABLE[name]), library(PROVABLE[name]), text)


ATOMS = st.sampled_from(
    (
        "a",
        "b",
        " ",
        ",",
        "1",
        ".",
        r"\s",
        r"\S",
        r"\d",
        "[ab]",
        "[^a]",
        "[^ 1]",
        r"\p{L}",
        "(?i:ab)",
        "(?i:[ab])",
    )
)
SETS = st.sampled_from(("a", r"\s", "[ab]", "[^,]", "b1"))


def grow(patterns: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def repeat(pattern: str, times: str) -> str:
        return f"(?:{pattern}){times}"

    times = st.sampled_from(("?", "*", "+", "{2}", "{1,2}", "{,2}", "+?", "?+", "*+"))
    return (
        st.builds("{}{}".format, patterns, patterns)
        | st.builds("(?:{}|{})".format, patterns, patterns)
        | st.builds(repeat, patterns, times)
        | st.builds("{}(?!{})".format, patterns, SETS)
        | st.builds("(?={}){}".format, SETS, patterns)
        | st.builds("(?>{})".format, patterns)
    )


PATTERNS = st.lists(st.recursive(ATOMS, grow, max_leaves=4), min_size=1, max_size=4).map("|".join)


@settings(max_examples=300)
@given(
    pattern=PATTERNS,
    before=st.booleans(),
    behavior=st.sampled_from(("Isolated", "Removed")),
    invert=st.booleans(),
    texts=st.lists(st.text(alphabet="abA1, \n", max_size=12), min_size=3, max_size=6),
)
def test_the_proof_holds_for_any_pattern(
    pattern: str, before: bool, behavior: str, invert: bool, texts: list[str]
) -> None:
    """Checkpoints bring patterns of their own: a wrong proof for one of them would change its tokens."""
    stage = split(pattern, behavior, invert)
    if before:
        stage = sequence(digits(individual=False), stage)
    try:
        found = boundaries(stage)
    except NotProvableError:
        assume(False)
    for text in texts:
        check_every_cut(found, library(stage), text)


@pytest.mark.parametrize(
    ("pattern", "pair"),
    [
        ("a(?:b?c)", "ac"),
        ("(?:a|b?)c", "ac"),
        ("ab?c", "ac"),
        ("a(?!b)c", "ac"),
        ("a(?!b)", "ab"),
        ("(?:ab)+", "ba"),
        ("x(?:ab)*", "ba"),
        ("x(?:ab){1,2}", "ba"),
        ("a{2}", "aa"),
        ("a{,3}b", "ab"),
        ("a++b", "ab"),
        ("(a|c)(?=b)", "cb"),
        ("'(?i:ss)", "'ß"),
        ("(?i:x[kl])y", "\u212ay"),
        (r"\p{L}\p{M}*", "e\u0301"),
    ],
)
def test_what_is_read_in_a_row_is_not_cut(pattern: str, pair: str) -> None:
    """One forgotten way through a pattern is one wrong cut, in a text that nobody looks at."""
    assert not boundaries(split(pattern + r"|[\s\S]")).between(pair)


@pytest.mark.parametrize("name", sorted(set(PROVABLE) - {"gaps"}))
@pytest.mark.parametrize(
    "text",
    [
        "It was the best of times, it was the worst of times; and don't forget 1859.",
        "子曰：「學而時習之，不亦說乎？」有朋。",
    ],
    ids=["english", "chinese"],
)
def test_prose_has_cuts_at_most_words(name: str, text: str) -> None:
    """A proof that allows no cuts would be safe and useless: a 30 MB line would be held in memory at once."""
    pieces: Pieces = library(PROVABLE[name]).pre_tokenize_str(text)
    assert check_every_cut(boundaries(PROVABLE[name]), library(PROVABLE[name]), text) >= len(pieces) // 3


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        (None, "does not split"),
        (byte_level(use_regex=False), "does not split"),
        # After ByteLevel a space is a letter: what splits there is not what splits the text.
        (sequence(byte_level(use_regex=False), split(r"\p{L}+|\s+")), "does not split"),
        (byte_level(add_prefix_space=True), "adds a space"),
        (split(r"\s+", "MergedWithPrevious"), "joins neighbours"),
        (split(r"\s+", "Contiguous"), "joins neighbours"),
        ({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}, "Metaspace"),
        (sequence(split(CL100K), {"type": "BertPreTokenizer"}), "BertPreTokenizer"),
        (split(r"\p{L}*"), "match nothing"),
        *((split(pattern), "something unknown") for pattern in UNKNOWN),
        (split("(?i:ß)"), "ignores case"),
        (split("(?i:[é])"), "ignores case"),
    ],
    ids=str,
)
def test_what_is_not_proven_is_refused(stage: dict[str, Any] | None, reason: str) -> None:
    """A guess here would be a silent change of tokens; refused tokenizers are used on whole documents."""
    with pytest.raises(NotProvableError, match=reason):
        boundaries(stage)


@pytest.mark.parametrize(
    "more",
    [{"normalizer": {"type": "NFC"}}, {"model": {"type": "BPE", "dropout": 0.1}}],
    ids=["normalizer", "dropout"],
)
def test_normalizers_and_dropout_are_refused(more: dict[str, Any]) -> None:
    """Normalisation joins characters over a cut, and dropout never gives the same tokens twice."""
    with pytest.raises(NotProvableError):
        boundaries(byte_level(), **more)


def test_a_literal_pattern_is_a_pattern() -> None:
    """Some checkpoints split at a plain string; its characters must not be read as a regular expression."""
    stage = {"type": "Split", "pattern": {"String": "."}, "behavior": "Isolated", "invert": False}
    assert boundaries(stage).last("a.b", 0, 3) == 2
    assert boundaries(stage).first("ab", 0) == 0


def test_a_line_end_is_never_cut() -> None:
    """Lines are counted part by part: a cut inside one line end would count it twice."""
    stage = split(r"[\s\S]")
    assert not boundaries(stage).between("\r\n")
    assert boundaries(stage).between("\n\r")


def test_first_and_last_search_where_they_are_told() -> None:
    """An off-by-one here would cut outside the window or stop the stream."""
    found = boundaries(byte_level())
    text = "ab cd ef"
    assert [found.last(text, 0, stop) for stop in range(9)] == [0, 0, 2, 2, 2, 5, 5, 5, 5]
    assert [found.first(text, start) for start in range(9)] == [2, 2, 5, 5, 5, 0, 0, 0, 0]
    assert found.last(text, 2, 4) == 0
