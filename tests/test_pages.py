"""The built book in a browser, as a reader meets it: every page, on a desktop and on a phone, without a network."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import pages

PROGRAM = pages.browser_program()
FILES = [file for part in pages.parts() for file in part["files"]]

each_screen = pytest.mark.parametrize("name", pages.SCREENS)


@pytest.fixture(scope="module")
def browser():
    if PROGRAM is None:
        pytest.skip(pages.NO_BROWSER)
    with pages.browsing(PROGRAM) as browser:
        yield browser


@pytest.fixture(scope="module")
def base(browser, tmp_path_factory):
    """The address of the book, built from the committed notebooks."""
    out = tmp_path_factory.mktemp("built")
    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", pages.ROOT, "--path-output", out, "-q"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pages.served(out / "_build" / "html") as base:
        yield base


@each_screen
def test_every_page_is_whole_and_legible_and_needs_no_network(browser, base, name):
    assert pages.problems(browser, base, FILES, name) == {}


@pytest.fixture(scope="module")
def outline(browser, base):
    """Title, links to the neighbours, and figures of every page, as they are written in its file."""
    with pages.screen(browser) as page:
        page.goto(f"{base}/search.html")
        return dict(zip(FILES, page.evaluate(OUTLINE, FILES), strict=True))


OUTLINE = """files => Promise.all(files.map(async file => {
    const source = await (await fetch(`/${file}.html`)).text();
    const page = new DOMParser().parseFromString(source, "text/html");
    const link = name => page.querySelector(`.prev-next-footer a.${name}`)?.getAttribute("href");
    const title = [...page.querySelector("h1").childNodes].filter(n => n.nodeType === Node.TEXT_NODE);
    const count = selector => page.querySelectorAll(selector).length;
    return {
        title: title.map(n => n.data).join("").trim(), before: link("left-prev"), after: link("right-next"),
        figures: count("article figure:has(img)"), open: count('article figure > a[href*="_images/"] > img'),
    };
}))"""


def test_previous_and_next_follow_the_contents(outline):
    def stem(href):
        return href and Path(href).stem

    stems = [Path(file).stem for file in FILES]
    assert [stem(page["before"]) for page in outline.values()] == [None, *stems[:-1]]
    assert [stem(page["after"]) for page in outline.values()] == [*stems[1:], None]


def test_every_figure_opens_by_itself(outline):
    """A phone shows a wide figure small; the file behind it can be enlarged."""
    assert {file: page["figures"] - page["open"] for file, page in outline.items()} == dict.fromkeys(FILES, 0)
    assert sum(page["figures"] for page in outline.values()) > 0


def test_search_finds_every_page_by_its_title(browser, base, outline):
    with pages.screen(browser) as page:
        told = pages.listen(page, base)
        page.goto(f"{base}/search.html?q={outline[FILES[0]]['title']}")
        page.wait_for_selector(f'#search-results a[href*="{FILES[0]}.html"]')
        for file in FILES[1:]:
            page.evaluate("document.querySelector('#search-results').replaceChildren()")
            page.evaluate("title => Search.performSearch(title)", outline[file]["title"])
            page.wait_for_selector(f'#search-results a[href*="{file}.html"]')
        assert told == []


def test_the_printed_book_holds_every_page_once(browser, base, tmp_path):
    with pages.screen(browser) as page:
        told = pages.listen(page, base)
        pages.gather(page, base)
        assert page.locator(".printed > section").count() == page.locator(".bookcontents a").count() == len(FILES)
        assert page.locator(".printed > section h1").count() == len(FILES)
        links = page.eval_on_selector_all("a[href]", "links => links.map(a => a.getAttribute('href'))")
        ids = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
        assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
        assert [link for link in links if not link.startswith(("#", "https://"))] == []
        assert told == []
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 658, "height": 900})  # 174 mm, as wide as the style sheet prints
        assert page.evaluate("defects('light')") == []
        pages.pdf(page, tmp_path / "book.pdf")
    printed = (tmp_path / "book.pdf").read_bytes()
    assert printed.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) > 2 * len(FILES)


# --- The checks themselves, on pages with one defect each ---

PAGE = """<!DOCTYPE html><html data-theme="light"><title>Page</title><meta charset="utf-8">
<link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width">
<script>const dark = matchMedia("(prefers-color-scheme: dark)");
dark.onchange = () => document.documentElement.dataset.theme = dark.matches ? "dark" : "light";</script>
<body><article>%s</article></body></html>"""
WIDE = "<table><tr><td><div style='width: 800px'>wide</div></td></tr></table>"
FOLD = "<details class='hide'><summary>Show</summary><pre>code</pre></details>"
INK = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
FIGURE = f'<figure><img style="background: %s" src="data:image/svg+xml,{INK}"></figure>'


def seen(browser, folder, article, name="phone"):
    (folder / "page.html").write_text(PAGE % article)
    with pages.served(folder) as base:
        return pages.problems(browser, base, ["page"], name).get("page", [])


@pytest.mark.parametrize(
    "article",
    [
        "A paragraph.",
        f"<div style='overflow-x: auto'>{WIDE}</div>",
        FOLD,
        FIGURE % "white",
        r"<code>\alpha</code> <span class='math'><mjx-container><svg/></mjx-container></span>",
    ],
    ids=["text", "table", "fold", "figure", "equation"],
)
def test_a_good_page_has_no_defects(browser, tmp_path, article):
    assert seen(browser, tmp_path, article) == []


@pytest.mark.parametrize(
    ("article", "what"),
    [
        (r"<span class='math'>\(x\)</span>", "equations not rendered: 1"),
        ("<span class='math'><mjx-container><svg/><mjx-merror>x</mjx-merror></mjx-container></span>", "with an error"),
        (r"A heading with \(x\)", "raw TeX: 1"),
        ("<figure><img src='none.svg'></figure>", "not found: /none.svg"),
        ("<figure><img src='data:image/svg+xml,none'></figure>", "pictures not loaded: 1"),
        ("<figure><figcaption>Fig. 1</figcaption></figure>", "figures without a picture: 1"),
        (WIDE, "scrolls sideways"),
        (f"<div style='overflow-x: hidden'>{WIDE}</div>", "wider than the screen: 1, such as <table>"),
        ("<p style='color: #bbb'>pale</p>", "text hard to read: 1, such as pale (1.9)"),
        (FIGURE % "black", "dark figures on a dark ground: 1"),
        ("<script>delete dark.onchange; dark.onchange = null</script>", "dark: theme light in dark mode"),
        (FOLD.replace("<summary>", "<summary onclick='event.preventDefault()'>"), "code does not unfold: code"),
        ("<script src='https://example.org/a.js'></script>", "asks another machine: https://example.org/a.js"),
        ("<script>console.error('lost')</script>", "console error: lost"),
        ("<script>lost()</script>", "script error: lost is not defined"),
    ],
    ids=lambda value: re.sub(r"\W+", " ", value)[:20].strip() if "<" not in value else "",
)
def test_a_defect_is_seen(browser, tmp_path, article, what):
    found = seen(browser, tmp_path, article)
    assert any(what in sentence for sentence in found), found


def test_the_browser_is_the_one_that_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("MISSVAE_CHROMIUM", "")
    assert pages.browser_program() is None
    monkeypatch.setenv("MISSVAE_CHROMIUM", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="MISSVAE_CHROMIUM"):
        pages.browser_program()
    monkeypatch.setenv("MISSVAE_CHROMIUM", sys.executable)
    assert pages.browser_program() == sys.executable


def test_the_contents_are_read_in_order(tmp_path):
    toc = "root: a\nparts:\n- caption: P\n  chapters:\n  - file: b\n    sections:\n    - file: c\n  - file: d\n"
    (tmp_path / "_toc.yml").write_text(toc)
    assert pages.parts(tmp_path) == [{"caption": "", "files": ["a"]}, {"caption": "P", "files": ["b", "c", "d"]}]
