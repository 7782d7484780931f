"""The simulated provider as a process: says where it listens, serves, and ends when told to."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.simulator.__main__ import options_from

SRC = Path(__file__).parents[3] / "src"


def test_it_says_its_port_serves_and_ends_cleanly(tmp_path):
    truth = tmp_path / "truth.jsonl"
    command = [sys.executable, "-m", "penstock.simulator", "--port", "0", "--truth", str(truth)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"PYTHONPATH": str(SRC)}) as process:
        try:
            said = json.loads(process.stdout.readline())
            assert said["url"] == f"http://127.0.0.1:{said['port']}/v1"
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
            connection = http.client.HTTPConnection("127.0.0.1", said["port"], timeout=10)
            connection.request("POST", "/v1/chat/completions", body)
            assert json.load(connection.getresponse())["choices"]
            connection.close()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert json.loads(truth.read_text())["outcome"] == "ok"


def test_every_option_reaches_the_simulator():
    options = options_from(
        ["--port", "7", "--seed", "3", "--weights", '{"cut": 0.5}', "--first-token-s", "0.1", "--tokens-per-s", "50",
         "--answer-tokens", "9", "--key", "k"]
    )  # fmt: skip
    assert (options.port, options.seed, options.weights, options.key) == (7, 3, {"cut": 0.5}, "k")
    assert (options.speeds.first_token_s, options.speeds.tokens_per_s, options.speeds.answer_tokens) == (
        0.1,
        50,
        9,
    )


@pytest.mark.parametrize("weights", ["{", "[]", '{"cut":"x"}'])
def test_wrong_weights_are_a_usage_error(weights, capsys):
    with pytest.raises(SystemExit) as end:
        options_from(["--weights", weights])
    assert end.value.code == 2
    assert "--weights" in capsys.readouterr().err
