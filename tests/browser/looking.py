"""What a person does with the page, and what they see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

AXE = Path(__file__).parent / "lib" / "axe.min.js"
PATIENCE = 30_000  # milliseconds that anything may take to appear


class Eyes:
    """A page in a context of its own; `page` is Playwright's."""

    def __init__(
        self,
        browser: Any,
        base: str,
        folder: Path,
        *,
        scheme: str = "light",
        width: int = 1280,
        height: int = 860,
    ) -> None:
        self._base, self._folder = base, folder
        self._context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        self.page = self._context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)

    def _hear(self, message: Any) -> None:
        # An answer that is no success is logged by the browser itself, whatever the page makes of it.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    def goto(self, place: str) -> None:
        """Open a place of the page, such as `#/curves`."""
        self.page.goto(f"{self._base}/{place}")

    def close(self) -> None:
        """Close the context."""
        self._context.close()

    def button(self, name: str) -> Any:
        """The button of exactly this name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def heading(self, name: str) -> Any:
        """The heading of exactly this name."""
        return self.page.get_by_role("heading", name=name, exact=True)

    def options(self) -> Any:
        """What a search offers; the options of ordinary selects are no part of it."""
        return self.page.locator("[role=option]")

    def marked_option(self) -> Any:
        """The option that Enter would pick."""
        return self.page.locator("[role=option][aria-selected=true]")

    def see(self, *texts: str) -> None:
        """Wait until each text is visible."""
        for text in texts:
            self.page.get_by_text(text).first.wait_for()

    def hear(self, text: str) -> None:
        """Wait until the live region says `text`."""
        self.page.locator("[role=status]", has_text=text).first.wait_for(state="attached")

    def focus(self) -> str:
        """The name of what has the focus: its label, or its text."""
        name: str = self.page.evaluate(
            "() => { const at = document.activeElement;"
            " return at.getAttribute('aria-label') ?? at.labels?.[0]?.innerText ?? at.innerText ?? at.tagName }"
        )
        return name.strip()

    def explore(self) -> None:
        """Press Explore, and wait for the list."""
        self.button("Explore").click()
        self.page.get_by_role("list", name="Recommended items").wait_for()

    def compare(self) -> str:
        """Press Compare, wait for all lists, and return what is said of them."""
        self.button("Compare").click()
        summary = self.page.locator(".summary:not(:empty)")
        summary.wait_for()
        said: str = summary.inner_text()
        return said

    def wider_than_screen(self) -> int:
        """Pixels by which the page has to be scrolled sideways."""
        wide: int = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return wide

    def violations(self) -> list[str]:
        """What axe-core finds that is serious or critical, with the place."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run({ resultTypes: ['violations'] })")
        return [
            f"{rule['id']}: {node['target']}"
            for rule in found["violations"]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]

    def picture(self, name: str, *, whole: bool = False) -> Path:
        """A screenshot, kept under `name`."""
        file = self._folder / f"{name}.png"
        self.page.screenshot(path=file, full_page=whole)
        return file
