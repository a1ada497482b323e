"""The hot statements keep their indexes on PostgreSQL, with good statistics and with stale ones."""

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from jobs import store
from jobs.models import Job, Tenant
from jobs.statuses import Status
from jobs.store import Lease
from jobs.store.dialect import is_postgresql
from tests.store.steps import claim, database_time, lane_of, no_delay, outcome, submit

ROWS = 20_000
