"""Asks until SIGTERM, then prints what came of it, as JSON.

Runs in a container of the gateway's image. Arguments: address, questions in flight.
"""

import json
import os
import signal
import sys
import threading

from realm.client import Client

#: Of each who asks, between two questions: a machine that runs every pod has few cores to spare.
PAUSE_SECONDS = 0.1
QUESTIONS = ("Who built the tower?", "When did it open?", "What is it made of?")


def main(address: str, workers: int) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    asked, lock = [0], threading.Lock()
    failed: list[str] = []
    generations: set[int] = set()

    def ask(number: int) -> None:
        while not stop.is_set():
            try:
                with_answer = number % 2 == 0
                call = client.ask if with_answer else client.search
                version = call(QUESTIONS[number % len(QUESTIONS)]).index_version
                with lock:
                    generations.add(version.generation)
            except Exception as error:  # every failure is what is counted here
                with lock:
                    failed.append(f"{type(error).__name__}: {error}")
            with lock:
                asked[0] += 1
            stop.wait(PAUSE_SECONDS)

    key = os.environ["REALM_API_KEY"]
    with Client(address, timeout=10, key=key, insecure=True) as client:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    report = {"asked": asked[0], "failed": failed, "generations": sorted(generations)}
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
