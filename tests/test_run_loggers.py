"""The logger of a job in AzureML, whose server may be dead, deaf, another one, or end in the middle."""

import importlib.util
import json
import logging
import os
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from runner import run, run_loggers
from runner.metrics_table import read_table
from runner.run_loggers import JobLogger, _joined_job

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")

CONTAINERS = Path(__file__).parent / "containers"
SETTINGS: dict[str, Any] = {
    "containers": CONTAINERS, "quiet": True, "num_epochs": 2, "saliency_limit": 1, "logger": ["tensorboard"],
}  # fmt: skip


class _Answers(BaseHTTPRequestHandler):
    """The part of MLflow's protocol that a logger needs, for the run ``job_1``; 500 for all that comes after."""

    asked: ClassVar[list[str]] = []
    most: ClassVar[int] = 1000

    def _answer(self) -> None:
        self.asked.append(self.path.partition("?")[0])
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_known = "job_1" in self.path or self.command == "POST"
        info = {"run_id": "job_1", "experiment_id": "0", "status": "RUNNING", "artifact_uri": "", "run_uuid": "job_1"}
        body = {"run": {"info": info, "data": {}}} if is_known else {"error_code": "RESOURCE_DOES_NOT_EXIST"}
        self.send_response(500 if len(self.asked) > self.most else 200 if is_known else 404)
        text = json.dumps(body).encode()
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PATCH = _answer

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that knows one run."""
    monkeypatch.setattr(_Answers, "asked", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as made:
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


@pytest.fixture
def deaf() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as made:
        yield f"http://127.0.0.1:{made.getsockname()[1]}"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return those about the server."""
    return [each.getMessage() for each in caplog.records if "MLflow server" in each.getMessage()]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's retries and its import take seconds; how long it waits, the tests say, and a slow machine needs more."""
    importlib.import_module("mlflow.tracking")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "600")
    monkeypatch.setattr(run_loggers, "SECONDS", 60.0)
    monkeypatch.setenv("AZUREML_RUN_ID", "job_1")


def test_the_run_is_joined(server: str, caplog: pytest.LogCaptureFixture) -> None:
    """Metrics arrive; the logger can be handed to other processes, as some strategies do."""
    logger = _joined_job(server, "job_1")
    assert isinstance(logger, JobLogger)
    assert (logger.version, logger.name) == ("job_1", "0")
    logger.log_metrics({"val_loss": 0.5}, 3)
    logger.finalize("success")
    pickle.loads(pickle.dumps(logger)).log_metrics({"val_loss": 0.5}, 4)
    assert [each.rpartition("/")[2] for each in _Answers.asked].count("log-batch") == 2
    assert not warnings(caplog)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "odd://x", "http://", "deaf"])
def test_servers_that_cannot_be_had(
    uri: str, deaf: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning after a short while, and no logger."""
    monkeypatch.setattr(run_loggers, "SECONDS", 1.0)
    begin = time.monotonic()
    assert _joined_job(deaf if uri == "deaf" else uri, "job_1") is None
    assert time.monotonic() - begin < 60
    assert len(warnings(caplog)) == 1


def test_a_run_that_the_server_does_not_know(server: str, caplog: pytest.LogCaptureFixture) -> None:
    """The job of another workspace, as it were."""
    assert _joined_job(server, "other") is None
    [warning] = warnings(caplog)
    assert "RESOURCE_DOES_NOT_EXIST" in warning


def test_limits_are_for_this_logger_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is as before, and what the user has set stays."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    before = dict(os.environ)
    seen = run_loggers._within(5, lambda: dict(os.environ))
    assert (seen["MLFLOW_HTTP_REQUEST_TIMEOUT"], seen["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) == ("77", "2")
    assert dict(os.environ) == before
    assert logging.getLogger("urllib3.connectionpool").level == logging.NOTSET


def test_a_secret_of_the_address_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """The log is uploaded."""
    assert _joined_job("odd://user:hunter2@x", "job_1") is None
    assert "hunter2" not in caplog.text


def test_a_run_goes_on_when_the_server_fails_in_the_middle(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets the first metrics and nothing after its first error, pictures and report neither; the run has all."""
    monkeypatch.setattr(_Answers, "most", 3)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    result = run("Tiny", output_to=tmp_path, **SETTINGS)
    assert result.state == "completed"
    assert len(_Answers.asked) == 4
    assert (result.folder / "run.log").read_text().count("MLflow server") == 1
    assert len(read_table(result.folder / "metrics.csv")[1]) >= 2
