"""Reads the built book as a reader does, in a headless browser without a network; and prints it.

    python -m tools.pages check                      what is wrong on which page, on a desktop and on a phone
    python -m tools.pages pdf --out _build/book.pdf  the whole book as one document
    python -m tools.pages browser                    which browser that is

The browser is the Chromium or Chrome of this machine: the program named by MISSVAE_CHROMIUM, or one on the path.
"""

import argparse
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_BROWSER = "no Chromium: install it (Debian: apt-get install chromium) or name the program in MISSVAE_CHROMIUM"
FLAGS = [
    "--no-sandbox",  # the pages are our own, and containers often forbid the sandbox
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
SCREENS = {"desktop": (1280, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")
PATIENCE = 120_000  # milliseconds; pages take less than two seconds on an idle machine


def browser_program() -> str | None:
    """The browser's path, or None. Raises FileNotFoundError if MISSVAE_CHROMIUM names none; empty, it means none."""
    named = os.environ.get("MISSVAE_CHROMIUM")
    if named and not shutil.which(named):
        raise FileNotFoundError(f"MISSVAE_CHROMIUM={named} is no program")
    candidates = PROGRAMS if named is None else [named]
    return next(filter(None, map(shutil.which, candidates)), None)


def parts(root: Path = ROOT) -> list[dict]:
    """The book's parts as `_toc.yml` lists them: "caption" and "files" of each; the first part holds the root alone."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    first = {"caption": "", "files": [toc["root"]]}
    return [first] + [{"caption": p.get("caption", ""), "files": _files(p)} for p in toc.get("parts", [toc])]


def _files(node: dict) -> list[str]:
    below = node.get("chapters", []) + node.get("sections", [])
    return [f for child in below for f in [child["file"], *_files(child)]]


# --- The browser ---


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address under which `folder` can be read on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    server.daemon_threads = False  # closing waits for them
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def browsing(program: str) -> Iterator[Browser]:
    """A headless browser that resolves no name."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS, timeout=PATIENCE)
        yield browser
        browser.close()


@contextmanager
def screen(browser: Browser, name: str = "desktop", scheme: str = "light") -> Iterator[Page]:
    """An empty page on one of SCREENS."""
    width, height = SCREENS[name]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


def visit(page: Page, url: str) -> None:
    """Opens `url` and waits until its equations are drawn; our own functions are there then."""
    page.goto(url, wait_until="load")
    page.evaluate("window.MathJax?.startup?.promise.then(() => null)")
    page.add_script_tag(path=ROOT / "tools" / "pages.js")


def listen(page: Page, base: str) -> list[str]:
    """A list that grows by what pages complain of from now on, and by what they ask of other machines."""
    told: list[str] = []

    def asked(request):
        if not request.url.startswith((f"{base}/", "data:", "blob:")):
            told.append(f"asks another machine: {request.url}")

    def answered(response):
        if response.status >= 400:
            told.append(f"not found: {response.url.removeprefix(base)}")

    def logged(message):
        if message.type in ("error", "warning"):
            told.append(f"console {message.type}: {message.text}")

    page.on("request", asked)
    page.on("response", answered)
    page.on("console", logged)
    page.on("pageerror", lambda error: told.append(f"script error: {error}"))
    return told


# --- What a reader would miss ---


def problems(browser: Browser, base: str, files: list[str], name: str) -> dict[str, list[str]]:
    """What is wrong on the screen `name`, in light and dark, by page of `files`. Empty if all is well."""
    found = {}
    with screen(browser, name) as page:
        told = listen(page, base)
        for file in files:
            visit(page, f"{base}/{file}.html")
            what = []
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                what += [f"{scheme}: {defect}" for defect in page.evaluate("scheme => defects(scheme)", scheme)]
            what += [f"code does not unfold: {code}" for code in page.evaluate("stuck()")]
            if what := what + told:
                found[file] = what
            told.clear()
    return found


# --- The book on paper ---


def gather(page: Page, base: str, root: Path = ROOT) -> None:
    """Makes of `page` the whole book, ready to be printed."""
    title = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["title"]
    book = parts(root)
    visit(page, f"{base}/{book[0]['files'][0]}.html")
    page.evaluate("([title, parts]) => whole(title, parts)", [title, book])


def pdf(page: Page, out: Path) -> None:
    """Prints what `gather` made: vector figures, links within the book, an outline. The style sheet sets the paper."""
    out.parent.mkdir(parents=True, exist_ok=True)
    page.pdf(path=out, prefer_css_page_size=True, print_background=True, outline=True, tagged=True)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.pages", description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=("check", "pdf", "browser"))
    parser.add_argument("--html", type=Path, default=ROOT / "_build" / "html", help="the built book")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "book.pdf", help="where the PDF goes")
    given = parser.parse_args(words)
    try:
        program = browser_program()
    except FileNotFoundError as error:
        parser.exit(2, f"{error}\n")
    if program is None:
        parser.exit(2, f"{NO_BROWSER}\n")
    if given.command == "browser":
        print(program)
        return 0
    if not (given.html / "index.html").exists():
        parser.exit(2, f"no book in {given.html}: build it first (make book)\n")
    with served(given.html) as base, browsing(program) as browser:
        if given.command == "pdf":
            with screen(browser) as page:
                gather(page, base)
                pdf(page, given.out)
            print(f"The printed book lies at {given.out}")
            return 0
        files = [file for part in parts() for file in part["files"]]
        found = {(name, file): w for name in SCREENS for file, w in problems(browser, base, files, name).items()}
    for (name, file), what in found.items():
        print(f"{file} on a {name}:", *what, sep="\n    ")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
