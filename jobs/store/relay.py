"""Outcomes are recorded and the places that they free are taken, in one commit."""

import uuid
from collections.abc import Collection, Sequence

from jobs.store.claim import ClaimedJob, Share, at_once, claim, claimed, settled
from jobs.store.dialect import AS_BRIEFLY, fetch_all, is_postgresql, one_writer
from jobs.store.finish import Outcome, done, done_of, finish, in_order_of_locking
from jobs.store.lines import Marks


def relay(
    worker: str,
    outcomes: Sequence[Outcome],
    shares: Sequence[Share],
    *,
    lease_seconds: float,
    unknown: Collection[str] = (),
    tags: Collection[str] = (),
    after: Marks | None = None,
) -> tuple[set[uuid.UUID], list[ClaimedJob]]:
    """Record successes, then claim: answers as `finish` and `claim` do. Both happen, or neither.

    Nobody sees the places free in between. Every share names its only line. On PostgreSQL it takes
    one round trip; the gate is passed first there, as who has locked jobs must not wait for it. And
    who has passed it must not wait long for jobs: raises an `OperationalError` that `was_held_up`.
    """
    if not is_postgresql():
        with one_writer():
            ended = finish(worker, outcomes)
            return ended, claim(
                worker, shares, lease_seconds=lease_seconds, unknown=unknown, tags=tags
            )
    firsts = in_order_of_locking(outcomes)
    first = [*settled(AS_BRIEFLY), done(worker, firsts)]
    lease = {"worker": worker, "lease": lease_seconds}
    found = fetch_all([*first, *at_once(shares, after or {}, lease)])
    return done_of(found[len(first) - 1], firsts), claimed(found[-1])
