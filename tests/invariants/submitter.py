"""`python -m tests.invariants.submitter TENANT FILE`: a client that submits until it is killed.

It writes the ids of a batch to the file only after the batch was accepted. While the database does
not answer it tries the same batch again, under the same idempotency keys, as clients should.
"""

import sys
import time
import uuid
from pathlib import Path

import django
from django.db import Error, connection


def main(slug: str, path: Path) -> None:
    """Submit batches of three for ever."""
    django.setup()
    from jobs.models import Tenant
    from jobs.services import submit_many
    from jobs.submission import NewJob

    tenant = Tenant.objects.get(slug=slug)
    with path.open("a") as file:
        while True:
            keys = [str(uuid.uuid4()) for _ in range(3)]
            batch = [NewJob(task="echo", idempotency_key=key) for key in keys]
            ids = None
            while ids is None:
                try:
                    ids = [one.job_id for one in submit_many(tenant, batch)]
                except Error:
                    connection.close()
                    time.sleep(0.05)
            file.write("".join(f"{job_id} {key}\n" for job_id, key in zip(ids, keys, strict=True)))
            file.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
