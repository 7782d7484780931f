"""Runs inside `.venv-bench`: `python -P tensorzero_host.py CONFIG PORT_FILE` starts TensorZero's HTTP gateway,
writes the port it chose (whole or not at all) and sleeps until killed. The Python around it does nothing more.
"""

from __future__ import annotations

import signal
import sys
import warnings
from pathlib import Path
from urllib.parse import urlsplit


def main(config: Path, port_file: Path) -> None:
    """Start, tell, wait."""
    warnings.simplefilter(
        "ignore", DeprecationWarning
    )  # the one-line start is deprecated; it is the only one on PyPI
    import openai  # noqa: PLC0415 - after the filter
    import tensorzero  # noqa: PLC0415 - after the filter

    client = tensorzero.patch_openai_client(
        openai.OpenAI(api_key="unused"), config_file=str(config), async_setup=False
    )
    draft = port_file.with_suffix(".draft")
    draft.write_text(str(urlsplit(str(client.base_url)).port))
    draft.replace(port_file)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    tensorzero.close_patched_openai_client_gateway(client)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(Path(sys.argv[1]), Path(sys.argv[2]))
