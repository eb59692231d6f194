"""What a notebook hands to the page it becomes: figures, numbers and tables under a name (MyST-NB's "glue").

Each function shows its object in the notebook, as any output, and stores it under `name`; a prose cell of
the same notebook then places it with a numbered caption. The calling cell carries the tag `remove-output`,
so that the page shows the object once.
"""

import io

from .figures import METADATA, STYLE


def _store(name: str, data: dict) -> None:
    from IPython.display import display

    display(data, raw=True, metadata={"scrapbook": {"name": name, "mime_prefix": ""}})


def figure(name: str, fig, caption: str = "") -> None:
    """Shows the matplotlib figure `fig` as SVG, stores it as `name`, and closes it.

    A `caption` written by code is shown below it and stored as `name-caption`.
    """
    import matplotlib
    import matplotlib.pyplot as plt

    buffer = io.StringIO()
    # two executions must write the same bytes, for a figure made elsewhere too
    with matplotlib.rc_context({key: STYLE[key] for key in ("svg.hashsalt", "svg.fonttype")}):
        fig.savefig(buffer, format="svg", metadata=METADATA)
    plt.close(fig)
    _store(name, {"image/svg+xml": buffer.getvalue(), "text/plain": f"figure {name}"})
    if caption:
        text(f"{name}-caption", caption)


def text(name: str, value: object) -> None:
    """Shows `value` as plain text and stores it as `name`, for a caption or a number in the prose."""
    _store(name, {"text/plain": str(value)})


def markdown(name: str, source: str) -> None:
    """Shows Markdown, for instance a table, and stores it as `name`."""
    _store(name, {"text/markdown": source, "text/plain": source})


def table(name: str, label: str, caption: str, source: str) -> None:
    """Shows a Markdown table with its caption and stores it as `name`; `label` is for references to it."""
    markdown(name, f":::{{table}} {caption}\n:name: {label}\n\n{source}\n:::")
