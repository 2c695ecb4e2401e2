"""The audit: chaos on running services, then every promise checked. `python -m tests.audit --help`.

It stands on the helpers of tests/e2e, which are modules of a folder, not of a package.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
