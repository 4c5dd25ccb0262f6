"""``skymere doctor``."""

__all__ = ["doctor"]


def doctor() -> None:
    """Say what is broken."""
