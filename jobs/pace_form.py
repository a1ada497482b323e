"""The field for a pace, in whatever form begins an operation."""

from django import forms

from jobs.operations import MAX_RATE, MIN_RATE


class PaceForm(forms.Form):
    """At what pace an operation goes."""

    rate_per_second = forms.FloatField(
        required=False,
        min_value=MIN_RATE,
        max_value=MAX_RATE,
        label="Pace (jobs per second)",
        help_text="Empty: as fast as it goes.",
        widget=forms.NumberInput(attrs={"step": "any", "placeholder": "no limit"}),
    )
