"""Tasks say what they want, and a job finds its function."""

import random

import pytest
from django.test import override_settings

from jobs.errors import UnknownTask
from jobs.registry import QueueTask, adopt, exposed_tasks, find, find_exposed
from jobs.tasksapi import InvalidTask, Task
from tests.jobs import sample_tasks
from tests.jobs.sample_tasks import add, demanding

BUILT_IN = {"echo", "sleep", "fail", "sum_to", "http_request"}


def test_built_in_tasks_are_exposed_without_being_imported() -> None:
    assert set(exposed_tasks()) >= BUILT_IN


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_exposed_task_is_found_by_its_name(name: str) -> None:
    assert find(name) is find_exposed(name)
    assert find(name).job_task == name


def test_task_that_is_not_exposed_is_found_by_its_path_but_not_by_rest() -> None:
    path = "tests.jobs.sample_tasks.add"
    assert (find(path), add.job_task) == (add, path)
    with pytest.raises(UnknownTask):
        find_exposed(path)


@pytest.mark.parametrize(
    "name",
    [
        "nothing",
        "no.such.module",
        "tests.jobs.sample_tasks.missing",
        "tests.jobs.sample_tasks.not_a_task",
        "os.system",
        "jobs.tasks.Unlucky",
        "a..",
    ],
)
def test_name_of_no_task_is_unknown(name: str) -> None:
    with pytest.raises(UnknownTask):
        find(name)


def test_name_of_another_function_cannot_be_taken() -> None:
    with pytest.raises(InvalidTask, match="echo"):
        QueueTask(func=sample_tasks.not_a_task, expose="echo")


def test_text_is_refused_where_worker_tags_are_expected() -> None:
    with pytest.raises(InvalidTask, match="tuple"):
        sample_tasks.add.using(worker_tags="gpu")


def test_copy_of_an_exposed_task_does_not_take_its_place() -> None:
    echo = find("echo")
    echo.using(priority=9)
    assert find("echo") is echo


def test_options_of_a_task_are_its_own_or_the_installations() -> None:
    assert (demanding.retries, demanding.retry_policy.base_seconds) == (7, 1)
    with override_settings(JOBQUEUE={"default_max_retries": 1, "backoff_base_seconds": 9}):
        assert (add.retries, add.retry_policy.delay(1, random.Random(1)) <= 9) == (1, True)
        assert demanding.retries == 7


def test_no_retries_are_not_the_default_number_of_retries() -> None:
    assert add.using(max_retries=0).retries == 0


def test_task_of_another_backends_class_is_adopted() -> None:
    plain = Task(func=sample_tasks.not_a_task, priority=3, queue_name="q")
    ours = adopt(plain)
    assert isinstance(ours, QueueTask)
    assert (ours.func, ours.priority, ours.queue_name) == (plain.func, 3, "q")
    assert adopt(ours) is ours
