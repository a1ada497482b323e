"""The ledger: which jobs a worker process has started, in memory that its supervisor shares.

When the process dies, the supervisor reads it: jobs that were started are counted as lost, those
that were only claimed go back unspent. It costs no database write.
"""

import mmap
import struct
import threading
import uuid

from jobs.store import Lease

_ENTRY = struct.Struct("=16sq")
_FREE = bytes(_ENTRY.size)


class Ledger:
    """Entries of (job id, fence) in anonymous shared memory. Make it before the fork."""

    def __init__(self, capacity: int) -> None:
        self._memory = mmap.mmap(-1, capacity * _ENTRY.size)
        self._free = list(range(capacity))
        self._taken: dict[Lease, int] = {}
        self._lock = threading.Lock()

    def enter(self, lease: Lease) -> None:
        """The job has started."""
        with self._lock:
            at = self._taken[lease] = self._free.pop()
            _ENTRY.pack_into(self._memory, at * _ENTRY.size, lease.job_id.bytes, lease.fence)

    def strike(self, lease: Lease) -> None:
        """The job's outcome is recorded, or no longer ours to record."""
        with self._lock:
            at = self._taken.pop(lease, None)
            if at is not None:
                self._memory[at * _ENTRY.size : (at + 1) * _ENTRY.size] = _FREE
                self._free.append(at)

    def read(self) -> set[Lease]:
        """The jobs that were started and not struck. For the supervisor."""
        entries = _ENTRY.iter_unpack(self._memory[:])
        return {Lease(uuid.UUID(bytes=job_id), fence) for job_id, fence in entries if fence}

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
