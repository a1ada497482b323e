"""What a run says in the end, and that it fails where it has to."""

from collections import Counter

from tests.faults.checker import Verdict, Violation, Wrong
from tests.faults.run import tell


def told(*violations: Violation, complaints: tuple[str, ...] = ()) -> tuple[bool, str]:
    said: list[str] = []
    is_good = tell(Verdict(violations, Counter(runs=7)), complaints, said.append)
    return is_good, "\n".join(said)


def test_a_run_without_violations_is_good_and_says_what_happened() -> None:
    is_good, text = told()
    assert is_good
    assert "7 runs" in text
    assert "lost 0 · unfinished 0 · doubled 0" in text


def test_a_violation_makes_it_bad_and_is_counted_and_shown() -> None:
    is_good, text = told(Violation(Wrong.DOUBLED, "job 1", "it ran twice"))
    assert not is_good
    assert "doubled: job 1: it ran twice" in text
    assert "lost 0 · unfinished 0 · doubled 1" in text


def test_of_many_violations_of_a_kind_the_first_are_shown() -> None:
    _, text = told(*(Violation(Wrong.LOST, f"job {n}", "gone") for n in range(100)))
    assert text.count("VIOLATION") == 10
    assert "lost 100" in text


def test_a_program_that_misbehaves_makes_it_bad() -> None:
    assert told(complaints=("node a ended by itself, with 1",))[0] is False
