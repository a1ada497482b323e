"""`manage.py demo`: as `serve`, with a generated workload from three tenants."""

from demo.management.commands.serve import Command as Serve


class Command(Serve):
    """`serve` with the workload."""

    help = "As serve, with a small live workload from three tenants."
    workload = True
