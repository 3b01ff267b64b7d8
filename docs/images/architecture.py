"""Write `architecture.svg`: the floors of `pyproject.toml`, with their rooms, as the linter of imports keeps them."""

from __future__ import annotations

import ast
import textwrap
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "retailpulse_kernel"
WIDTH, MARGIN, GAP, LINE, PADDING = 1180, 16, 10, 15, 10
#: Pixels of a letter of the small text, somewhat more than it takes.
LETTER = 6.1


def floors() -> list[list[str]]:
    """The floors from top to bottom, each with its rooms."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return [floor.split(" | ") for floor in contracts[0]["layers"]]


def purpose(room: Path) -> str:
    """What a room is for: the first sentence of its docstring."""
    said = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    return said.split("\n\n")[0].split(". ")[0].replace("`", "").replace("\n", " ").rstrip(".")


def lines_of(room: str, width: float) -> list[str]:
    """The small text of a box: what the room is for, and the rooms within."""
    folder = PACKAGE / room
    within = sorted(path.parent.name for path in folder.glob("*/__init__.py"))
    text = textwrap.wrap(purpose(folder), int((width - 2 * PADDING) / LETTER))
    return text + (textwrap.wrap("▸ " + " · ".join(within), int((width - 2 * PADDING) / LETTER)) if within else [])


def drawing() -> str:
    """The picture as SVG."""
    parts, y = [], MARGIN
    for rooms in floors():
        width = (WIDTH - 2 * MARGIN - GAP * (len(rooms) - 1)) / len(rooms)
        texts = [lines_of(room, width) for room in rooms]
        height = 2 * PADDING + 18 + LINE * max(map(len, texts))
        for number, (room, text) in enumerate(zip(rooms, texts, strict=True)):
            x = MARGIN + number * (width + GAP)
            parts.append(f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{height}" rx="6"/>')
            parts.append(f'<text class="name" x="{x + PADDING:.0f}" y="{y + PADDING + 12}">{escape(room)}</text>')
            parts += [
                f'<text x="{x + PADDING:.0f}" y="{y + PADDING + 30 + LINE * row}">{escape(line)}</text>'
                for row, line in enumerate(text)
            ]
        y += height + GAP
    style = (
        "svg{background:#fff}rect{fill:#eef3f8;stroke:#5b7fa6}text{font:11px sans-serif;fill:#333}"
        ".name{font:bold 14px sans-serif;fill:#123}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}">'
    return "\n".join([head, f"<style>{style}</style>", *parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(drawing())
