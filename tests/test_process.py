import subprocess
import sys


def test_a_process_ends_in_order_with_its_code() -> None:
    program = (
        "import atexit, sys\n"
        "from scalesweep.process import leave\n"
        "atexit.register(print, 'last')\n"
        "print('first')\n"
        "leave(int(sys.argv[1]))"
    )
    for code in (0, 74):
        done = subprocess.run([sys.executable, "-c", program, str(code)], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (code, "first\nlast\n", "")
