"""What README.md and docs/ point to is there: links, anchors, paths of the repository, commands and their flags."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from nucleus.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:^|\n)\n((?:    [^\n]*\n+)+)")
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^()\s]+)\)")
PATH = re.compile(r"(?<![\w./-])(?:configs|tools|benchmarks|tests|nucleus|datasets)/[\w./-]*\w")
OURS = re.compile(r"(?:configs|tools|benchmarks|tests)/|nucleus/.*\.(?:py|json)$|datasets/[^/]*\.(?:py|md)$")
DOORS = {"tools/train_net.py": "train", "datasets/prepare_bbbc038.py": "prepare"}
_NAMES, _SCRIPTS = "|".join(COMMANDS), "|".join(map(re.escape, DOORS))
COMMAND = re.compile(rf"(?<![\w./-])(?:nucleus ({_NAMES})|({_SCRIPTS}))(?![\w/-])(.*)")
WORD = re.compile(r"^\s*(?:[A-Z_]+=\S+ )?nucleus ([a-z]+)(?![\w=.-])")
FLAG = re.compile(r"(?<=\s)--[a-z][a-z-]*")
ANY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def prose(text: str) -> str:
    """A page without its code blocks."""
    return INDENTED.sub("\n\n", FENCED.sub("", text))


def blocks(text: str) -> Iterator[str]:
    """Code blocks, fenced and indented, lines that a backslash continues made one."""
    for block in [*FENCED.findall(text), *INDENTED.findall(FENCED.sub("", text))]:
        yield re.sub(r"\\\n\s*", " ", block)


def spans(text: str) -> list[str]:
    """Code within the prose."""
    return SPAN.findall(prose(text))


@cache
def anchors(page: Path) -> frozenset[str]:
    """Of the headings of a page, as GitHub and MkDocs both make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text(encoding="utf-8")), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings)
    return frozenset(re.sub(" ", "-", heading) for heading in plain)


@cache
def flags(command: str) -> frozenset[str]:
    """What the parser of a command knows."""
    parser = argparse.ArgumentParser()
    importlib.import_module(f"nucleus.cli.{command}").add_arguments(parser)
    return frozenset(parser._option_string_actions)


def broken_links(page: Path, text: str) -> list[str]:
    wrong = []
    for link in LINK.findall(prose(text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and (target.suffix != ".md" or anchor not in anchors(target))):
            wrong.append(link)
    return wrong


def missing_paths(text: str) -> list[str]:
    found = {path for code in [*spans(text), *blocks(text)] for path in PATH.findall(code)}
    return sorted(path for path in found if OURS.match(path) and not (ROOT / path).exists())


def unknown_flags(text: str) -> list[str]:
    wrong = []
    for line in [line for code in [*blocks(text), *spans(text)] for line in code.splitlines()]:
        wrong += [f"nucleus {name}" for name in WORD.findall(line.split(" # ")[0]) if name not in COMMANDS]
        match = COMMAND.search(line.split(" # ")[0])
        if match:
            command = match[1] or DOORS[match[2]]
            wrong += [f"{command} {flag}" for flag in FLAG.findall(match[3]) if flag not in flags(command)]
    return wrong


@ANY_PAGE
def test_links_and_images_lead_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


@ANY_PAGE
def test_paths_of_the_repository_exist(page: Path) -> None:
    assert missing_paths(page.read_text(encoding="utf-8")) == []


@ANY_PAGE
def test_commands_and_flags_exist(page: Path) -> None:
    assert unknown_flags(page.read_text(encoding="utf-8")) == []


def test_what_is_wrong_is_found() -> None:
    text = """# A page

[a](no.md) ![b](README.md) [c](README.md#no-such) [d](https://example.org/no.md) [e](#a-page)

`configs/no.yaml` `python tools/no.py` `configs/quick` `nucleus/no.py` `output/tools/no.py` `nucleus predit --model a`

    nucleus predict a --output b \\
        --no-such c  # --not-this
    python tools/train_net.py --eval --num-gpus 2

```
nucleus evaluate --truth a --prediction b
```
"""
    links = broken_links(ROOT / "README.md", text)
    assert links == ["no.md", "README.md#no-such", "#a-page"]  # the last is no heading of the README
    assert missing_paths(text) == ["configs/no.yaml", "nucleus/no.py", "tools/no.py"]
    wrong = ["evaluate --prediction", "nucleus predit", "predict --no-such", "train --eval"]
    assert sorted(unknown_flags(text)) == wrong


def test_the_pages_hold_enough_to_look_at() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = {match[1] for code in blocks(text) for match in COMMAND.finditer(code) if match[1]}
    assert set(COMMANDS) - {"doctor"} <= named
