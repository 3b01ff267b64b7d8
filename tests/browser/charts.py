"""What may not be in a page's charts."""

from __future__ import annotations

from playwright.sync_api import Page

__all__ = ["leads_nowhere"]


def leads_nowhere(page: Page) -> None:
    """No chart in the page has a button or link that leads to another machine."""
    titles = page.eval_on_selector_all(".modebar-btn", "all => all.map((button) => button.dataset.title)")
    assert titles and not [title for title in titles if not title or "Share" in title or "Plotly" in title], titles
    assert page.locator(".modebar-btn--logo, .js-plotly-plot a[href]").count() == 0
