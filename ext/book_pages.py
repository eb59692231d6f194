"""Drops sphinx-thebe's scripts from every page: unused here, and without a network each logs errors."""


def _is_thebe(script) -> bool:
    body = script.attributes.get("body", "")
    return "sphinx-thebe.js" in str(script.filename or "") or "THEBE_JS_URL" in body


def _drop_thebe(app, pagename, templatename, context, doctree):
    context["script_files"] = [s for s in context.get("script_files", []) if not _is_thebe(s)]


def setup(app):
    app.connect("html-page-context", _drop_thebe, priority=900)  # after the extensions that add scripts
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
