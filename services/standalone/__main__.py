"""`python -m services.standalone`: what `realm up` becomes."""

import sys

from realm.process.signals import stop_event


def main() -> None:
    # Before anything heavy is imported: a signal counts from the first moment.
    stop = stop_event(hangup=True)
    from services.standalone.run import run

    sys.exit(run(stop))


if __name__ == "__main__":
    main()
