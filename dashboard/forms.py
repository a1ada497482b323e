"""What people type in: the submission of a job, and a bulk action."""

from datetime import datetime
from typing import Any

from django import forms

from dashboard.queries.job_list import written_for
from dashboard.scope import PageScope
from jobs import exact_json
from jobs.admin.json_text import packed, readable
from jobs.conf import conf
from jobs.errors import InvalidInput
from jobs.fields import moment
from jobs.instants import instant
from jobs.job_request import JOB_FIELDS, read_job
from jobs.models import Job, Line, Tenant, valid_name
from jobs.pace_form import PaceForm
from jobs.registry import exposed_tasks
from jobs.remote import PREFIX
from jobs.statuses import BulkAction
from jobs.submission import MAX_PRIORITY, MIN_PRIORITY, NewJob, tags_of

MOST_REMOTE = 100


class SubmitForm(forms.Form):
    """A job to be submitted, for a tenant the user may act for, of a task open to tenants."""

    tenant = forms.ChoiceField()
    task = forms.CharField(
        help_text="One that is offered, or remote:… for a worker of your own.",
        widget=forms.TextInput(
            attrs={"list": "tasks", "autocomplete": "off", "spellcheck": "false"}
        ),
    )
    payload = forms.CharField(
        initial="{}",
        strip=False,
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "class": "code"}),
        help_text="JSON. It is stored as you type it.",
    )
    queue = forms.CharField(initial="default", validators=[valid_name])
    priority = forms.IntegerField(
        initial=0,
        min_value=MIN_PRIORITY,
        max_value=MAX_PRIORITY,
        help_text=f"{MIN_PRIORITY} to {MAX_PRIORITY}; larger is sooner.",
    )
    delay_seconds = forms.FloatField(initial=0, min_value=0, label="Delay (seconds)")
    max_retries = forms.IntegerField(
        required=False, min_value=0, help_text="After the first attempt; empty: the task's own."
    )
    run_at = forms.DateTimeField(
        required=False,
        label="Run at (UTC)",
        help_text="Instead of a delay.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}),
    )
    timeout_seconds = forms.FloatField(
        required=False,
        label="Timeout (seconds)",
        help_text="What one attempt may take; empty: the task's own.",
        widget=forms.NumberInput(attrs={"step": "any"}),
    )
    idempotency_key = forms.CharField(
        required=False, help_text="The same key, the same job: repeating it is harmless."
    )
    tags = forms.CharField(required=False, help_text="With spaces between them.")
    worker_tags = forms.CharField(
        required=False,
        help_text="Only workers with all of these run it; empty: the task's own.",
    )
    seldom = ("run_at", "timeout_seconds", "idempotency_key", "tags", "worker_tags")
    """These are folded away until one of them is filled in or wrong."""

    def __init__(
        self, scope: PageScope, *args: Any, like: Job | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        self.scope = scope
        self.like = like
        slugs = sorted(slug for pk, slug in scope.slugs.items() if pk in scope.operable)
        tenant = self.fields["tenant"]
        assert isinstance(tenant, forms.ChoiceField)
        tenant.choices = [(slug, slug) for slug in slugs]
        self.initial.setdefault("tenant", scope.shown[0].slug)
        if like:
            self.initial = {**self.initial, **_as_given(like)}

    def tasks(self) -> list[str]:
        """What the field of the task offers: our tasks, and the remote ones of jobs that were."""
        own = Line.objects.filter(lane__tenant__in=self.scope.operable, task__startswith=PREFIX)
        remote = own.order_by().values_list("task", flat=True).distinct()[:MOST_REMOTE]
        return sorted({*exposed_tasks(), *remote})

    def clean_payload(self) -> exact_json.Raw:
        """The payload, if it is JSON that can be stored; as it was where only its spaces differ."""
        text = str(self.cleaned_data["payload"])
        source = text.encode("utf-8", errors="surrogatepass")
        if self.like and _is_same(bytes(self.like.payload), text):
            source = bytes(self.like.payload)
        try:
            return exact_json.loads(source, max_depth=conf().max_json_depth)
        except InvalidInput as error:
            raise forms.ValidationError(error.detail, code=error.field_code) from error

    def shown_fields(self) -> list[forms.BoundField]:
        """Those that everybody fills in."""
        return [field for field in self if field.name not in self.seldom]

    def folded_fields(self) -> list[forms.BoundField]:
        """The others."""
        return [self[name] for name in self.seldom]

    def is_unfolded(self) -> bool:
        """Whether one of the others says something."""
        return any(field.errors or field.value() for field in self.folded_fields())

    def tenant_of_job(self) -> Tenant:
        """The tenant that was chosen."""
        return self.scope.tenant(self.cleaned_data["tenant"])

    def new_job(self) -> NewJob:
        """The job that was asked for, by the rules of the REST API. Raises `InvalidInput` or
        `PayloadTooLarge`."""
        given = {
            name: value for name, value in self.cleaned_data.items() if value not in (None, "")
        }
        body = {name: given[name] for name in JOB_FIELDS if name in given}
        if not body.get("delay_seconds"):
            body.pop("delay_seconds", None)
        for name in {"tags", "worker_tags"} & body.keys():
            body[name] = body[name].split()
        if "run_at" in body:
            body["run_at"] = body["run_at"].isoformat()
        return read_job(body, self.tenant_of_job())


def _is_same(stored: bytes, text: str) -> bool:
    return packed(stored.decode("utf-8", errors="replace")) == packed(text)


def _as_given(job: Job) -> dict[str, Any]:
    """The fields that ask for such a job once more; its numbers stay as they were written."""
    return {
        "tenant": job.tenant.slug,
        "task": job.task,
        "payload": readable(bytes(job.payload), at_most=conf().max_payload_bytes * 2),
        "queue": job.queue,
        "priority": job.priority,
        "max_retries": job.max_retries,
        "timeout_seconds": job.timeout_seconds,
        "tags": " ".join(job.tags),
        "worker_tags": " ".join(tags_of(job.worker_tags)),
    }


class OperationForm(PaceForm):
    """What to do with all jobs that match a filter, and at what pace."""

    action = forms.ChoiceField(
        choices=[(action.value, action.value) for action in BulkAction], widget=forms.HiddenInput
    )
    filter = forms.CharField(widget=forms.HiddenInput, error_messages={"required": "No filter."})
    as_of = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, scope: PageScope, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scope = scope

    def clean_as_of(self) -> datetime | None:
        """Of when the question is: jobs that come, or die, later are none of it."""
        text = str(self.cleaned_data["as_of"])
        try:
            return moment(text) if text else None
        except InvalidInput as error:
            raise forms.ValidationError(error.detail, code=error.field_code) from error

    def clean_action(self) -> BulkAction:
        """The action."""
        return BulkAction(self.cleaned_data["action"])

    def clean_filter(self) -> str:
        """The filter, if it can be read, has a condition, and the user may ask for that."""
        text = str(self.cleaned_data["filter"])
        try:
            written_for(self.scope, text)
        except InvalidInput as error:
            detail = f"The filter {error.detail}"
            raise forms.ValidationError(detail, code=error.field_code) from error
        return text

    @property
    def is_askable(self) -> bool:
        """Whether it is known what to do to which jobs; the form must have been validated."""
        return {"action", "filter", "as_of"} <= self.cleaned_data.keys()

    @property
    def asked(self) -> tuple[BulkAction, str]:
        """The action and the filter, with the time that the question is of."""
        action, text = self.cleaned_data["action"], self.cleaned_data["filter"]
        word = "finished" if action in {BulkAction.REDRIVE, BulkAction.DISCARD} else "created"
        as_of = instant(self.cleaned_data["as_of"])
        return action, f'{text} {word}:<="{as_of}"' if as_of else text

    @property
    def pace(self) -> float | None:
        """Jobs per second, None for no limit."""
        pace: float | None = self.cleaned_data["rate_per_second"]
        return pace
