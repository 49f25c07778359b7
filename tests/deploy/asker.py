"""Asks without a pause for so many seconds and prints what came of it, as JSON.

Runs in a container of the gateway's image. Arguments: address, seconds, questions in flight.
"""

import json
import sys
import threading
import time

from realm.client import Client

QUESTIONS = ("Who built the tower?", "When did it open?", "What is it made of?")


def main(address: str, seconds: float, workers: int) -> None:
    deadline = time.monotonic() + seconds
    asked, failed, generations, lock = [0], [], set(), threading.Lock()

    def ask(number: int) -> None:
        while time.monotonic() < deadline:
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

    with Client(address, timeout=10) as client:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    report = {"asked": asked[0], "failed": failed, "generations": sorted(generations)}
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
