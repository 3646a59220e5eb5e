"""What the reader is asked: one passage and one question, in the chat form of SmolLM2.

Training, evaluation and the program must build the same text to the letter: it is made here, and has a
version.
"""

VERSION = "1"
REFUSAL = "The text does not mention this."
BEGIN, END = "<|im_start|>", "<|im_end|>"


def prompt(question: str, passage: str) -> str:
    """Return the text before the answer; the answer follows at once, and END closes it.

    The question stands before the passage too: each token sees only what came before it, and a passage is
    read better by one who knows what is wanted. No system message, which would cost tokens in each prompt.
    """
    asked = f"Question: {_plain(question)}"
    return f"{BEGIN}user\n{asked}\n\n{_plain(passage)}\n\n{asked}{END}\n{BEGIN}assistant\n"


def _plain(text: str) -> str:
    """Return the text without spaces around it, and with nothing a tokenizer takes for a control token."""
    return text.strip().replace("<|", "< |")
