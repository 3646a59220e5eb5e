"""Finding models: the bundled one, folders, and downloads from a hub that the test serves itself."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

import pytest
from checkpoints import write_checkpoint

from longctx.errors import ModelError
from longctx.hub import BUNDLED, KNOWN, SKETCH, settings

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """Serve a repository `org/tiny` with a checkpoint, a pickle and a script; yield the server's address."""
    root = write_checkpoint(tmp_path / "served")
    (root / "pytorch_model.bin").write_bytes(b"a pickle")
    (root / "modeling_evil.py").write_text("raise SystemExit('code of a checkpoint was run')")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(self.path.split("?")[0])
            if path.startswith("/api/models/org/tiny/tree/"):
                entries = [
                    {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": p.name}
                    for p in root.iterdir()
                ]
                self.reply(json.dumps(entries).encode())
            elif path.startswith("/api/models/org/tiny"):
                files = [{"rfilename": p.name} for p in sorted(root.iterdir())]
                values = {"id": "org/tiny", "modelId": "org/tiny", "sha": REVISION, "tags": []}
                self.reply(json.dumps(values | {"siblings": files}).encode())
            elif (
                path.startswith(f"/org/tiny/resolve/{REVISION}/")
                and (file := root / Path(path).name).is_file()
            ):
                self.reply(file.read_bytes())
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def reply(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", REVISION)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def run(model: str, endpoint: str, folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run the real command in a process of its own: the hub's library reads its settings when imported."""
    text = folder / "text.txt"
    text.write_text("The ferry left the quay at noon.\n")
    return longctx(endpoint, folder, *command, str(text), "--model", model, "--max-tokens", "2")


def longctx(endpoint: str, folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "longctx", *command],
        env=os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def ask(model: str, endpoint: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return run(model, endpoint, folder, "ask", "Why?")


def files(cache: Path) -> set[str]:
    return {p.name for p in cache.rglob("*") if p.is_file() or p.is_symlink()}


def test_a_hub_model_is_downloaded_without_code_and_used(hub: str, tmp_path: Path) -> None:
    """If this fails --model organisation/name does not work, or fetches code and pickles."""
    result = ask("org/tiny", hub, tmp_path)
    assert result.returncode == 0, result.stderr
    names = files(tmp_path / "cache")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not {"pytorch_model.bin", "modeling_evil.py"} & names
    assert "org/tiny" in longctx(hub, tmp_path, "models").stdout


def test_a_plan_fetches_no_weights(hub: str, tmp_path: Path) -> None:
    """If this fails a user downloads hundreds of gigabytes to learn that they do not fit."""
    result = run("org/tiny", hub, tmp_path, "plan")
    assert result.returncode == 0, result.stderr
    names = files(tmp_path / "cache")
    assert {"config.json", "tokenizer.json"} <= names
    assert "model.safetensors" not in names
    assert "org/tiny" not in longctx(hub, tmp_path, "models").stdout


def test_known_models_are_planned_without_a_network(tmp_path: Path) -> None:
    """If this fails nobody can look up what a published model needs before it is there."""
    assert {settings(known.name, to_plan=True) for known in KNOWN} == {SKETCH}
    result = run(KNOWN[0].name, "http://127.0.0.1:9", tmp_path, "plan", "--json", "--device", "cpu")
    values = json.loads(result.stdout)
    assert (values["tokens"], values["exact"]) == (9 + 2, False)
    assert values["weights"] == pytest.approx(2 * KNOWN[0].weights_bytes, rel=0.001)  # float32 on a CPU
    assert result.returncode == (0 if values["fits"] else 5)


def test_a_name_that_is_not_on_the_hub_is_one_line(hub: str, tmp_path: Path) -> None:
    """If this fails a mistyped name ends in a traceback."""
    result = ask("org/missing", hub, tmp_path)
    assert result.returncode == 4
    assert "org/missing: cannot be downloaded" in result.stderr
    assert result.stderr.count("\n") == 1


def test_no_network_is_one_line(tmp_path: Path) -> None:
    """If this fails a laptop on a train ends in a traceback."""
    result = ask("org/tiny", "http://127.0.0.1:9", tmp_path)
    assert result.returncode == 4
    assert "org/tiny: cannot be downloaded" in result.stderr
    assert "Traceback" not in result.stderr


def test_folders_and_the_bundled_model_are_found(tmp_path: Path) -> None:
    """If this fails --model FOLDER, or running without --model, does not work."""
    assert settings(None) == BUNDLED
    assert settings(str(tmp_path)) == tmp_path
    with pytest.raises(ModelError, match="no such folder"):
        settings(str(tmp_path / "a" / "b" / "missing"))
