"""Logging in and out, and an address that guesses."""

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from dashboard.views import LOGINS_OF_A_NAME, LOGINS_PER_MINUTE
from jobs.models import Tenant


def test_logging_in_leads_to_the_page_that_was_asked_for(
    client: Client, log_in: Callable[..., Client], alice: Tenant
) -> None:
    log_in("ann", alice)
    asked = client.get(reverse("jobs"), {"queue": "mail"})["Location"]

    answer = client.post(
        asked, {"username": "ann", "password": "a secret", "next": "/jobs/?queue=mail"}
    )

    assert answer["Location"] == "/jobs/?queue=mail"
    assert client.get(reverse("jobs")).status_code == 200


def test_a_wrong_password_is_told_without_saying_which_part(
    client: Client, log_in: Callable[..., Client]
) -> None:
    log_in("ann")

    for name in ("ann", "nobody"):
        page = client.post(reverse("login"), {"username": name, "password": "wrong"})
        assert "Name and password do not match" in page.content.decode()


def test_an_address_that_guesses_is_told_to_wait(
    client: Client, log_in: Callable[..., Client]
) -> None:
    log_in("ann")
    wrong = {"username": "ann", "password": "wrong"}
    for _ in range(LOGINS_OF_A_NAME):
        assert client.post(reverse("login"), wrong).status_code == 200

    answer = client.post(reverse("login"), {"username": "ann", "password": "a secret"})

    assert answer.status_code == 429
    assert "Too many attempts" in answer.content.decode()
    assert "_auth_user_id" not in client.session


def test_who_shares_an_address_with_somebody_who_guesses_can_log_in(
    client: Client, log_in: Callable[..., Client]
) -> None:
    log_in("ann")
    for _ in range(LOGINS_OF_A_NAME + 1):
        client.post(reverse("login"), {"username": "bob", "password": "wrong"})

    answer = client.post(reverse("login"), {"username": "ann", "password": "a secret"})

    assert answer.status_code == 302


def test_an_address_that_tries_many_names_is_told_to_wait(client: Client, db: None) -> None:
    answers = [
        client.post(reverse("login"), {"username": f"name-{n}", "password": ""}).status_code
        for n in range(LOGINS_PER_MINUTE + 1)
    ]
    assert answers == [200] * LOGINS_PER_MINUTE + [429]


def test_logging_out_needs_a_post(ann: Client, alice: Tenant) -> None:
    assert ann.get(reverse("logout")).status_code == 405
    assert ann.post(reverse("logout")).status_code == 302
    assert ann.get(reverse("jobs")).status_code == 302


def test_a_user_who_was_switched_off_is_out_at_once(ann: Client) -> None:
    User.objects.update(is_active=False)

    assert ann.get(reverse("jobs")).status_code == 302
