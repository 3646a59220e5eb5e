"""What a file is read as: encodings that people still have on their disks, and files that are no text."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.text.encoding import SAMPLE, Binary, Readable, inspect

GERMAN = "Die Größe übertrifft alles, was wir für möglich hielten.\nSchöne Grüße aus Köln!\n" * 20
POLISH = "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.\n" * 20
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая по-своему.\n" * 20
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\r\n" * 20
KOREAN = "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.\n" * 20
CHINESE = "学而时习之，不亦说乎？有朋自远方来，不亦乐乎？人不知而不愠，不亦君子乎？\n" * 20
ENGLISH = "It is a truth universally acknowledged.\n" * 20


def _inspect(folder: Path, data: bytes) -> Readable | Binary:
    path = folder / "file"
    path.write_bytes(data)
    return inspect(path)


def _text(folder: Path, data: bytes) -> Readable:
    found = _inspect(folder, data)
    assert isinstance(found, Readable), found
    return found


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "cp1252"),
        (POLISH, "cp1250"),
        (POLISH, "iso8859-2"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "cp866"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc_jp"),
        (CHINESE, "gb18030"),
        (CHINESE.translate(str.maketrans("学时习说来乐远愠", "學時習說來樂遠怒")), "big5"),
        (KOREAN, "cp949"),
        (ENGLISH, "utf-16-le"),
        (RUSSIAN, "utf-16-be"),
    ],
)
def test_legacy_encodings_are_recognised_and_told(tmp_path: Path, text: str, encoding: str) -> None:
    """Without it, old files would be read as garbage and nobody would know why the answer is wrong."""
    found = _text(tmp_path, text.encode(encoding))
    assert (found.start, found.encoding, found.note) == (0, encoding, f"read as {encoding}")


@pytest.mark.parametrize("word", ["café", "Grüße, naïve résumé\n", "“quoted” — dashed\n"])
def test_a_few_western_letters_mean_the_commonest_code_page(tmp_path: Path, word: str) -> None:
    """Without it, short notes from Windows would come out with Polish or Turkish letters."""
    data = word.encode("cp1252")
    assert data.decode(_text(tmp_path, data).encoding) == word


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"\xef\xbb\xbf", "utf-8"),
        (b"\xff\xfe", "utf-16-le"),
        (b"\xfe\xff", "utf-16-be"),
        (b"\xff\xfe\0\0", "utf-32-le"),
        (b"\0\0\xfe\xff", "utf-32-be"),
    ],
)
def test_a_byte_order_mark_decides_and_is_left_out(tmp_path: Path, mark: bytes, encoding: str) -> None:
    """Without it, the first word of a Windows file would begin with an invisible character."""
    found = _text(tmp_path, mark + JAPANESE.encode(encoding))
    assert (found.start, found.encoding) == (len(mark), encoding)


@pytest.mark.parametrize(
    "text", [JAPANESE, ENGLISH, "\n" * 4096, "a"], ids=["japanese", "english", "newlines", "a"]
)
def test_plain_utf8_needs_no_note(tmp_path: Path, text: str) -> None:
    """Without it, every ordinary file would come with a warning."""
    assert _text(tmp_path, text.encode()) == Readable(0, "utf-8")


def test_broken_utf8_stays_utf8_and_is_counted(tmp_path: Path) -> None:
    """Without it, one damaged byte in a book would turn all its quotation marks into garbage."""
    data = bytearray(("“Curiouser and curiouser!” cried Alice.\n" * 2000).encode())
    data[100::7919] = b"\xff" * len(data[100::7919])
    found = _text(tmp_path, bytes(data))
    assert found.encoding == "utf-8"
    assert "are not UTF-8 and read as U+FFFD" in found.note


def test_stray_ff_in_pure_ascii_is_damage_not_latin(tmp_path: Path) -> None:
    """Without it, damaged English would be read in a code page that nobody used."""
    data = bytearray(ENGLISH.encode() * 100)
    data[::7919] = b"\xff" * len(data[::7919])
    found = _text(tmp_path, bytes(data))
    assert (found.encoding, found.note.split()[0]) == ("utf-8", str(len(data[::7919])))


def test_the_first_bad_byte_may_come_late(tmp_path: Path) -> None:
    """Without it, a Latin-1 file whose first accent is on page 100 would be read as broken UTF-8."""
    data = ENGLISH.encode() * 200 + GERMAN.encode("cp1252") + ENGLISH.encode() * 200
    assert len(data) > 6 * SAMPLE
    assert _text(tmp_path, data).encoding == "cp1252"


def test_text_with_some_control_bytes_is_text(tmp_path: Path) -> None:
    """Without it, terminal logs and slightly damaged files could not be read at all."""
    data = ENGLISH.encode() * 40 + b"\x1b[31mred\x1b[0m\0\f\v\x07" * 20 + ENGLISH.encode() * 40
    assert _text(tmp_path, data).encoding == "utf-8"


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"{\\rtf1 " + ENGLISH.encode(), "RTF"),
        (b"Rar!\x1a\x07" + bytes(100), "archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "picture"),
        (b"\x7fELF" + bytes(100), "binary"),
        (bytes(1000), "binary"),
        (ENGLISH.encode() * 500 + bytes(200_000), "binary"),
        (random.Random(1).randbytes(5000), "binary"),
        (b"\xff\xfe" + random.Random(2).randbytes(5000), "binary"),
    ],
    ids=["rtf", "rar", "png", "elf", "zeros", "late-zeros", "noise", "noise-after-bom"],
)
def test_binary_files_are_told_apart(tmp_path: Path, data: bytes, word: str) -> None:
    """Without it, an archive named by mistake would cost an hour of reading noise."""
    found = _inspect(tmp_path, data)
    assert isinstance(found, Binary), found
    assert word in found.kind


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_get_a_verdict_that_can_decode_them(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """Without it, a strange file would end the program with a traceback."""
    found = _inspect(tmp_path_factory.mktemp("bytes"), data)
    if isinstance(found, Readable):
        text = data[found.start :].decode(found.encoding, "replace")
        assert bool(text) == (found.start < len(data))


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=300))
def test_text_in_utf8_is_never_taken_for_another_encoding(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Without it, a short file in a rare script could be misread although its encoding is plain to see."""
    found = _inspect(tmp_path_factory.mktemp("text"), text.encode())
    assert isinstance(found, Binary) or found.encoding == "utf-8" or "\0" in text


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "cp866", "iso8859-5"])
@pytest.mark.parametrize(
    "text",
    ["Встреча завтра в десять\nНе опаздывай\n", "Купить хлеб\nи молоко\n", "Дорогой Иван!\nПриезжай.\n"],
)
def test_two_lines_of_russian_are_read_as_such(tmp_path: Path, text: str, encoding: str) -> None:
    """A note would be shown in Japanese letters, or in Russian ones that spell nothing."""
    assert _text(tmp_path, text.encode(encoding)).encoding == encoding


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Τι κάνεις;\nΚαλημέρα κόσμε, πώς είσαι σήμερα;\n", "cp1253"),
        ("会議は明日です。\n遅れないで。\n", "cp932"),
    ],
)
def test_two_lines_of_another_language_are_not_russian(tmp_path: Path, text: str, encoding: str) -> None:
    """Letters of many alphabets become Russian ones in one of its encodings."""
    assert _text(tmp_path, text.encode(encoding)).encoding == encoding
