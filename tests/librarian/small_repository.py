"""Repositories for tests, made by git itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")


def commit(folder: Path, files: dict[str, str | bytes | None]) -> str:
    """Writes these files (None removes one) and commits; the commit's id."""
    if not (folder / ".git").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _git(folder, "init", "-q")
    for path, content in files.items():
        target = folder / path
        if content is None:
            target.unlink()
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    _git(folder, "add", "-A")
    _git(folder, "commit", "-qm", "change", "--allow-empty")
    return _git(folder, "rev-parse", "HEAD")


def branch(folder: Path, name: str) -> None:
    _git(folder, "checkout", "-q", "-b", name)


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run([*GIT, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


CART = '''"""A cart."""


class Cart:
    """Holds items."""

    def add(self, item):
        self.items.append(item)
'''
TEST_CART = """from shop.cart import Cart


class Cart:
    pass


def test_add():
    Cart().add(1)
"""
SOURCES: dict[str, str | bytes | None] = {
    "shop/cart.py": CART,
    "shop/prices.py": "def total_price(items, tax):\n    return sum(item.price for item in items) * (1 + tax)\n",
    "tests/test_cart.py": TEST_CART,
    "web/view.js": "export const render = (cart) => {\n  return cart.items.map(String)\n}\n",
    "README.md": "# Shop\n\nA shop.\n\n## Prices\n\nTaxes are added to prices.\n",
    "logo.png": b"\x89PNG\r\n\x1a\n\x00\x00",
}
