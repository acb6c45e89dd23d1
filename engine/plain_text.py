"""Text of unknown origin, made fit for one line."""


def one_line(text: str, longest: int) -> str:
    """At most `longest` characters, white space as single blanks, control characters and lone surrogates as �."""
    cut = text if len(text) <= longest else text[: longest - 2] + " …"
    return "".join(c if c.isprintable() else "�" for c in " ".join(cut.split()))
