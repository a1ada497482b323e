"""One scenario in a process of its own: `python -m bench.child PATH SETTINGS-AS-JSON`.

Prints one JSON object per run, `{"measure": [value, floor or null]}`, or `{"error": "…"}` at the
end. Started by `bench.__main__`, which gives it the database and ends it when its time is up.
"""

import json
import signal
import sys
import traceback

import django
from django.utils.module_loading import import_string

from bench.scenario import BenchError, Settings


def main(path: str, settings: Settings) -> int:
    """Measure; answers 1 if the measurement is void."""
    try:
        for sample in import_string(path)(settings):
            _print(sample)
    except BenchError as error:
        _print({"error": str(error)})
        return 1
    except Exception as error:
        traceback.print_exc()
        _print({"error": f"{type(error).__name__}: {error}"})
        return 1
    return 0


def _print(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # What asks us to end ends the workers too, by way of the context managers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    django.setup()
    sys.exit(main(sys.argv[1], Settings(**json.loads(sys.argv[2]))))
