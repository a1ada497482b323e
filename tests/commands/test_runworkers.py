"""`manage.py runworkers` refuses what would start workers that serve nothing."""

import pytest
from django.core.management import CommandError, call_command


@pytest.mark.parametrize("option", ["--queues", "--tags"])
@pytest.mark.parametrize("given", ["a b", "mail;hooks", "mail,-hooks", "n" * 129])
def test_names_that_cannot_be_are_refused_in_words(option: str, given: str) -> None:
    with pytest.raises(CommandError, match="is no name"):
        call_command("runworkers", option, given)
