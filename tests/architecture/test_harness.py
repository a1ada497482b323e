"""What tests rely on of their own harness."""

import os

from tests.harness import ProjectProcess

LINES = 5_000


def test_output_that_is_read_while_it_is_written_is_whole() -> None:
    program = f"for number in range({LINES}): print(number, flush=True)"
    with ProjectProcess("-c", program, env=os.environ) as process:
        while process.popen.poll() is None:
            assert process.output.count("\n") <= LINES
        assert process.output.split() == [str(number) for number in range(LINES)]
