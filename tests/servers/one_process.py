"""``mlflow server`` of version 3 in one process, which imports all of MLflow once, not twice.

The command checks and prepares what it always does; then it serves, where it would start uvicorn.
"""

import os
from typing import Any

import uvicorn
from mlflow import server
from mlflow.cli import cli


def _serve_here(command: list[str], extra_env: dict[str, str], **_: Any) -> Any:
    os.environ |= extra_env
    uvicorn.main(command[command.index("uvicorn") + 1 :])


server._exec_cmd = _serve_here
cli()
