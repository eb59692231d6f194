"""Draws a figure and writes its caption: `python -m workflow.draw figure2 OUT.svg OUT.txt RECORD.json ...`

A command of its own, as Snakemake cannot start its Python blocks where the path of Python has a space.
"""

import sys
from pathlib import Path

from lib import figures, records


def main(name: str, picture: str, caption: str, *paths: str) -> None:
    shown = [records.read(path) for path in paths]
    getattr(figures, name)(shown).savefig(picture, metadata=figures.METADATA)
    Path(caption).write_text(figures.caption(shown) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
