"""`python -m smartml.inference ADDRESS`: an inference worker, as the server starts it."""

import argparse
import contextlib
import ctypes
import logging
import os
import signal
import sys

from smartml.errors import SmartMLError

# Of prctl (man 2 prctl), where there is one: what to send to this process when its parent ends.
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run a worker until the server ends."""
    # What the server had open when it started this process is not for here; its clients' sockets, say.
    os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), 65536))
    with contextlib.suppress(AttributeError):
        # A model may run for ever, and not notice that its database is gone.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parser = argparse.ArgumentParser(prog="python -m smartml.inference", description=main.__doc__)
    parser.add_argument("address", help="of the server: host:port, or unix:///path")
    parser.add_argument("--auth-file", help="file with what the server wants to know of its clients")
    parser.add_argument("--threads", type=int, help="of the frameworks; as many as cores if not set")
    arguments = parser.parse_args()
    if arguments.threads is not None:
        # Read when a framework is imported, which is later.
        os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    from smartml.inference.worker import InferenceWorker, settings_for

    try:
        with InferenceWorker(settings_for(arguments.address, arguments.auth_file)) as worker:
            worker.run()
    except SmartMLError as error:
        logging.getLogger("smartml.inference").error("%s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
