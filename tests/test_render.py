"""Results as people read them, and as programs do."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longctx import render
from longctx.plan import Plan
from longctx.progress import Usage
from longctx.render import MATCHING, WIDER, answer_text, answer_values, duration, quick_line, short
from longctx.styles import PLAIN, Style
from longctx.tasks.results import Answer, Part, Quotation, Report, Trial, Written, wilson
from longctx.text.document import Corpus, Cut, Document, Skipped
from longctx.text.span import Quote, Span

DOCUMENT = Document("notes/a\x1b.txt", Path("a.txt"), 0, 100, "utf-8")


def quote(text: str, line: int, score: float | None = None) -> Quote:
    return Quote(Span(DOCUMENT, 10 * line, 10 * line + len(text), line, line), text, score)


LINE = quote("The code is K7-R2P.", 3, 2.5)


def lines(answer: Answer, *, streamed: bool = False, style: Style = PLAIN) -> list[str]:
    return answer_text(answer, streamed=streamed, style=style).split("\n")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer("found", "K7", LINE, "look-up"), "looked up in the text itself; no model was asked"),
        (
            Answer("found", "K7", LINE, "model", confidence=0.876),
            "found in the text; the line is quoted; 87 % likely to be right",
        ),
        (
            Answer("found", "K7", LINE, "model", confidence=1.0),
            "found in the text; the line is quoted; 99 % likely to be right",
        ),
        (Answer("not found", "", by="model"), "the model found no such fact"),
        (
            Answer("not found", "", by="model", evidence=[LINE]),
            "the model found no such fact; the passages below match the question best",
        ),
        (
            Answer("not found", "", by="model", evidence=[replace(LINE, score=0.0)]),
            "the model found no such fact",
        ),
        (Answer("not found", "", matched=False), "no telling word of the question stands in the text"),
        (Answer("not found", "", matched=True), "no answer was found"),
        (Answer("not found", ""), "no answer was found"),
        (Answer("generated", "K7"), "written by the model from what it read"),
    ],
)
def test_an_answer_says_how_sure_it_is(answer: Answer, said: str) -> None:
    """A guess would be read as a fact, a fact as a guess, or words that are not there looked for below."""
    assert f"[{said}]" in lines(answer)


def test_an_answer_stands_with_its_line_and_both_are_harmless() -> None:
    """Nobody could check it; or a name of a file would write to the terminal."""
    told = lines(Answer("found", "K7\x1b[2J", LINE, "look-up", evidence=[LINE]))
    assert told[:2] == ["K7\ufffd[2J", "  notes/a\ufffd.txt:3: The code is K7-R2P."]
    assert told[-4:] == [MATCHING, "", "notes/a\ufffd.txt:3", "  The code is K7-R2P."]
    assert lines(Answer("generated", "K7"), streamed=True)[0] == ""
    told = lines(Answer("found", "K7", LINE, "look-up"), style=Style(False, "", "notes/"))
    assert told[1].startswith("  a\ufffd.txt:3: ")
    assert told[-1] == "[looked up in the text itself; no model was asked; places are below notes/]"


def test_several_answers_have_a_line_each_and_the_least_likely_counts() -> None:
    """One value would be shown for another's key, or a doubtful one beside a sure one taken for sure."""
    other = quote("It is 17.", 5)
    parts = [Part("amber", "K7", LINE, 0.95), Part("misty", "", None, None), Part("", "17", other, 0.81)]
    told = lines(Answer("found", "unused", LINE, "model", confidence=0.95, parts=parts))
    assert told[:5] == [
        "amber: K7",
        "  notes/a\ufffd.txt:3: The code is K7-R2P.",
        "misty: not found",
        "17",
        "  notes/a\ufffd.txt:5: It is 17.",
    ]
    assert told[-1] == "[found in the text; the line is quoted; each at least 81 % likely to be right]"
    told = lines(Answer("found", "unused", LINE, "model", confidence=0.95, parts=parts[:2]))
    assert told[-1] == "[found in the text; the line is quoted; 95 % likely to be right]"


def test_passages_without_words_of_the_question_stand_apart() -> None:
    """A passage that is only near would be taken for one that matches."""
    near, far = quote("near", 7, 1.5), quote("far", 9, 0.0)
    told = lines(Answer("closest", "", closest=LINE, evidence=[far, near]))
    assert told[1:3] == ["notes/a\ufffd.txt:3", "  The code is K7-R2P."]
    assert told[told.index(MATCHING) :] == [
        *(MATCHING, "", "notes/a\ufffd.txt:7", "  near", ""),
        *(WIDER, "", "notes/a\ufffd.txt:9", "  far"),
    ]
    assert WIDER not in lines(Answer("closest", "", evidence=[near]))
    assert MATCHING not in lines(Answer("closest", "", evidence=[far]))
    assert MATCHING not in lines(Answer("extracted", "x", evidence=[near]))
    assert MATCHING not in lines(Answer("counted", "x", evidence=[near]))


