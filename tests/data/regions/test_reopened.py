"""Resources are opened once a process, on first use, and never pickled."""

import multiprocessing
import os
import pickle
import threading
import time

from vlp_jax.data.regions.reopened import Reopened

OPENED = []


def slow_open(name):
    time.sleep(0.02)
    OPENED.append(name)
    return [name, os.getpid()]


def test_opened_once_by_many_threads():
    resource, found = Reopened(slow_open, "a"), []
    before = len(OPENED)
    threads = [threading.Thread(target=lambda: found.append(resource.get())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(OPENED) == before + 1 and all(value is found[0] for value in found)


def test_opened_again_after_pickling():
    resource = Reopened(slow_open, "b")
    first = resource.get()
    again = pickle.loads(pickle.dumps(resource))
    assert again.get() == first and again.get() is not first and again.get() is again.get()


def test_opened_again_in_a_forked_process():
    resource = Reopened(slow_open, "c")
    assert resource.get()[1] == os.getpid()
    receive, send = multiprocessing.Pipe()
    child = os.fork()
    if not child:
        send.send(resource.get()[1] == os.getpid())
        os._exit(0)
    os.waitpid(child, 0)
    assert receive.recv() is True
