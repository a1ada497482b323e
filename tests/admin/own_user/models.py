"""The people of a project that does not use Django's model of them."""

from django.contrib.auth.models import AbstractUser


class Person(AbstractUser):
    """Somebody who logs in."""
