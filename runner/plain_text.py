"""Text from anywhere, made safe to be shown on a terminal or in a log."""

from __future__ import annotations


def escaped(text: str) -> str:
    r"""Return *text* with what a terminal would obey as escapes such as ``\x1b``; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else _escape(each) for each in text)


def clipped(text: str, limit: int = 80) -> str:
    """Return at most *limit* characters of *text*; the middle is left out of a longer one."""
    return text if len(text) <= limit else f"{text[: limit // 2]}...{text[-limit // 4 :]}"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
