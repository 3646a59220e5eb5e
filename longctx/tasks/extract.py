"""`summarize` without a model that writes: facts of files that have a structure, sentences of all others."""

from collections.abc import Iterator, Sequence

from longctx.errors import InputError
from longctx.progress import Progress
from longctx.quotes.extract import summarize_extractive
from longctx.structure.facts import Structure, plural, text_of
from longctx.structure.lines import head
from longctx.structure.summarise import summarise_structures
from longctx.tasks.results import Answer, Text, Thought
from longctx.text.document import Corpus, Document
from longctx.text.span import Quote

MOST_STRUCTURES = 12  # that are told one by one
FEWEST_WORDS = 40  # for each
LOOKED_AT = 50  # lines
PASSES = 2  # through prose: for its sections, and for their sentences
UNBROKEN = 40  # characters without a space: no line of words
NEXT = "ask about it with `longctx ask`, or choose a model that writes with --model"


def extract(corpus: Corpus, *, words: int) -> Iterator[Progress | Text | Thought | Answer]:
    """Say in about `words` words what the documents hold, with the places.

    Raises:
        InputError: when there is nothing to tell of any of them.
    """
    with corpus.meter.stage("reading", corpus.bytes):
        found = summarise_structures(corpus.documents)
    told = found.structures[: min(MOST_STRUCTURES, max(1, words // FEWEST_WORDS))]
    of_each = words // (len(told) + bool(found.prose)) if told else words
    texts = [text_of(structure, of_each) for structure in told]
    if rest := found.structures[len(told) :]:
        texts.append(f"And {plural(len(rest), 'file')} more, not shown at this length: {_names(rest)}")
    with corpus.meter.stage("choosing sentences", PASSES * sum(one.end - one.start for one in found.prose)):
        sentences, evidence = _sentences(found.prose, of_each)
    texts += [sentences] * bool(sentences)
    silent = found.refused + [f"{one.name}: {_why_not(one)}" for one in found.prose if not sentences]
    if not texts:
        more = f"; and {plural(len(silent) - 1, 'file')} more" if len(silent) > 1 else ""
        raise InputError(silent[0] + more if silent else f"no text in it; {NEXT}")
    texts += [f"Not summarised: {reason}" for reason in silent]
    text = "\n\n".join(texts)
    if found.structures:
        yield Answer("counted", text, evidence=evidence, structures=found.structures)
    else:
        yield Answer("extracted", text, evidence=evidence)


def _names(structures: Sequence[Structure]) -> str:
    names = [structure.name for structure in structures[:5]]
    return ", ".join(names) + " ..." * (len(structures) > len(names))


def _sentences(documents: Sequence[Document], words: int) -> tuple[str, list[Quote]]:
    """Choose sentences of prose; return them as text, and as quotes."""
    lines: list[str] = []
    evidence: list[Quote] = []
    for excerpt in summarize_extractive(documents, words) if documents else ():
        lines += [excerpt.title] * bool(excerpt.title)
        lines += [f"{' '.join(s.text.split())} [{s.span}]" for s in excerpt.sentences]
        lines.append("")
        evidence += excerpt.sentences
    return "\n".join(lines).strip(), evidence


def _why_not(document: Document) -> str:
    """Say why a text gives no summary."""
    beginning = head(document, LOOKED_AT)
    text = "".join(beginning)
    if not text:
        return "nothing but white space; name a file with text in it"
    if text.count("\ufffd") > 0.05 * len(text):
        return "mostly bytes that are no text; convert it to text first"
    if max(map(len, text.split())) >= UNBROKEN and len(text.split()) <= len(beginning):
        return "characters without spaces, as of encoded data (base64, hex); decode it first"
    if not any(character.isalpha() for character in text):
        return f"no words in it; {NEXT}"
    return f"no sentences in it that could be quoted; {NEXT}"
