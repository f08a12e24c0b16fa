"""A child process of decode_pool.py: reads (work, start, items) from stdin, answers on stdout."""

import os
import pickle
import sys


def main() -> None:
    """Answer tasks until the parent closes the pipe."""
    tasks = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not break the answers
    while True:
        try:
            work, start, items = pickle.load(tasks)
        except EOFError:
            return
        try:
            answer = (True, work(start, items))
        except Exception as error:  # whatever it is, it is raised in the parent
            answer = (False, error)
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
