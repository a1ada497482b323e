"""What Django's Tasks interface asks of every backend, as tests to inherit.

Follows `django/tasks` of Django 6.1 and DEP 14. A subclass says how a task comes to its end.
"""

import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction

from jobs.tasksapi import (
    InvalidTask,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    default_task_backend,
    task_enqueued,
)
from tests.jobs.sample_tasks import about, add, add_async, demanding, not_a_task

TOMORROW = datetime.now(UTC) + timedelta(days=1)


class TasksContract:
    """The contract. `succeed` and `fail_for_good` end an enqueued task the way its worker would."""

    def succeed(self, result: TaskResult, value: Any) -> None:
        raise NotImplementedError

    def fail_for_good(self, result: TaskResult, error: str) -> None:
        raise NotImplementedError

    # Validation.

    @pytest.mark.parametrize("priority", [-101, 101, 1.5])
    def test_priority_out_of_range_is_refused(self, priority: float) -> None:
        with pytest.raises(InvalidTask):
            add.using(priority=priority)

    @pytest.mark.parametrize("priority", [-100, 0, 100])
    def test_priority_in_range_is_kept(self, priority: int) -> None:
        result = add.using(priority=priority).enqueue(1)
        assert add.get_result(result.id).task.priority == priority

    def test_run_after_without_a_timezone_is_refused(self) -> None:
        with pytest.raises(InvalidTask):
            add.using(run_after=datetime(2030, 1, 1))

    def test_function_inside_a_function_is_refused(self) -> None:
        def inner() -> None: ...

        with pytest.raises(InvalidTask):
            type(add)(func=inner)

    def test_context_needs_an_argument_for_it(self) -> None:
        with pytest.raises(InvalidTask):
            type(add)(func=not_a_task, takes_context=True)

    def test_task_is_validated_again_when_it_is_enqueued(self) -> None:
        broken = add.using()
        object.__setattr__(broken, "priority", 500)
        with pytest.raises(InvalidTask):
            broken.enqueue(1)

    def test_backend_supports_everything(self) -> None:
        flags = ("supports_defer", "supports_async_task", "supports_get_result")
        assert all(getattr(default_task_backend, flag) for flag in (*flags, "supports_priority"))

    # Options.

    def test_using_makes_a_copy(self) -> None:
        copy = add.using(priority=7, queue_name="other", run_after=TOMORROW)
        assert (copy.priority, copy.queue_name, copy.run_after) == (7, "other", TOMORROW)
        assert (add.priority, add.queue_name, add.run_after) == (0, "default", None)
        assert copy.func is add.func

    def test_options_of_using_survive_another_using(self) -> None:
        assert demanding.using(priority=1).using(queue_name="x").priority == 1

    def test_module_path_leads_back_to_the_task(self) -> None:
        assert add.module_path == "tests.jobs.sample_tasks.add"
        assert (add.name, about.takes_context) == ("add", True)

    def test_task_can_be_called_directly(self) -> None:
        assert add.call(1, b=2) == 3

    # Results.

    def test_enqueued_task_is_ready(self) -> None:
        result = add.enqueue(1, b=2)
        assert result.status == TaskResultStatus.READY
        assert (result.args, result.kwargs) == ([1], {"b": 2})
        assert (result.started_at, result.finished_at, result.last_attempted_at) == (None,) * 3
        assert (result.errors, result.worker_ids, result.attempts) == ([], [], 0)
        assert result.backend == "default"
        assert isinstance(result.id, str)
        assert len(result.id) <= 64
        assert not result.is_finished

    @pytest.mark.parametrize(
        ("args", "kwargs"),
        [
            ((), {}),
            ((1,), {}),
            ((), {"a": 1}),
            ((1, [2, (3,)]), {"b": {"c": (4, None, True, 1.5, "ä")}}),
            ((b"bytes",), {"b": "\0"}),
        ],
    )
    def test_arguments_come_back_as_json_has_them(self, args: Any, kwargs: Any) -> None:
        enqueued = add.enqueue(*args, **kwargs)
        read = add.get_result(enqueued.id)
        assert (read.args, read.kwargs) == (enqueued.args, enqueued.kwargs)

    def test_tuples_become_lists_and_bytes_become_text(self) -> None:
        result = add.enqueue((1, 2), b=b"text")
        assert (result.args, result.kwargs) == ([[1, 2]], {"b": "text"})

    @pytest.mark.parametrize("value", [object(), {1, 2}, datetime.now(UTC), uuid.uuid4()])
    def test_arguments_that_json_has_no_words_for_are_refused(self, value: Any) -> None:
        with pytest.raises(TypeError):
            add.enqueue(value)

    @pytest.mark.parametrize("number", [float("nan"), float("inf")])
    def test_numbers_that_json_has_no_words_for_are_refused(self, number: float) -> None:
        with pytest.raises(ValueError, match="JSON"):
            add.enqueue(number)

    @pytest.mark.parametrize(
        "result_id", ["", "nonsense", "1", "\0", "ä" * 64, str(uuid.uuid4()), "x" * 10_000]
    )
    def test_result_of_no_task_does_not_exist(self, result_id: str) -> None:
        with pytest.raises(TaskResultDoesNotExist):
            default_task_backend.get_result(result_id)

    def test_result_of_another_function_is_a_mismatch(self) -> None:
        result = add.enqueue(1)
        with pytest.raises(Exception, match=r"does not match|add") as caught:
            about.get_result(result.id)
        assert type(caught.value).__name__ == "TaskResultMismatch"

    def test_success_has_a_value(self) -> None:
        result = add.enqueue(1, b=2)
        with pytest.raises(ValueError, match="not finished"):
            _ = result.return_value
        self.succeed(result, 3)
        result.refresh()
        assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 3)
        assert result.is_finished
        assert result.attempts == 1
        assert result.started_at <= result.finished_at

    def test_failure_has_an_error_and_no_value(self) -> None:
        result = add.enqueue(1)
        self.fail_for_good(result, "builtins.ZeroDivisionError")
        result.refresh()
        assert result.status == TaskResultStatus.FAILED
        assert result.errors[-1].exception_class is ZeroDivisionError
        assert "Traceback" in result.errors[-1].traceback
        with pytest.raises(ValueError, match="failed"):
            _ = result.return_value

    def test_deferred_task_is_ready_in_the_words_of_the_interface(self) -> None:
        result = add.using(run_after=TOMORROW).enqueue(1)
        read = add.get_result(result.id)
        assert (read.status, read.task.run_after) == (TaskResultStatus.READY, TOMORROW)

    # Transactions and signals.

    def test_task_of_a_transaction_that_failed_was_never_enqueued(self) -> None:
        with transaction.atomic():
            result = add.enqueue(1)
            transaction.set_rollback(True)
        with pytest.raises(TaskResultDoesNotExist):
            add.get_result(result.id)

    def test_signal_tells_of_each_enqueued_task(self, receive: Callable[..., list[Any]]) -> None:
        received = receive(task_enqueued)
        result = add.enqueue(1)
        ((sender, told),) = received
        assert sender is type(add.get_backend())
        assert (told.id, told.status) == (result.id, TaskResultStatus.READY)

    def test_receiver_that_raises_does_not_undo_the_enqueueing(
        self, receive: Callable[..., list[Any]]
    ) -> None:
        receive(task_enqueued, raises=RuntimeError("a receiver's own trouble"))
        result = add.enqueue(1)
        assert add.get_result(result.id).status == TaskResultStatus.READY

    @pytest.fixture
    def receive(self, request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
        """Connects a receiver for the test; answers the list of what it receives."""

        def connect(signal: Any, raises: Exception | None = None) -> list[Any]:
            received: list[Any] = []

            def receiver(sender: Any, task_result: TaskResult, **kwargs: Any) -> None:
                received.append((sender, task_result))
                if raises:
                    raise raises

            signal.connect(receiver, weak=False)
            request.addfinalizer(lambda: signal.disconnect(receiver))
            return received

        return connect


class AsyncTasksContract:
    """The same from a coroutine."""

    @pytest.fixture(autouse=True)
    async def thread_of_synchronous_code_keeps_no_connection(self) -> AsyncIterator[None]:
        yield
        await sync_to_async(connections.close_all)()

    async def test_enqueue_and_read(self) -> None:
        result = await add_async.aenqueue(1, b=2)
        read = await add_async.aget_result(result.id)
        assert (read.args, read.kwargs) == ([1], {"b": 2})
        await read.arefresh()
        assert read.status == TaskResultStatus.READY

    async def test_result_of_no_task_does_not_exist(self) -> None:
        with pytest.raises(TaskResultDoesNotExist):
            await add_async.aget_result(str(uuid.uuid4()))
