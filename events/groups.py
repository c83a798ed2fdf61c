"""Group commit: the writes of many requests share one transaction, and so one wait for the disk."""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from events.records import AnyRecord
from experiments.errors import StoreBusy, StoreError

MAX_WAITING = 20_000  # records of one process; above it the sender is told to come again
GROUP = 4_000  # records that one transaction takes, give or take a request
PATIENCE_S = 10.0

Commit = Callable[[Sequence[Sequence[AnyRecord]], bool], list[list[bool]]]


class _Ticket:
    """One request's records, and what became of them."""

    __slots__ = ("durable", "error", "fresh", "records")

    def __init__(self, records: Sequence[AnyRecord], durable: bool) -> None:
        self.records = records
        self.durable = durable
        self.fresh: list[bool] | None = None
        self.error: Exception | None = None

    @property
    def settled(self) -> bool:
        return self.fresh is not None or self.error is not None


class GroupCommit:
    """
    Commits for all who wait: whoever's turn it is takes everybody's records along.

    While one group waits for the disk the next one gathers, so the slower the disk, the larger the groups.
    """

    def __init__(self, commit: Commit, patience_s: float = PATIENCE_S, max_waiting: int = MAX_WAITING) -> None:
        self._commit = commit
        self._patience_s = patience_s
        self._max_waiting = max_waiting
        self._turn = threading.Lock()
        self._gate = threading.Lock()  # guards the two below
        self._queue: deque[_Ticket] = deque()
        self._waiting = 0

    def write(self, records: Sequence[AnyRecord], durable: bool = True) -> list[bool]:
        """
        Write records, whole or not at all.

        Raises:
            StoreBusy: Too many records wait already, or the turn did not come in time; nothing was kept.
            StoreError: The store cannot be written; nothing was kept.
        """
        ticket = _Ticket(records, durable)
        self._join(ticket)
        if not self._turn.acquire(timeout=self._patience_s):
            if self._leave(ticket):
                raise StoreBusy("the store has been busy for too long")
            self._turn.acquire()  # its group is being written, and will say what became of it
        try:
            while not ticket.settled:
                self._commit_some()
        finally:
            self._turn.release()
        if ticket.fresh is None:
            raise _again(ticket.error)
        return ticket.fresh

    def _join(self, ticket: _Ticket) -> None:
        with self._gate:
            if self._queue and self._waiting + len(ticket.records) > self._max_waiting:
                raise StoreBusy(f"{self._waiting:,} records wait to be written")
            self._queue.append(ticket)
            self._waiting += len(ticket.records)

    def _leave(self, ticket: _Ticket) -> bool:
        with self._gate:
            if ticket not in self._queue:
                return False
            self._queue.remove(ticket)
            self._waiting -= len(ticket.records)
            return True

    def _commit_some(self) -> None:
        group: list[_Ticket] = []
        size = 0
        with self._gate:
            while self._queue and size < GROUP:
                group.append(self._queue.popleft())
                size += len(group[-1].records)
        try:
            self._settle(group)
        finally:
            with self._gate:
                self._waiting -= size
            for ticket in group:  # of a thread that was interrupted
                if not ticket.settled:
                    ticket.error = StoreError("the write was interrupted")

    def _settle(self, group: Sequence[_Ticket]) -> None:
        try:
            fresh = self._commit([ticket.records for ticket in group], any(ticket.durable for ticket in group))
        except StoreError as error:
            for ticket in group:
                ticket.error = error
        except Exception as error:  # noqa: BLE001  a record that cannot be written must not take others' along
            if len(group) == 1:
                group[0].error = error
                return
            for ticket in group:
                self._settle([ticket])
        else:
            for ticket, one in zip(group, fresh, strict=True):
                ticket.fresh = one


def _again(error: Exception | None) -> Exception:
    """Give every waiter an exception of its own: a shared one would gather everybody's traceback."""
    if isinstance(error, StoreError):
        return type(error)(str(error))
    return StoreError(f"a record cannot be written: {error}")
