# SPDX-License-Identifier: Apache-2.0
"""What mkdocs.yml asks for: links that lead out of ``docs`` lead to pages here too, as they do on a code host.

Every file of the repository that a page links to becomes a page: Markdown as it is, a folder as its README.md or as a
list, anything else as text. README.md is the first page, and the options of every verb are a page made from the
parsers.
"""

from __future__ import annotations

import argparse
import html
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[2]
HOME = "index.md"
COMMANDS = "reference/command-line.md"
LINK = re.compile(r"(\]\()([^)\s#]*)((?:#[^)\s]*)?\))")
FENCE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1\s*$", re.MULTILINE | re.DOTALL)
OUTSIDE = re.compile(r"<(?:script|link|img|iframe|source|video)\b[^>]*?\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
LANGUAGES = {
    ".py": "python",
    ".sh": "bash",
    ".json": "json",
    ".toml": "toml",
    ".cpp": "cpp",
    ".hpp": "cpp",
    ".cu": "cpp",
}

_pages: dict[str, str] = {}
"""Files of the repository that are pages, by their paths: where they stand among the site's sources."""


def outside_code(text: str) -> Iterator[tuple[str, bool]]:
    """The parts of a page, and whether links are read in each."""
    start = 0
    for fence in FENCE.finditer(text):
        yield text[start : fence.start()], True
        yield fence[0], False
        start = fence.end()
    yield text[start:], True


def targets(text: str, path: str) -> Iterator[str]:
    """The files of the repository, by their paths, that the Markdown file ``path`` links to."""
    for part, read in outside_code(text):
        for match in LINK.finditer(part) if read else ():
            if match[2] and not re.match(r"[a-z]+:", match[2]):
                yield posixpath.normpath(posixpath.join(posixpath.dirname(path), match[2]))


def place_of(path: str) -> str:
    """Where a file of the repository stands among the site's sources."""
    if path == "README.md":
        return HOME
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    file = ROOT / path
    if file.is_dir():
        return f"{path}/README.md"
    return path if file.suffix in (".md", ".jpg", ".png", ".svg") else f"{path}.md"


def listing(path: str) -> str:
    """A page for a folder without a README.md."""
    names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in (ROOT / path).iterdir())
    shown = "\n".join(f"- `{name}`" for name in names if not name.startswith((".", "__")))
    return f"# {path}/\n\nA folder of the repository.\n\n{shown}\n"


def source(path: str) -> str:
    """A page for a file that is no Markdown; not searched."""
    text = (ROOT / path).read_text(encoding="utf-8")
    fence = "`" * (3 + max((len(run) for run in re.findall("`{3,}", text)), default=0))
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"---\nsearch:\n  exclude: true\n---\n# {path}\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _file(path: str, config: Any) -> File:
    level = InclusionLevel.NOT_IN_NAV
    file = ROOT / path
    if file.is_dir():
        return File.generated(config, place_of(path), content=listing(path), inclusion=level)
    if place_of(path).endswith(f"{file.name}.md"):
        return File.generated(config, place_of(path), content=source(path), inclusion=level)
    return File.generated(config, place_of(path), abs_src_path=str(file), inclusion=level)


def on_config(config: Any) -> Any:
    """Add to the navigation the pages of these folders that it does not name, under the titles they have."""
    for folder in ("how-to", "adr"):
        section = _section(config.nav, f"{folder}/README.md")
        named = set(re.findall(r"[\w./-]+\.md", str(config.nav)))
        pages = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs" / folder).glob("*.md"))
        section += [page for page in pages if page not in named]
    return config


def _section(nav: list[Any], page: str) -> list[Any]:
    """The part of a navigation that begins with ``page``."""
    for entry in nav:
        for below in entry.values() if isinstance(entry, dict) else ():
            if isinstance(below, list):
                found = below if page in below else _section(below, page)
                if found:
                    return found
    return []


def on_files(files: Files, config: Any) -> Files:
    """Add what pages link to, and what that links to."""
    _pages.clear()
    waiting = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "findings/README.md"]
    for file in files.documentation_pages():
        _pages[f"docs/{file.src_uri}"] = file.src_uri
        waiting += targets(file.content_string, f"docs/{file.src_uri}")
    while waiting:
        path = waiting.pop()
        if (ROOT / path / "README.md").is_file():
            path = f"{path}/README.md"
        if path in _pages or path.startswith(("docs/", "..")) or not (ROOT / path).exists():
            continue  # one that leads nowhere is left as it is, and the build says so
        files.append(_file(path, config))
        _pages[path] = place_of(path)
        if path.endswith(".md"):
            waiting += targets((ROOT / path).read_text(encoding="utf-8"), path)
    files.append(File.generated(config, COMMANDS, content=commands()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between pages."""
    here = page.file.src_uri
    if here == HOME:
        page.meta["hide"] = ["navigation"]
    path = next((path for path, place in _pages.items() if place == here), None)
    if path is None or (not path.endswith(".md")):
        return markdown

    def changed(match: re.Match[str]) -> str:
        if not match[2] or re.match(r"[a-z]+:", match[2]):
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[2]))
        if (ROOT / target / "README.md").is_file():
            target = f"{target}/README.md"
        if target not in _pages and not (target.startswith("docs/") and (ROOT / target).is_file()):
            return match[0]
        place = _pages.get(target) or place_of(target)
        return f"{match[1]}{posixpath.relpath(place, posixpath.dirname(here) or '.')}{match[3]}"

    return "".join(LINK.sub(changed, part) if read else part for part, read in outside_code(markdown))


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse a page whose reader's browser would fetch something from another server."""
    fetched = OUTSIDE.search(output)
    if fetched and 'rel="canonical"' not in fetched[0]:
        raise PluginError(f"{page.file.src_uri}: would be fetched from another server: {fetched[0]}")
    return output


def commands() -> str:
    """The page of every verb's options, from the parsers themselves."""
    from trtpose import cli

    os.environ["COLUMNS"] = "100"
    parser = cli._parser(None, whole=True)
    parts = [
        "# Command line\n",
        "What `trtpose VERB --help` says. [The guide](../guide.md#command-line) says what it is for.\n",
    ]
    verbs = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name, verb in verbs.choices.items():
        usage = verb.format_usage().removeprefix("usage: ").replace("\n       ", "\n")
        parts.append(f"## trtpose {name}\n\n{_escaped(verb.description)}\n\n```text\n{usage.rstrip()}\n```\n")
        rows = [f"| {_names(action)} | {_escaped(_help(verb, action))} |" for action in verb._actions]
        parts.append("\n".join(["| | |", "| --- | --- |", *rows]) + "\n")
    return "\n".join(parts)


def _names(action: argparse.Action) -> str:
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    names = action.option_strings or [str(value)]
    shown = ", ".join(map(_code, names))
    return f"{shown} {_code(value)}" if action.option_strings and action.nargs != 0 else shown


def _code(text: str) -> str:
    # Not by backticks: a bar in them would end the cell, and keep its backslash if it had one.
    return f"<code>{_escaped(text)}</code>"


def _help(verb: argparse.ArgumentParser, action: argparse.Action) -> str:
    return verb._get_formatter()._expand_help(action)


def _escaped(text: str | None) -> str:
    words = html.escape(" ".join((text or "").split()), quote=False)
    return words.replace("|", "&#124;").replace("*", r"\*").replace("_", r"\_")
