"""The public side: assignments out, events in. Never loads pandas."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    if name != "create_app":  # looked up when first asked for: `crosslift --help` needs no Flask
        raise AttributeError(f"module 'server' has no attribute {name!r}")
    from server.app import create_app

    return create_app
