"""What is done to the built pages, and what they must be.

A page asks no other host for anything, no link or anchor leads nowhere, no id stands twice, every picture has words,
and the search finds what people look for.

`python tools/site_check.py _docs` mends the pages in place, prints what is wrong, and exits with 1 if anything is.
"""
import json
import posixpath
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

outside = re.compile(r"^\s*(https?:)?//", re.IGNORECASE)
css_url = re.compile(r"""(?:@import\s+|url\()\s*["']?\s*((?:https?:)?//[^"')\s;]+)""", re.IGNORECASE)
# Quarto adds these to any page with an HTML table in it; nothing on our pages uses them
_script = re.compile(r"<script\b[^>]*\bsrc\s*=\s*[\"'](?:https?:)?//[^>]*>\s*</script>\s*", re.IGNORECASE)
_define = re.compile(r"<script\b[^>]*>\s*define\('jquery',.*?</script>\s*", re.IGNORECASE | re.DOTALL)
_fetched = {"img": ("src", "srcset"), "source": ("src", "srcset"), "video": ("src", "poster"), "object": ("data",),
            "image": ("href", "xlink:href"), "use": ("href", "xlink:href")}
_fetched |= dict.fromkeys(("script", "iframe", "audio", "embed", "track", "input"), ("src",))
_link_kinds = {"stylesheet", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch", "icon", "manifest",
               "apple-touch-icon"}
searched = ("label errors", "ambiguous", "out of distribution", "citation")  # by people who come to the site


class Page(HTMLParser):
    "What one page fetches, links to, and holds."

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.fetches: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.wordless: list[str] = []  # pictures without alternative text
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = {k: v or "" for k, v in attrs}
        self._inside = tag if tag in ("style", "script") else ""
        # Quarto gives the light and the dark style sheet the same id
        if values.get("id") and tag not in ("link", "style", "script"): self.ids.append(values["id"])
        if tag == "a" and "name" in values: self.ids.append(values["name"])
        for key in _fetched.get(tag, ()):
            for part in values.get(key, "").split(",") if key == "srcset" else [values.get(key, "")]:
                if part.strip(): self.fetches.append(part.split()[0] if key == "srcset" else part)
        if tag == "link" and _link_kinds & set(values.get("rel", "").lower().split()):
            self.fetches.append(values.get("href", ""))
        if tag in ("a", "area") and "href" in values: self.links.append(values["href"])
        if tag == "img" and not values.get("alt", "").strip() and values.get("role") != "presentation":
            self.wordless.append(values.get("src", "")[:80])
        self.fetches += css_url.findall(values.get("style", ""))
        if tag == "iframe" and values.get("srcdoc"): self.fetches += Page(values["srcdoc"]).fetches

    def handle_endtag(self, tag): self._inside = ""

    def handle_data(self, data):
        if self._inside == "style": self.fetches += css_url.findall(data)


def clean(text: str) -> str:
    "A page without the scripts of other hosts and without the script that waits for them."
    return _define.sub("", _script.sub("", text))


def html_links(text: str, exists) -> str:
    "A page whose remaining links to notebooks lead to their pages, where `exists(page)`."
    def lead(match):
        target, anchor = match[2], match[3] or ""
        name = re.sub(r"^\d+[a-zA-Z0-9]*_", "", posixpath.basename(target).lower()).removesuffix(".ipynb") + ".html"
        page = posixpath.join(posixpath.dirname(target), name)
        return f"{match[1]}{page}{anchor}{match[4]}" if exists(page) else match[0]
    return re.sub(r"""(href=["'])(?!\w+:)([^"'#?]+\.ipynb)(#[^"']*)?(["'])""", lead, text)


def problems(folder: Path, prefix: str = "") -> list[str]:
    "What is wrong with the pages in a folder, one line each; `prefix` is the site's path on its host."
    texts = {p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8") for p in sorted(folder.rglob("*.html"))}
    read = {name: Page(text) for name, text in texts.items()}
    ids = {name: set(page.ids) for name, page in read.items()}
    found = [] if read else [f"no page in {folder}"]
    for name, page in read.items():
        if name.startswith("site_libs/"): continue
        found += [f"{name}: asks another host for {target}" for target in page.fetches if outside.match(target)]
        found += [f"{name}: picture without alternative text: {source}" for source in page.wordless]
        twice = sorted({i for i in page.ids if page.ids.count(i) > 1})
        found += [f"{name}: the id {i!r} stands {page.ids.count(i)} times" for i in twice]
        for target in page.links + [t for t in page.fetches if not outside.match(t)]:
            if (wrong := _follow(target, name, folder, ids, prefix)): found.append(f"{name}: {wrong}")
    for sheet in sorted(folder.rglob("*.css")):
        for target in css_url.findall(sheet.read_text(encoding="utf-8", errors="replace")):
            found.append(f"{sheet.relative_to(folder).as_posix()}: asks another host for {target}")
    return found + unfound(folder)


def unfound(folder: Path) -> list[str]:
    "What the search of a folder's pages does not find; nothing where there is no search."
    index = folder / "search.json"
    if not index.exists(): return []
    texts = [f"{entry.get('title', '')} {entry.get('section', '')} {entry.get('text', '')}".lower()
             for entry in json.loads(index.read_text(encoding="utf-8"))]
    return [f"search.json: nothing is found for {words!r}" for words in searched if not any(words in t for t in texts)]


def _follow(target: str, name: str, folder: Path, ids: dict[str, set[str]], prefix: str) -> str | None:
    "What is wrong with a link on the page `name`, or None."
    split = urlsplit(target.strip())
    if split.scheme or split.netloc: return None
    path = unquote(split.path)
    if prefix and path.startswith(prefix + "/"): path = path[len(prefix):]
    place = path.lstrip("/") if path.startswith("/") else posixpath.join(posixpath.dirname(name), path)
    place = posixpath.normpath(place) if path else name
    if place.startswith(".."): return f"{target} leads out of the site"
    if (folder / place).is_dir(): place = posixpath.normpath(posixpath.join(place, "index.html"))
    if not (folder / place).exists(): return f"{target} leads nowhere"
    anchor = unquote(split.fragment)
    missing = anchor and anchor != "top" and anchor not in ids.get(place, {anchor})
    return f"{target}: no such anchor in {place}" if missing else None


def mend(folder: Path) -> None:
    "Clean every page of a folder in place."
    for page in sorted(folder.rglob("*.html")):
        old = page.read_text(encoding="utf-8")
        new = html_links(clean(old), lambda target, page=page: (page.parent / target).exists())
        if new != old: page.write_text(new, encoding="utf-8")


def report(folder: Path, prefix: str = "/ambiguity_nb") -> int:
    "Mend a folder, print what is still wrong; 1 if anything is."
    mend(folder)
    found = problems(folder, prefix)
    for line in found: print(line)
    print(f"{folder}: {len(list(folder.rglob('*.html')))} pages, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(report(Path(sys.argv[1] if len(sys.argv) > 1 else "_docs")))
