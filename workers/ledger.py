"""The ledger: which jobs a worker process has started, in memory that its supervisor shares.

When the process dies, the supervisor reads it: jobs that were started are counted as lost, those
that were only claimed go back unspent. It costs no database write.
"""

import mmap
import struct
import uuid

from jobs.store import Lease
from workers.held import HeldJob

_ENTRY = struct.Struct("=16sq")
_FREE = bytes(_ENTRY.size)


class Ledger:
    """Entries of (job id, fence) in anonymous shared memory. Make it before the fork.

    An entry is written by the thread that starts the job and struck by the finisher, each alone at
    its place: popping and appending a place is all that threads share, and lists are safe for that.
    """

    def __init__(self, capacity: int) -> None:
        self._memory = mmap.mmap(-1, capacity * _ENTRY.size)
        self._free = list(range(capacity))

    def enter(self, held: HeldJob) -> None:
        """The job has started."""
        held.ledger_place = place = self._free.pop()
        lease = held.lease
        _ENTRY.pack_into(self._memory, place * _ENTRY.size, lease.job_id.bytes, lease.fence)

    def strike(self, held: HeldJob) -> None:
        """The job's outcome is recorded, or no longer ours to record."""
        place, held.ledger_place = held.ledger_place, None
        if place is not None:
            self._memory[place * _ENTRY.size : (place + 1) * _ENTRY.size] = _FREE
            self._free.append(place)

    def read(self) -> set[Lease]:
        """The jobs that were started and not struck. For the supervisor."""
        entries = _ENTRY.iter_unpack(self._memory[:])
        return {Lease(uuid.UUID(bytes=job_id), fence) for job_id, fence in entries if fence}

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
