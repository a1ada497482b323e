"""Send one dead letter back with another payload: write it, compare it, confirm it."""

import uuid
from collections.abc import Iterator
from difflib import unified_diff
from itertools import takewhile
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.views import View

from jobs import exact_json, registry, services
from jobs.access import actor_of
from jobs.admin.json_text import packed, readable
from jobs.conf import conf
from jobs.encryption import why_unreadable
from jobs.errors import EncryptionKeyErased, EncryptionKeyMissing, InvalidInput, UnknownTask
from jobs.job_request import payload_for
from jobs.models import DeadLetter

COMPARED_LINES = 2_000
"""More lines than this, where they differ, are not matched: it could take minutes."""
COMPARED_CHARACTERS = 5_000_000
CONTEXT_LINES = 3


class PayloadForm(forms.Form):
    """A payload that is strict JSON, as small as it must be, and of the shape its task takes."""

    payload = forms.CharField(
        strip=False, widget=forms.Textarea(attrs={"rows": 25, "class": "vLargeTextField json"})
    )

    def __init__(self, *args: Any, job: DeadLetter, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.job = job

    def clean_payload(self) -> bytes:
        """The payload as the bytes to store."""
        text = self.cleaned_data["payload"]
        try:
            read = exact_json.loads(text.encode(), max_depth=conf().max_json_depth)
            self._require_takeable(read)
        except InvalidInput as error:
            raise ValidationError(error.detail) from error
        payload = packed(text)
        if len(payload) > conf().max_payload_bytes:
            raise ValidationError(f"A payload may have {conf().max_payload_bytes:,} bytes.")
        return payload

    def _require_takeable(self, payload: exact_json.Raw) -> None:
        """Raise `InvalidInput` if the task, as far as it is known here, cannot take the payload."""
        if self.job.has_args:
            if not _is_call(payload.value):
                raise InvalidInput('This task takes {"args": [...], "kwargs": {...}}.')
            return
        try:
            task = registry.find(self.job.task)
        except UnknownTask:
            return
        payload_for(task, payload)


def _is_call(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"args", "kwargs"}
        and isinstance(value["args"], list)
        and isinstance(value["kwargs"], dict)
    )


class EditedRedrive(View):
    """The form on GET; on POST the comparison, and once that is confirmed the redrive."""

    model_admin: admin.ModelAdmin = None  # type: ignore[assignment]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Refuse who may not see and operate jobs and read payloads, and what nobody can read now.

        It would be overwritten, and can be read again when its key is back.
        """
        rights = ["jobs.view_job", "jobs.operate_job", "jobs.view_payload"]
        if not request.user.has_perms(rights):
            raise PermissionDenied
        job = get_object_or_404(DeadLetter, pk=kwargs["job_id"])
        if why := why_unreadable(job, ("payload",)):
            reason = why.replace("_", " ")
            messages.error(request, f"Its payload cannot be read ({reason}), so it stays as it is.")
            return redirect("admin:jobs_deadletter_change", job.pk)
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
        """The form with the payload as it is."""
        job = get_object_or_404(DeadLetter, pk=job_id)
        form = PayloadForm(initial={"payload": _editable(job.payload)}, job=job)
        return self._render("edit", job, form)

    def post(self, request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
        """The comparison with what is stored; if it was confirmed, the redrive."""
        job = get_object_or_404(DeadLetter, pk=job_id)
        form = PayloadForm(request.POST, job=job)
        if not form.is_valid() or "edit_again" in request.POST:
            return self._render("edit", job, form)
        if "confirmed" in request.POST:
            return self._redrive(job, form.cleaned_data["payload"])
        changes = list(compared(bytes(job.payload), form.cleaned_data["payload"]))
        return self._render("compare", job, form, changes=changes)

    def _redrive(self, job: DeadLetter, payload: bytes) -> HttpResponse:
        actor = actor_of(self.request)
        try:
            moved = services.redrive([job.pk], actor=actor, tenant=job.tenant, payload=payload)
        except (EncryptionKeyMissing, EncryptionKeyErased) as error:
            messages.error(self.request, f"Not sent back: {error}")
            return redirect("admin:jobs_deadletter_change", job.pk)
        if moved:
            messages.success(self.request, f"Sent back {job.pk} with the edited payload.")
        else:
            messages.warning(self.request, f"{job.pk} is no dead letter any more; left alone.")
        return redirect("admin:jobs_deadletter_changelist")

    def _render(self, step: str, job: DeadLetter, form: PayloadForm, **more: Any) -> HttpResponse:
        context = {
            **self.model_admin.admin_site.each_context(self.request),
            "opts": self.model_admin.opts,
            "title": "Edit the payload and redrive",
            "job": job,
            "form": form,
            **more,
        }
        return TemplateResponse(self.request, f"admin/jobs/deadletter/{step}.html", context)


def compared(before: bytes, after: bytes) -> Iterator[tuple[str, str]]:
    """The lines that differ and some around them, each with its kind: `-`, `+`, `@` or a space."""
    old, new = (
        readable(text, at_most=COMPARED_CHARACTERS).splitlines() for text in (before, after)
    )
    start = max(_same_at_start(old, new) - CONTEXT_LINES, 0)
    old, new = old[start:], new[start:]
    end = max(_same_at_start(old[::-1], new[::-1]) - CONTEXT_LINES, 0)
    old, new = old[: len(old) - end], new[: len(new) - end]
    if max(len(old), len(new)) > COMPARED_LINES:
        yield "@", f"From line {start + 1:,} on too much differs to be compared line by line."
        return
    lines = list(unified_diff(old, new, n=CONTEXT_LINES, lineterm=""))[2:]  # no names of files
    if start == 0 and lines and lines[0].startswith(("@@ -1,", "@@ -1 ")):
        lines = lines[1:]
    for line in lines:
        yield line[0], "…" if line[0] == "@" else line


def _same_at_start(old: list[str], new: list[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))


def _editable(stored: bytes | memoryview) -> str:
    """The payload laid out, unless that would be many times its size."""
    source = bytes(stored)
    text = readable(source, at_most=2 * len(source) + 10_000)
    return text if packed(text) == packed(source.decode()) else source.decode()
