"""How the gate's steps, a diff and the promoted jobs look in a notebook: HTML in JupyterLab's own colours."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["STYLE", "diff_html", "job_html", "sentence_html", "steps_html"]

STYLE = """<style>
.rp-gate, .rp-jobs { font: 13px/1.5 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1); }
.rp-gate h4, .rp-jobs h4 { margin: 0; font-size: 15px; font-weight: 600; }
.rp-gate .rp-dim, .rp-jobs .rp-dim { color: var(--jp-ui-font-color2); }
.rp-steps { border-collapse: collapse; width: 100%; }
.rp-steps td { padding: 3px 10px 3px 0; vertical-align: top; border-bottom: 1px solid var(--jp-border-color2, #ddd); }
.rp-steps td:first-child { width: 20px; text-align: center; font-weight: 700; }
.rp-steps td:nth-child(2) { width: 110px; font-weight: 600; white-space: nowrap; }
.rp-ok { color: #117733; } .rp-warn { color: #b35900; } .rp-bad { color: #cc3311; }
.rp-badge { display: inline-block; border-radius: 9px; padding: 0 9px; font-size: 12px; color: #fff; background: #777; }
.rp-badge.running { background: #117733; } .rp-badge.held { background: #b35900; }
.rp-badge.failed { background: #cc3311; }
.rp-diff { font: 12px/1.45 var(--jp-code-font-family, monospace); white-space: pre-wrap; margin: 0; padding: 8px;
  background: var(--jp-layout-color2, #f5f5f5); max-height: 320px; overflow: auto; }
.rp-diff .add { color: #117733; } .rp-diff .del { color: #cc3311; } .rp-diff .at { color: #0072b2; }
.rp-diff .head { font-weight: 700; }
.rp-verdict { padding: 6px 10px; border-left: 4px solid #777; margin-top: 6px; }
.rp-verdict.good { border-color: #117733; } .rp-verdict.bad { border-color: #cc3311; }
.rp-spin { display: inline-block; width: 10px; height: 10px; border: 2px solid var(--jp-brand-color1, #0072b2);
  border-top-color: transparent; border-radius: 50%; animation: rp-turn 0.9s linear infinite; }
@keyframes rp-turn { to { transform: rotate(360deg); } }
.rp-gate button:focus-visible, .rp-jobs button:focus-visible { outline: 2px solid var(--jp-brand-color1, #0072b2); }
</style>"""


def steps_html(steps: Sequence[Mapping[str, Any]], waiting: str = "") -> str:
    """The steps so far, and what the gate waits for.

    Parameters
    ----------
    steps : sequence of mapping
        The steps, each with the fields of `Step`.
    waiting : str
        What the gate waits for; nothing when empty.
    """
    rows = "".join(_step(step) for step in steps)
    if waiting:
        rows += f"<tr><td><span class='rp-spin'></span></td><td colspan='3'>{html.escape(waiting)}</td></tr>"
    return f"<table class='rp-steps'>{rows}</table>"


def _step(step: Mapping[str, Any]) -> str:
    found = html.escape(step["found"])
    if not step["name"]:
        return f"<tr><td></td><td></td><td colspan='2' class='rp-dim'>{found}</td></tr>"
    mark, colour = ("✓", "rp-ok") if step["ok"] else ("✗", "rp-bad")
    if step["ok"] and step["verdict"] not in ("ok", "resume", "first"):
        colour = "rp-warn"
    name, verdict = html.escape(step["name"]), html.escape(step["verdict"])
    cells = f"<td class='{colour}'>{mark}</td><td>{name}</td><td>{found}</td><td class='{colour}'>{verdict}</td>"
    return f"<tr>{cells}</tr>"


def sentence_html(text: str, *, good: bool) -> str:
    """The sentence that says how the promotion or an action ended.

    Parameters
    ----------
    text : str
        The sentence, as plain text.
    good : bool
        Whether it ended well.
    """
    return f"<div class='rp-verdict {'good' if good else 'bad'}'>{html.escape(text)}</div>"


def diff_html(lines: Iterable[str]) -> str:
    """A diff in colours.

    Parameters
    ----------
    lines : iterable of str
        The lines of a unified diff, with titles between them.
    """
    classes = {"+": "add", "-": "del", "@": "at"}
    shown = []
    for line in lines:
        kind = classes.get(line[:1], "head" if line and not line.startswith(" ") else "")
        shown.append(f"<span class='{kind}'>{html.escape(line)}</span>")
    text = "\n".join(shown)
    return f"<pre class='rp-diff'>{text}</pre>" if shown else "<span class='rp-dim'>nothing</span>"


def job_html(row: Mapping[str, Any], record: str, *, link: str | None, error: str = "") -> str:
    """A promoted job in a line: state, lag, last run, why the run failed, and its output notebook.

    Parameters
    ----------
    row : mapping
        A row of `overview`.
    record : str
        The path of the newest run's output notebook; empty when the job has not run.
    link : str, optional
        The output notebook's address in JupyterLab.
    error : str
        Why the newest run failed.
    """
    state = str(row["state"])
    kind = state if state in ("running", "held", "failed") else ""
    lag = "" if row["lag"] is None else f"lag <b>{row['lag']:,}</b>"
    last = html.escape(str(row["last run"] or "not run yet"))
    coming = f" · next {html.escape(row['next'])}" if row.get("next") else ""
    why = f"<br><span class='rp-bad'>{html.escape(error)}</span>" if error else ""
    path = html.escape(record)
    shown = f"<a href='{html.escape(link)}' target='_blank'>record</a>" if link else f"<span>{path}</span>"
    return (
        f"<div><b>{html.escape(row['job'])}</b> {row['version']} <span class='rp-badge {kind}'>{state}</span> {lag}"
        f"<br><span class='rp-dim'>{html.escape(row['schedule'])} · last run {last}{coming}{' · ' if record else ''}"
        f"{shown if record else ''}</span>{why}</div>"
    )
