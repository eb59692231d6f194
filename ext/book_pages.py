"""Small repairs of every page: scripts that nobody asked for, lines that begin with a comma, figures hard to read."""

from docutils import nodes
from sphinx.util.osutil import relative_uri

CLOSING = ",.;:!?)]’”"


def _is_thebe(script) -> bool:
    body = script.attributes.get("body", "")
    return "sphinx-thebe.js" in str(script.filename or "") or "THEBE_JS_URL" in body


def _drop_thebe(app, pagename, templatename, context, doctree):
    """Drops sphinx-thebe's scripts: unused here, and without a network each logs errors."""
    context["script_files"] = [s for s in context.get("script_files", []) if not _is_thebe(s)]


def _mend(app, doctree, docname):
    if app.builder.format == "html":
        for equation in list(doctree.findall(nodes.math)):
            _keep_punctuation(equation)
        for image in list(doctree.findall(nodes.image)):
            _link_to_file(image, app.builder, docname)


def _keep_punctuation(equation):
    """Ties a comma to the equation before it: to a browser an equation is a box, and a line may end after it."""
    after = equation.next_node(descend=False, siblings=True)
    if not isinstance(after, nodes.Text):
        return
    rest = after.lstrip(CLOSING)
    if tied := after[: len(after) - len(rest)]:
        after.parent.replace(after, nodes.Text(rest))
        equation.replace_self(nodes.inline("", "", equation.deepcopy(), nodes.Text(tied), classes=["tied"]))


def _link_to_file(image, builder, docname):
    """Links a figure's picture to its file, where a small screen can enlarge it."""
    if image["uri"] in builder.env.images and isinstance(image.parent, nodes.figure):
        name = builder.env.images[image["uri"]][1]
        uri = relative_uri(builder.get_target_uri(docname), f"{builder.imagedir}/{name}")
        image.replace_self(nodes.reference("", "", image.deepcopy(), internal=True, refuri=uri))


def setup(app):
    app.connect("html-page-context", _drop_thebe, priority=900)  # after the extensions that add scripts
    app.connect("doctree-resolved", _mend)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
