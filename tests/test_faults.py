import re
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).parents[1] / "scripts" / "fault_campaign.py"


@pytest.mark.slow
def test_a_short_campaign_of_faults_changes_no_record() -> None:
    """Kills at named points, damaged files, two controllers, racing workers; docs/faults.md has the long one."""
    words = ["--kills", "8", "--damages", "6", "--racers", "4", "--trivial", "12"]
    done = subprocess.run([sys.executable, str(CAMPAIGN), *words], capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"SIGKILL, all together \| (\d+)", done.stdout)
    assert found, done.stdout
    assert int(found[1]) >= 8
    assert "0 differ" in done.stdout
