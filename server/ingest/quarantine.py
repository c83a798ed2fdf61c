"""Where an event in quarantine came from: the text of the `source` column is written and parsed here, and nowhere else."""

from dataclasses import dataclass

EVENTS = "events"  # the channel of `POST /v1/events`

MAX_SOURCE = 512


@dataclass(frozen=True, slots=True)
class Source:
    """
    The origin of an event that could not be read.

    Attributes:
        channel: `events`, a tracking vocabulary, or a webhook platform.
        shop: Whose events it carries; empty for `events`.
        topic: Of a webhook, as its header says; empty otherwise.
    """

    channel: str
    shop: str = ""
    topic: str = ""

    def to_text(self) -> str:
        """Return the text of the column: `channel`, `channel:shop` or `channel:shop:topic`."""
        parts = (self.channel, self.shop.replace(":", "%3A"), self.topic)
        return ":".join(parts).rstrip(":")[:MAX_SOURCE]

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Read the text of the column."""
        channel, shop, topic = [*text.split(":", 2), "", ""][:3]
        return cls(channel, shop.replace("%3A", ":"), topic)
