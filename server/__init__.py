"""The public web process: assignments out, events in. It never loads pandas."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    if name != "create_app":  # imported at first use: `crosslift --help` needs no Flask
        raise AttributeError(f"module 'server' has no attribute {name!r}")
    from server.app import create_app

    return create_app
