// What tools/pages.py asks of a page, inside the browser.

// Every defect that a reader would see on this page, as sentences.
async function defects(scheme) {
  const theme = () => document.documentElement.dataset.theme;
  for (let frame = 0; theme() !== scheme && frame < 100; frame++) await new Promise(requestAnimationFrame);
  const found = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const words = (element) => element.textContent.trim().replace(/\s+/g, " ").slice(0, 50);
  const tell = (what, list) => list.length && found.push(`${what}: ${list.length}, such as ${list[0]}`);
  const texts = (element) => [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
  const own = (element) => texts(element).map((node) => node.data).join(" ").trim();

  tell("equations not rendered", all(".math").filter((e) => !e.querySelector("mjx-container svg")).map(words));
  tell("equations with an error", all("mjx-merror, [data-mjx-error]").map(words));
  const prose = all("body *").filter((e) => !e.closest("script, style, pre, code, .math")).map(own);
  tell("raw TeX", prose.filter((text) => /\\[a-zA-Z([]/.test(text)).map((text) => text.slice(0, 50)));

  tell("pictures not loaded", all("img").filter((i) => !i.naturalWidth).map((i) => i.src));
  const empty = all("article figure").filter((f) => !f.querySelector("img, svg, table, pre"));
  tell("figures without a picture", empty.map(words));

  const boxes = all("article :is(table, img, pre, svg, p, h1, h2, h3, li, code)");
  tell("wider than the screen", boxes.filter(cut).map(name));
  const page = document.documentElement;
  const [wide, room] = [page.scrollWidth, page.clientWidth];
  if (wide > room) found.push(`scrolls sideways: ${wide} in ${room} px`);

  if (theme() !== scheme) found.push(`theme ${theme()} in ${scheme} mode`);
  const seen = (e) => !e.closest(".headerlink, .math, script") && e.checkVisibility();
  const pale = all("article *").filter((e) => own(e) && seen(e) && contrast(e) < 4.4); // WCAG AA: 4.5
  tell("text hard to read", pale.map((e) => `${words(e)} (${contrast(e).toFixed(1)})`));
  const ink = all("article figure img").filter((i) => luminance(behind(i)) < 0.5); // figures are drawn in black
  tell("dark figures on a dark ground", ink.map(name));
  return found;

  function name(e) {
    return `<${e.localName}> ${e.id || e.getAttribute("src") || words(e)}`;
  }

  // Whether part of an element lies where a reader cannot scroll to.
  function cut(e) {
    const right = e.getBoundingClientRect().right;
    for (let box = e.parentElement; box; box = box.parentElement) {
      const overflow = getComputedStyle(box).overflowX;
      if (["auto", "scroll"].includes(overflow) && box !== document.body) return false;
      if (overflow !== "visible" && right > box.getBoundingClientRect().right + 2) return true;
    }
    return right > window.innerWidth + 1;
  }

  function behind(e) {
    for (let box = e; box; box = box.parentElement) {
      const colour = numbers(getComputedStyle(box).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  }

  function numbers(colour) {
    return colour.match(/[\d.]+/g).map(Number);
  }

  // Relative luminance and contrast ratio as WCAG 2 defines them.
  function luminance(colour) {
    const [red, green, blue] = colour.slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }

  function contrast(e) {
    const [low, high] = [numbers(getComputedStyle(e).color), behind(e)].map(luminance).sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  }
}

// Every folded cell that does not show its code when its line is clicked; leaves them open.
function stuck() {
  const opens = (fold) => {
    const code = fold.querySelector("pre");
    const before = code.checkVisibility();
    fold.querySelector("summary").click();
    return !before && code.checkVisibility();
  };
  const folds = [...document.querySelectorAll("details.hide")].filter((fold) => !fold.open);
  return folds.filter((fold) => !opens(fold)).map((fold) => fold.querySelector("pre").textContent.trim().slice(0, 50));
}

// Makes this page the whole book: a title, a list of contents, and the articles of all `parts` one after another.
async function whole(title, parts) {
  const files = parts.flatMap((part) => part.files);
  const id = (file, anchor = "") => `${file}--${anchor}`;
  const articles = await Promise.all(files.map(fetched));
  const body = document.createElement("article");
  body.className = "bd-article printed";
  body.innerHTML = `<h1 class="booktitle"></h1><nav class="bookcontents"></nav>`;
  body.firstChild.textContent = document.title = title;
  const item = (tag, text, href) => {
    const line = body.querySelector("nav").appendChild(document.createElement(tag));
    const inner = href ? line.appendChild(document.createElement("a")) : line;
    if (href) inner.href = href;
    inner.textContent = text;
  };
  for (const part of parts) {
    if (part.caption) item("p", part.caption);
    for (const file of part.files) {
      const heading = articles[files.indexOf(file)].querySelector("h1").cloneNode(true);
      heading.querySelectorAll(".headerlink").forEach((link) => link.remove());
      item("div", heading.textContent, "#" + id(file));
    }
  }
  body.append(...articles);
  document.body.replaceChildren(body);
  MathJax.typesetClear();
  await MathJax.typesetPromise();
  await Promise.all([...document.images].map((image) => image.decode()));

  async function fetched(file) {
    const url = new URL(`/${file}.html`, location);
    const page = new DOMParser().parseFromString(await (await fetch(url)).text(), "text/html");
    const article = page.querySelector("article.bd-article");
    article.querySelectorAll("details.hide.above-input, .headerlink").forEach((e) => e.remove());
    const bare = (cell) => !cell.textContent.trim() && !cell.querySelector("img, svg");
    [...article.querySelectorAll("div.cell")].filter(bare).forEach((e) => e.remove());
    article.querySelectorAll("details").forEach((e) => (e.open = true));
    article.querySelectorAll("[id]").forEach((e) => (e.id = id(file, e.id)));
    article.querySelectorAll("img").forEach((e) => (e.src = new URL(e.getAttribute("src"), url)));
    article.querySelectorAll("a[href]").forEach((e) => {
      const to = new URL(e.getAttribute("href"), url);
      const there = to.pathname.slice(1).replace(/[.]html$/, "");
      if (files.includes(there)) e.href = "#" + id(there, decodeURIComponent(to.hash.slice(1)));
      else if (to.host === location.host) e.replaceWith(...e.childNodes); // a file beside the pages
    });
    const chapter = document.createElement("section");
    chapter.id = id(file);
    chapter.append(...article.childNodes);
    return chapter;
  }
}
