"""A user with a keyboard and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

#: The focused element: whether its focus is visible, and where it is.
FOCUS = """() => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  return {
    tag: one.tagName,
    words: (one.textContent || one.getAttribute('aria-label') || one.id).trim().slice(0, 80),
    shown: one.matches(':focus-visible') && style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
    seen: box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth,
  };
}"""


class Typist:
    """Moves about a page by keys; the focus must be visible everywhere."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def press(self, *keys: str) -> None:
        """Press keys in sequence."""
        for key in keys:
            self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        """Type a text."""
        self.page.keyboard.type(text)

    def focus(self) -> dict[str, Any]:
        """Return the focused element."""
        found: dict[str, Any] = self.page.evaluate(FOCUS)
        return found

    def tab_to(self, wanted: Locator, *, back: bool = False, most: int = 80) -> None:
        """Press Tab until the wanted element has the focus."""
        expect(wanted).to_have_count(1)
        for _ in range(most):
            self.press("Shift+Tab" if back else "Tab")
            self.page.wait_for_timeout(10)  # a morph may happen in between
            focus = self.focus()
            if focus["tag"] != "BODY":  # the end of the page, before its beginning
                assert focus["shown"], focus
                assert focus["seen"], focus
            if wanted.evaluate("one => one === document.activeElement"):
                return
        message = f"{wanted} is not reached by Tab"
        raise AssertionError(message)

    def answer(self, reason: str) -> None:
        """Type a reason into the open dialog and confirm it."""
        dialog = self.page.locator("#confirm")
        expect(dialog).to_be_visible()
        expect(dialog.locator("#confirm-reason")).to_be_focused()
        self.type(reason)
        self.press("Enter")
        expect(dialog).to_be_hidden()

    def go(self, letter: str) -> None:
        """Go to the page with this letter."""
        with self.page.expect_navigation():
            self.press("g", letter)