def test_a_cut_answer_says_so() -> None:
    """Half an answer would be taken for the whole, or thinking without an answer for an empty one."""
    thought = "[cut at the token limit while it was thinking; raise --max-tokens for an answer]"
    more = "[cut at the token limit; raise --max-tokens for more]"
    for answer, said in [
        (Answer("generated", "It is", finish="length"), more),
        (Answer("generated", "It is", finish="length", thinking="hm"), more),
        (Answer("generated", "", finish="length", thinking="hm"), thought),
        (Answer("generated", "It is.", finish="stop"), None),
    ]:
        assert [line for line in lines(answer) if line.startswith("[cut")] == ([said] if said else [])


def test_quotations_of_a_model_are_told_apart_from_inventions() -> None:
    """Words that no text holds would be read as a quotation."""
    told = lines(
        Answer("generated", "x", quotations=[Quotation("the\n code", LINE), Quotation("no such", None)])
    )
    assert told[-4:-2] == ["", "Quotations, looked up word for word:"]
    assert told[-2:] == ["  notes/a\ufffd.txt:3: the code", "  NOT IN THE TEXT: no such"]


def test_sections_come_before_the_whole_unless_they_were_shown() -> None:
    """A summary of a novel would lack its chapters, or hold them twice."""
    answer = Answer(
        "generated", "All in all.", sections=[Written("One", "It began."), Written("Two", "It ended.")]
    )
    told = answer_text(answer, streamed=False)
    assert told.startswith("## One\n\nIt began.\n\n## Two\n\nIt ended.\n\n## The whole\n\nAll in all.\n")
    assert "##" not in answer_text(answer, streamed=True)
    assert "## The whole" not in answer_text(Answer("generated", "x"), streamed=False)


def test_a_long_quote_says_how_much_is_left_out() -> None:
    """A passage would be cut silently, or fill the screen."""
    assert short("\nab\n") == "ab"
    assert short("x" * render.QUOTE) == "x" * render.QUOTE
    assert short("x" * (render.QUOTE + 7)) == "x" * render.QUOTE + " [... 7 more characters]"


def test_what_was_not_read_is_said() -> None:
    """Who asked about a novel would not know that some pages of it were read."""
    usage = Usage(tokens_read=1 << 14, read_seconds=16.384)  # a thousand tokens per second
    answer = Answer("found", "K7", tokens_in_all=600_000, usage=usage)
    assert quick_line(answer) == (
        "read 16,384 of 600,000 tokens, chosen by their words; --all reads everything, about 10 min"
    )
    quick = replace(answer, usage=replace(usage, tokens_read=100), estimated=True)
    assert (
        quick_line(quick) == "read 100 of about 600,000 tokens, chosen by their words; --all reads everything"
    )
    assert quick_line(replace(answer, passages_read=5)) == (
        "read 16,384 of 600,000 tokens: the 5 passages that match the question best"
    )


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.04, "0.0 s"),
        (119.94, "119.9 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2.0 h"),
        (90_000, "25.0 h"),
    ],
)
def test_durations_are_told_in_fitting_units(seconds: float, told: str) -> None:
    """Two hours would be told in seconds."""
    assert duration(seconds) == told


def test_the_cost_tells_what_was_reused_and_no_speed_of_nothing() -> None:
    """Whoever reads a text again could not see that it was kept."""
    assert render.usage_line(Usage(tokens_reused=1234, state_bytes=2048)).startswith(
        "reused 1,234 tokens, read 0 tokens in 0.0 s, state 2.0 KiB, memory "
    )
    assert render.usage_line(Usage(tokens_read=5000, read_seconds=2.0)).startswith(
        "read 5,000 tokens in 2.0 s (2,500 tokens/s), state 0 bytes"
    )


