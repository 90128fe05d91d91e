"""A process that is told to stop hears it, wherever it is just then."""

import signal
import subprocess
import sys

import pytest

MANY = """
import os, signal, threading
from worker.stop_signal import StopSignal

heard = []
told = StopSignal(lambda: heard.append(1))
other = threading.Thread(target=lambda: [os.kill(os.getpid(), signal.SIGTERM) for _ in range(10_000)])
other.start()
while other.is_alive() or not told.wait(0.001):
    told.wait(0.001)
    told.is_told = False if other.is_alive() else told.is_told
    if not other.is_alive():
        os.kill(os.getpid(), signal.SIGTERM)
print(len(heard) > 0)
"""


def test_ten_thousand_signals_while_waiting_hang_nobody() -> None:
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_of_the_stopping_signals_wakes_who_waits(number: signal.Signals) -> None:
    script = "import sys\nfrom worker.stop_signal import StopSignal\ntold = StopSignal()\nprint('up', flush=True)\n"
    script += "sys.exit(0 if told.wait(60) else 1)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()

    process.send_signal(number)

    assert process.wait(timeout=30) == 0
    process.stdout.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGHUP, 1)])
def test_only_what_nohup_ignores_stays_ignored_in_a_background_of_a_script(number: signal.Signals, code: int) -> None:
    script = (
        "import os, signal, sys\n"
        f"signal.signal({int(number)}, signal.SIG_IGN)\n"
        "from worker.stop_signal import StopSignal\ntold = StopSignal()\n"
        f"os.kill(os.getpid(), {int(number)})\nsys.exit(0 if told.wait(0.1) else 1)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == code
