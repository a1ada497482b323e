"""Times on pages are told by the server's clock, whatever the clock of the device says."""

import re
from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from jobs.models import Tenant
from tests.factories import make_job

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

AGE = re.compile(r"^\d+(\.\d)? (s|min) ago$")


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_wrong_clock_makes_no_wrong_age(
    open_page: Callable[..., Page], alice: Tenant, hours: int
) -> None:
    job = make_job(alice)
    wrong = f"const real = Date.now; Date.now = () => real() + {hours} * 3_600_000;"

    # A page that does not change but for its times.
    question = reverse("act-on-job", args=[job.pk, "cancel"])
    page = open_page(question, lambda page: page.add_init_script(wrong))

    age = page.locator("td[data-label=Submitted] time")
    expect(age).not_to_have_text(age.inner_text())
    assert AGE.match(age.inner_text())
    expect(age).to_have_attribute("title", re.compile(r"^\d{4}-.* UTC$"))
