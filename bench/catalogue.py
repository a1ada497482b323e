"""All scenarios, in the order in which they are measured, with what is expected of each.

Data only: what a scenario does is named, and imported in the process that measures it.
"""

from bench.scenario import Measure, Scenario, Target

SCENARIOS = (
    Scenario(
        name="floor",
        title="Bare claim-and-finish loop in psycopg, no framework",
        measures=(Measure("batch 100", "jobs/s"), Measure("batch 1000, 2 processes", "jobs/s")),
        run="bench.drains.floor",
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
)
