"""What a user may have meant, and errors that say so themselves."""

import difflib
from collections.abc import Iterable


def known(kind: str, name: str, options: Iterable[str]) -> str:
    """The name itself if it is among the options; else ValueError with the nearest (whatever its case) and all."""
    options = list(options)
    if name in options:
        return name
    lower = {option.lower(): option for option in options}
    near = difflib.get_close_matches(str(name).lower(), lower, 1, 0.3)
    hint = f" Did you mean {lower[near[0]]}?" if near else ""
    raise ValueError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(options)}.")


class Explained(Exception):
    """An error whose message says what was wrong, where, and what to do: a notebook shows that, without the stack."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]
