"""The domain of the job queue: jobs, who owns them, and what may happen to them."""

__version__ = "0.1.0"
