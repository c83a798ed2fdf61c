"""Group commit: the writes of many requests share one transaction, and so one wait for the disk."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from events.records import EventRecord
from experiments.errors import StoreBusy, StoreError

MAX_WAITING = 20_000  # records of one process; above it the sender must try again later
GROUP = 4_000  # records of one transaction, more or less a request
PATIENCE_S = 10.0

Turn = Callable[[], AbstractContextManager[object]]
Commit = Callable[[Sequence[Sequence[EventRecord]], bool], list[list[bool]]]


class _Ticket:
    """One request's records, and the result of writing them."""

    __slots__ = ("durable", "error", "fresh", "records", "settled")

    def __init__(self, records: Sequence[EventRecord], durable: bool) -> None:
        self.records = records
        self.durable = durable
        self.fresh: list[bool] | None = None
        self.error: Exception | None = None
        self.settled = threading.Lock()
        self.settled.acquire()  # the waiting thread acquires it, once it is released


class GroupCommit:
    """
    Commits for all waiting threads, in one thread: while one group waits for the disk, the next one gathers.

    The slower the disk, the larger the groups. A group is formed when its turn has come, so that it includes all records that
    arrived while other processes wrote.
    """

    def __init__(
        self,
        commit: Commit,
        turn: Turn = nullcontext,
        patience_s: float = PATIENCE_S,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._commit = commit
        self._turn = turn
        self._patience_s = patience_s
        self._max_waiting = max_waiting
        self._arrived = threading.Condition()  # guards what follows
        self._queue: deque[_Ticket] = deque()
        self._waiting = 0
        self._running = False

    def write(self, records: Sequence[EventRecord], durable: bool = True) -> list[bool]:
        """
        Write records, all or none.

        Raises:
            StoreBusy: Too many records are waiting, or the turn did not come in time; nothing was stored.
            StoreError: The store cannot be written; nothing was stored.
        """
        ticket = _Ticket(records, durable)
        self._join(ticket)
        if not ticket.settled.acquire(timeout=self._patience_s):
            if self._leave(ticket):
                raise StoreBusy(f"the store has been busy for {self._patience_s:g} s; try again later")
            ticket.settled.acquire()  # its group is being written
        if ticket.fresh is None:
            raise _copied(ticket.error)
        return ticket.fresh

    def close(self) -> None:
        """End the thread, once no records wait."""
        with self._arrived:
            self._running = False
            self._arrived.notify_all()

    def _join(self, ticket: _Ticket) -> None:
        with self._arrived:
            if self._waiting and self._waiting + len(ticket.records) > self._max_waiting:
                raise StoreBusy(f"{self._waiting:,} records are waiting to be written; try again later")
            self._queue.append(ticket)
            self._waiting += len(ticket.records)
            if not self._running:  # started by the first write: many stores are only read
                self._running = True
                threading.Thread(target=self._run, name="crosslift-writer", daemon=True).start()
            self._arrived.notify()

    def _leave(self, ticket: _Ticket) -> bool:
        with self._arrived:
            if ticket not in self._queue:
                return False
            self._queue.remove(ticket)
            self._waiting -= len(ticket.records)
            return True

    def _run(self) -> None:
        while self._wait_for_records():
            group: list[_Ticket] = []
            try:
                with self._turn():
                    group = self._next_group()
                    self._settle(group)
            except Exception as error:  # noqa: BLE001  no turn: nothing of the group was written
                group = group or self._next_group()
                for ticket in group:
                    ticket.error = ticket.error or error
            with self._arrived:
                self._waiting -= sum(len(ticket.records) for ticket in group)
            for ticket in group:
                ticket.settled.release()

    def _wait_for_records(self) -> bool:
        """Wait until records arrive; return False where the thread must end."""
        with self._arrived:
            while self._running and not self._queue:
                self._arrived.wait()
            return bool(self._queue)

    def _next_group(self) -> list[_Ticket]:
        group: list[_Ticket] = []
        size = 0
        with self._arrived:
            while self._queue and size < GROUP:
                group.append(self._queue.popleft())
                size += len(group[-1].records)
        return group

    def _settle(self, group: Sequence[_Ticket]) -> None:
        if not group:  # all of them gave up
            return
        try:
            fresh = self._commit([ticket.records for ticket in group], any(ticket.durable for ticket in group))
        except StoreError as error:
            for ticket in group:
                ticket.error = error
        except Exception as error:  # noqa: BLE001  a record that cannot be written must not fail the others
            if len(group) == 1:
                group[0].error = error
                return
            for ticket in group:
                self._settle([ticket])
        else:
            for ticket, flags in zip(group, fresh, strict=True):
                ticket.fresh = flags


def _copied(error: Exception | None) -> Exception:
    """Return an exception for one thread: a shared one would collect the tracebacks of all."""
    if isinstance(error, StoreError):
        return type(error)(str(error))
    return StoreError(f"a record cannot be written: {error}")
