"""All scenarios, in the order in which they are measured, with what is expected of each.

Data only: what a scenario does is named, and imported in the process that measures it.
"""

from bench.scenario import POSTGRESQL, SQLITE, Measure, Scenario, Target

BOTH = frozenset({POSTGRESQL, SQLITE})
NEARLY_ALL_OF_IT = (Target("must", 0.9, is_ratio=True),)
SINGLE = (Target("must", 0.8, is_ratio=True), Target("aim", 0.9, is_ratio=True))
_PAGES_WITHIN = {
    most: (
        Measure(
            "slowest page, p50",
            "ms",
            (Target("must", most, is_most=True), Target("aim", most / 2, is_most=True)),
        ),
        Measure("most work for a page", "ms", (Target("must", most, is_most=True),)),
        Measure("slowest first page", "ms", (Target("aim", most, is_most=True),)),
        Measure("pages", ""),
    )
    for most in (200, 400)
}

SCENARIOS = (
    Scenario(
        name="floor",
        title="A bare loop that claims and finishes, no framework",
        measures=(Measure("batch 100", "jobs/s"), Measure("batch 1000, 2 processes", "jobs/s")),
        run="bench.drains.floor",
        databases=BOTH,
    ),
    Scenario(
        name="drain-sync",
        title="No-op jobs of one tenant without limits, one process",
        measures=(
            Measure("drain", "jobs/s", (Target("must", 0.5, is_ratio=True), Target("aim", 20_000))),
        ),
        run="bench.drains.one_process",
    ),
    Scenario(
        name="drain-sqlite",
        title="No-op jobs of one tenant without limits, one process",
        measures=(Measure("drain", "jobs/s", (Target("must", 12_000), Target("aim", 25_000))),),
        run="bench.drains.one_process",
        databases=frozenset({SQLITE}),
    ),
    Scenario(
        name="drain-two",
        title="The same, two processes, the best number of slots",
        measures=(
            Measure(
                "drain", "jobs/s", (Target("must", 0.85, is_ratio=True), Target("aim", 36_000))
            ),
        ),
        run="bench.drains.two_processes",
        limit_seconds=600,
    ),
    Scenario(
        name="drain-async",
        title="The same as coroutines, one process of 100 slots",
        measures=(Measure("drain", "jobs/s", (Target("must", 12_000), Target("aim", 20_000))),),
        run="bench.drains.async_tasks",
    ),
    Scenario(
        name="tenants",
        title="1,000 tenants limited to 5 running, half of the jobs one tenant's, two processes",
        measures=(
            Measure("drain", "jobs/s", (Target("must", 8_000),)),
            Measure("while others wait", "jobs/s"),
            Measure("without limits", "jobs/s"),
            Measure("cost of limits", "%", (Target("aim", 20, is_most=True),)),
        ),
        run="bench.drains.many_tenants",
        limit_seconds=240,
    ),
    Scenario(
        name="lane",
        title="One lane limited to 50 running, one process of 50 slots",
        measures=(Measure("drain", "jobs/s", (Target("must", 5_000), Target("aim", 10_000))),),
        run="bench.drains.one_limited_lane",
    ),
    Scenario(
        name="bulk",
        title="Submitting in bulk from Python, 1,000 to a transaction, beside bare inserts",
        measures=(
            Measure("submit_many", "jobs/s", (Target("must", 40_000), Target("aim", 60_000))),
        ),
        run="bench.submissions.bulk",
    ),
    Scenario(
        name="single",
        title="Submitting one by one with a commit each, beside INSERT and COMMIT of the same row",
        measures=(
            Measure("submit", "jobs/s", SINGLE),
            Measure("enqueue", "jobs/s", SINGLE),
            Measure("INSERT and COMMIT", "jobs/s"),
            Measure("INSERT in one trip", "jobs/s"),
        ),
        run="bench.submissions.one_by_one",
    ),
    Scenario(
        name="pickup",
        title="From the commit of a submission to the task's first line, an idle worker",
        measures=(
            Measure(
                "p50", "ms", (Target("must", 3, is_most=True), Target("aim", 1.5, is_most=True))
            ),
            Measure(
                "p99", "ms", (Target("must", 10, is_most=True), Target("aim", 5, is_most=True))
            ),
        ),
        run="bench.latency.pickup",
    ),
    Scenario(
        name="pickup-sqlite",
        title="From the commit of a submission to the task's first line, an idle worker",
        measures=(
            Measure(
                "p50", "ms", (Target("must", 10, is_most=True), Target("aim", 5, is_most=True))
            ),
            Measure("p99", "ms"),
        ),
        run="bench.latency.pickup",
        databases=frozenset({SQLITE}),
    ),
    Scenario(
        name="bulk-sqlite",
        title="Submitting in bulk from Python, 1,000 to a transaction, beside bare inserts",
        measures=(Measure("submit_many", "jobs/s"),),
        run="bench.submissions.bulk",
        databases=frozenset({SQLITE}),
    ),
    Scenario(
        name="idle",
        title="A node of two processes with nothing to do, its supervisor included",
        measures=(
            Measure("processor", "% of a core", (Target("must", 1, is_most=True),)),
            Measure("queries", "/s", (Target("must", 5, is_most=True),)),
            Measure("statements with BEGIN and COMMIT", "/s"),
            Measure("transactions", "/s"),
        ),
        run="bench.footprint.idle",
    ),
    Scenario(
        name="memory",
        title="A worker process before and after 100,000 jobs (1,000,000 with --long)",
        measures=(
            Measure("idle, resident", "MiB", (Target("must", 70, is_most=True),)),
            Measure("idle, its share", "MiB"),
            Measure("after, resident", "MiB", (Target("must", 70, is_most=True),)),
            Measure("after, its share", "MiB"),
        ),
        run="bench.footprint.memory",
        limit_seconds=600,
    ),
    Scenario(
        name="work-cpu",
        title="Real work: pure Python on two processes, beside two processes without a queue",
        measures=(Measure("through the queue", "jobs/s", NEARLY_ALL_OF_IT),),
        run="bench.real_work.processor",
    ),
    Scenario(
        name="work-sleep",
        title="Real work: 1,000 coroutines at once that wait 1 s, beside the same without a queue",
        measures=(Measure("through the queue", "jobs/s", NEARLY_ALL_OF_IT),),
        run="bench.real_work.sleeps",
    ),
    Scenario(
        name="work-http",
        title="Real work: calls of 10 ms in ten threads, beside the same without a queue",
        measures=(Measure("through the queue", "jobs/s", NEARLY_ALL_OF_IT),),
        run="bench.real_work.calls",
    ),
    Scenario(
        name="rest-submit",
        title="POST /jobs, one WSGI process, 16 connections, beside a bare view's INSERT",
        measures=(
            Measure("POST /jobs", "jobs/s", (Target("must", 0.5, is_ratio=True),)),
            Measure("with a limit", "jobs/s"),
            Measure("POST /jobs, p99", "ms"),
            Measure("with a limit, p99", "ms"),
        ),
        run="bench.service.submit",
    ),
    Scenario(
        name="rest-bulk",
        title="POST /jobs/bulk with 1,000 jobs each, one WSGI process, 4 connections",
        measures=(Measure("POST /jobs/bulk", "jobs/s", (Target("must", 15_000),)),),
        run="bench.service.bulk",
    ),
    Scenario(
        name="rest-look",
        title="GET /jobs/{id}, one WSGI process, 16 connections, beside a bare REST framework view",
        measures=(
            Measure("GET /jobs/{id}", "/s", (Target("must", 0.6, is_ratio=True),)),
            Measure("GET /jobs/{id}, p99", "ms"),
        ),
        run="bench.service.look",
    ),
    Scenario(
        name="rest-lists",
        title="Lists and counts of a tenant with 50,000 of 500,000 jobs; --long: 1 of 10 million",
        measures=(
            Measure("slowest list, p95", "ms", (Target("must", 50, is_most=True),)),
            Measure("slowest count, p95", "ms", (Target("must", 50, is_most=True),)),
            Measure("rows read by a call", "rows"),
            Measure("scans of all rows", "", (Target("must", 0, is_most=True),)),
        ),
        run="bench.service_lists.lists",
        limit_seconds=1_200,
    ),
    Scenario(
        name="pages",
        title="Pages and lists over 300,000 jobs of 40 tenants; --long: 10 million of 200",
        measures=_PAGES_WITHIN[200],
        run="bench.service_pages.pages",
        limit_seconds=3_600,
    ),
    Scenario(
        name="pages-sqlite",
        title="Pages and lists over 300,000 jobs of 40 tenants; --long: 10 million of 200",
        measures=_PAGES_WITHIN[400],
        run="bench.service_pages.pages",
        databases=frozenset({SQLITE}),
        limit_seconds=3_600,
    ),
    Scenario(
        name="rest-leases",
        title="Leasing and acknowledging over REST, 100 jobs a call, 4 workers",
        measures=(
            Measure("one process", "jobs/s", (Target("must", 5_000),)),
            Measure("two processes", "jobs/s", (Target("must", 5_000),)),
            Measure("leases by ASGI", "jobs/s", (Target("must", 5_000),)),
        ),
        run="bench.service_leases.leases",
    ),
    Scenario(
        name="rest-waiting",
        title="1,000 workers and 1,000 pages that wait on one ASGI process, and are all told",
        measures=(
            Measure("resident before", "MiB"),
            Measure("resident", "MiB", (Target("must", 400, is_most=True),)),
            Measure("processor", "% of a core"),
            Measure("last worker", "s"),
            Measure("last page", "s"),
        ),
        run="bench.service_waiting.waiting",
        limit_seconds=400,
    ),
    Scenario(
        name="viewers",
        title="5,000 jobs/s, then all that two processes can, in turns with 50 pages that watch",
        measures=(
            Measure("watched, at a pace", "jobs/s", (Target("must", 0.97, is_ratio=True),)),
            Measure("workers' processor, at a pace", "µs a job"),
            Measure("server, at a pace", "% of a core"),
            Measure("watched", "jobs/s"),
            Measure("slower than unwatched", "%"),
            Measure("server", "% of a core"),
            Measure("messages", "/s and page"),
        ),
        run="bench.service_viewers.viewers",
        limit_seconds=400,
    ),
    Scenario(
        name="fair",
        title="Jain's index, one tenant with 100,000 ready jobs and nine with 200, 5 s windows",
        measures=(Measure("worst window", "of 1"), Measure("median window", "of 1")),
        run="bench.fairness.one_with_a_backlog",
    ),
    Scenario(
        name="fair-weights",
        title="Jain's index of what three tenants got for their weights 1, 1 and 3, 5 s windows",
        measures=(Measure("worst window", "of 1"), Measure("median window", "of 1")),
        run="bench.fairness.weights",
    ),
    Scenario(
        name="huge",
        title="A drain beside 1,000,000 other waiting jobs and 10,000,000 finished ones",
        measures=(
            Measure("drain", "jobs/s"),
            Measure(
                "slower than alone",
                "%",
                (Target("must", 20, is_most=True), Target("aim", 10, is_most=True)),
            ),
        ),
        run="bench.history.huge_table",
        limit_seconds=1_200,
        is_long=True,
    ),
    Scenario(
        name="stuck",
        title="A drain of 10 minutes while a transaction is left open, 30 s windows",
        measures=(
            Measure("at first", "jobs/s"),
            Measure(
                "worst window",
                "jobs/s",
                (Target("must", 0.6, is_ratio=True), Target("aim", 0.8, is_ratio=True)),
            ),
            Measure("least backlog", "jobs"),
        ),
        run="bench.endurance.open_transaction",
        limit_seconds=300,
        limit_per_minute=90,
        is_long=True,
    ),
    Scenario(
        name="delete",
        title="A drain while 1,000,000 old finished jobs are deleted",
        measures=(
            Measure("drain", "jobs/s"),
            Measure("slower than before", "%", (Target("must", 20, is_most=True),)),
            Measure("deleted", "jobs/s"),
            Measure("least backlog", "jobs"),
        ),
        run="bench.endurance.deletion",
        limit_seconds=600,
        is_long=True,
    ),
)