def test_programs_get_all_of_an_answer() -> None:
    """A script would lack a place, or be told that an invented quotation stands in the text."""
    answer = Answer(
        "found",
        "K7",
        LINE,
        "model",
        confidence=0.9,
        parts=[Part("a", "K7", LINE, 0.9), Part("b", "", None, None)],
        quotations=[Quotation("x", LINE), Quotation("y", None)],
        sections=[Written("One", "It began.")],
    )
    corpus = Corpus([DOCUMENT], [Skipped("b", "hidden")], ["a note"], until=Cut("3", "a:3", 3, 9, 1, 1))
    told: dict[str, Any] = json.loads(json.dumps(render.result_values("ask", answer, corpus, question="q")))
    assert (told["command"], told["question"], told["how"], told["by"]) == ("ask", "q", "found", "model")
    place = {
        **{"path": DOCUMENT.name, "place": f"{DOCUMENT.name}:3", "first_line": 3, "last_line": 3},
        **{"byte_start": 30, "byte_end": 49, "quote": LINE.text, "score": 2.5},
    }
    assert told["source"] == place
    assert [part["source"] for part in told["parts"]] == [place, None]
    assert [(one["found"], one["place"]) for one in told["quotations"]] == [(True, place), (False, None)]
    assert told["closest"] is None
    assert told["thinking"] is None
    assert told["sections"] == [{"title": "One", "text": "It began."}]
    assert told["sources"]["documents"] == 1
    assert told["sources"]["bytes"] == 100
    assert told["sources"]["skipped"] == [{"name": "b", "reason": "hidden", "advice": ""}]
    assert told["sources"]["until"]["lines"] == 9
    assert render.source_values(Corpus())["until"] is None
    assert answer_values(replace(answer, thinking="hm"))["thinking"] == "hm"


def test_the_grid_of_needles_counts_each_length_and_depth() -> None:
    """A model would be chosen by numbers that are another's."""
    report = Report("number", "alice", "0123456789abcdef", 7, 1)
    for length, depth, right in [(100, 0.0, 3), (100, 50.0, 1), (2000, 0.0, 2)]:
        report.trials += [Trial(length, depth, length, "1", "1", n < right, None, 0.1) for n in range(4)]
    table = [
        line.split("│")[1:-1] for line in render.report_text(report).splitlines() if line.startswith("│")
    ]
    low, high = wilson(4, 8)
    assert [cell.strip() for cell in table[0]] == ["100", "3/4", "1/4", f"4/8 ({low:.2f}-{high:.2f})"]
    assert [cell.strip() for cell in table[1]][:3] == ["2,000", "2/4", ""]
    assert "(sha256 0123456789ab), seed 7, greedy" in render.report_text(report)
    assert "repeated" not in render.report_text(report)
    assert "text repeated up to 3 times" in render.report_text(replace(report, repeated=3))
    assert render.report_values(report)["accuracy"] == 0.5
    assert render.report_values(Report("number", "alice", "0", 7, 1))["accuracy"] == 0
    missed = render.trial_line(
        replace(report.trials[0], correct=False, expected="5", answer="\x1b" + "6" * 90)
    )
    assert "MISSED: said '\ufffd" + "6" * 59 + "', not '5'" in missed
    assert "  found  " in render.trial_line(report.trials[0])


def test_intervals_are_those_of_wilson() -> None:
    """Ten of ten would be told as certainty. The numbers are those of published tables."""
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(15, 20) == pytest.approx((0.5313, 0.8881), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_plan_shows_what_there_is_and_nothing_else() -> None:
    """Whoever plans would not see that a text does not fit, or read rows about what is not there."""
    plain = Plan(
        5000, True, "plain", "float32", 4 << 30, 0, 2 << 30, 0, 8 << 30, {"float32": 4 << 30, "int8": 1 << 30}
    )
    told = dict(line.split(None, 1) for line in render.plan_text(plain).splitlines() if line[0] != " ")
    assert told["tokens"] == "5,000"
    assert told["weights"] == "4.0 GiB (float32)"
    assert told["needed"] == "6.0 GiB"
    assert told["fits"] == "yes"
    assert "reading time  unknown" in render.plan_text(plain)
    assert "1.0 GiB in int8" in render.plan_text(plain)
    assert "in float32" not in render.plan_text(plain)
    assert not {"experts", "host"} & told.keys()
    assert "of it in memory" not in render.plan_text(plain)
    tight = replace(plain, exact=False, available=1 << 30, kv_budget=1 << 30, seconds=300.0)
    text = render.plan_text(tight)
    for said in ("about 5,000", "1.0 GiB of it in memory", "about 5 min", "fits          NO"):
        assert said in text
    away = replace(tight, experts=3 << 30, layer_experts=1 << 30, kept=1 << 30, host=3 << 30, gpu=True)
    assert "host memory   3.0 GiB" in render.plan_text(away)
    assert "experts       3.0 GiB, in the memory of the host" in render.plan_text(away)
    values = render.plan_values(tight)
    assert (values["needed"], values["fits"]) == (5 << 30, False)
