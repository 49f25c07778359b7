"""`python -m services.standalone OPTIONS`: the process that `realm up` becomes."""

import sys

from realm.process.signals import stop_event


def main() -> None:
    # Before anything heavy is imported: a signal counts from the first moment.
    stop = stop_event(hangup=True)
    from realm.cli.up import read_options
    from services.standalone.run import run

    sys.exit(run(read_options(sys.argv[1]), stop))


if __name__ == "__main__":
    main()
