"""Every entry of the catalogue is a mutant of the code as it is now."""

import ast

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import DATABASES, Mutant
from tests.mutants.trial import ROOT

AT_LEAST = 40


def test_there_are_enough_and_each_has_its_own_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= AT_LEAST


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutation_fits_the_code_and_is_python(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    mutated = mutant.applied_to(text)
    assert mutated != text
    ast.parse(mutated)
    assert set(mutant.databases) <= set(DATABASES)
    assert mutant.databases


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_tests_that_ought_to_kill_it_are_there(mutant: Mutant) -> None:
    assert mutant.tests
    for name in mutant.tests:
        file, *inside = name.partition("[")[0].split("::")
        text = (ROOT / file).read_text()
        assert all(f"{one}(" in text or f"class {one}:" in text for one in inside), name
