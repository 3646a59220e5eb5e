"""Finding models: the bundled one, folders, and downloads from a hub that the test serves itself."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from checkpoints import published_config, write_checkpoint

from longctx import download, known
from longctx.errors import DoesNotFitError, ModelError
from longctx.hub import BUNDLED, is_sketch, settings

REVISION = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_secret"
NOWHERE = "http://127.0.0.1:9"
# What runs in a process of its own without torch: find a model, and get its weights.
GET = """
import sys
from longctx import hub
from longctx.errors import LongctxError
try:
    print(hub.weights(sys.argv[1], hub.settings(sys.argv[1]), lambda progress: None))
except LongctxError as error:
    sys.exit(str(error))
"""


@dataclass
class Hub:
    """A hub with the repositories of `root`, and what goes wrong with it.

    Attributes:
        ranges: large files can be asked for from any byte on.
        cut: how many downloads of a large file break off after 30,000 bytes.
        damaged: a byte of every large file arrives wrong.
        stall: large files stop after 30,000 bytes until this is set.
        asked: what was asked for; downloads of large files with their range.
    """

    root: Path
    address: str = ""
    ranges: bool = True
    cut: int = 0
    damaged: bool = False
    stall: Event | None = None
    asked: Counter[str] = field(default_factory=Counter)
    tokens: set[str | None] = field(default_factory=set)


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(self.path.split("?")[0]).strip("/").removeprefix("api/models/")
            repo = "/".join(path.split("/")[:2])
            root = hub.root / repo
            hub.tokens.add(self.headers["Authorization"])
            if repo == "org/gated":
                self.refuse(403, "GatedRepo")
            elif not root.is_dir():
                self.refuse(401, "RepoNotFound")
            elif (
                path.startswith(f"{repo}/resolve/{REVISION}/") and (file := root / Path(path).name).is_file()
            ):
                self.send(file)
            elif "unheard-of" in path:
                self.refuse(404, "RevisionNotFound")
            elif "/tree/" in path:
                self.reply(json.dumps([{"type": "file", **facts(p)} for p in root.iterdir()]).encode())
            elif self.path.startswith("/api/"):
                files = [{"rfilename": p.name, **facts(p)} for p in sorted(root.iterdir())]
                values = {"id": repo, "modelId": repo, "sha": REVISION, "tags": [], "siblings": files}
                self.reply(json.dumps(values).encode())
            else:
                self.refuse(404, "EntryNotFound")

        do_HEAD = do_GET

        def send(self, file: Path) -> None:
            body, large = file.read_bytes(), file.suffix == ".safetensors"
            start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
            if self.command == "GET" and large:
                hub.asked[f"{file.name} from {start}"] += 1
            start = start if hub.ranges else 0
            if hub.damaged and large:
                body = body[:-1] + bytes([body[-1] ^ 1])
            self.reply(body, start, large, hashlib.sha256(file.read_bytes()).hexdigest())

        def reply(self, body: bytes, start: int = 0, large: bool = False, tag: str = "") -> None:
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.send_header("ETag", f'"{tag or hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", REVISION)
            self.end_headers()
            if self.command == "HEAD":
                return
            if large and (hub.cut or hub.stall):
                self.wfile.write(body[start : start + 30_000])
                hub.cut = max(hub.cut - 1, 0)
                if not hub.stall:
                    self.close_connection = True
                    return
                hub.stall.wait(30)
                return
            self.wfile.write(body[start:])

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def facts(path: Path) -> dict[str, Any]:
    """Return what the hub says of a file."""
    found: dict[str, Any] = {"path": path.name, "size": path.stat().st_size, "oid": path.name}
    if path.suffix == ".safetensors":
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found["lfs"] = {"oid": digest, "sha256": digest, "size": found["size"], "pointerSize": 130}
    return found


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Serve `org/tiny` (a checkpoint, a pickle, a script) and repositories with something wrong."""
    root = tmp_path / "served"
    tiny = write_checkpoint(root / "org/tiny")
    (tiny / "pytorch_model.bin").write_bytes(b"a pickle")
    (tiny / "modeling_evil.py").write_text("raise SystemExit('code of a checkpoint was run')")
    for name in ("pickled", "gguf", "huge", "half"):
        shutil.copytree(tiny, root / "org" / name)
    (root / "org/pickled/model.safetensors").unlink()
    (root / "org/gguf/model.safetensors").unlink()
    (root / "org/gguf/pytorch_model.bin").rename(root / "org/gguf/model-q4.gguf")
    (root / "org/huge/config.json").write_text(json.dumps(published_config()))
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (root / "org/half/model.safetensors").rename(root / "org/half/model-00001-of-00002.safetensors")
    (root / "org/half/model.safetensors.index.json").write_text(json.dumps(index))
    hub = Hub(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    Thread(target=server.serve_forever, daemon=True).start()
    yield hub
    if hub.stall:
        hub.stall.set()
    server.shutdown()
    server.server_close()


def environment(endpoint: str, folder: Path) -> dict[str, str]:
    return os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "settings"),
        "OMP_NUM_THREADS": "1",
    }


def run(endpoint: str, folder: Path, *command: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a process of its own: the hub's library reads its settings when imported."""
    return subprocess.run(
        [sys.executable, *command],
        env=environment(endpoint, folder) | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def longctx(endpoint: str, folder: Path, *command: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return run(endpoint, folder, "-m", "longctx", *command, **more)


def get(model: str, endpoint: str, folder: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    return run(endpoint, folder, "-c", GET, model, **more)


def ask(model: str, endpoint: str, folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    text = folder / "text.txt"
    text.write_text("The ferry left the quay at noon.\n")
    return longctx(
        endpoint, folder, "ask", "Why?", str(text), "--model", model, "--max-tokens", "2", *options
    )


def files(folder: Path) -> set[str]:
    return {p.name for p in (folder / "cache").rglob("*") if p.is_file() or p.is_symlink()}


def test_a_hub_model_is_downloaded_without_code_and_used(hub: Hub, tmp_path: Path) -> None:
    """If this fails --model organisation/name fails, fetches code, or asks the hub again."""
    result = ask("org/tiny", hub.address, tmp_path)
    assert result.returncode == 0, result.stderr
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files(tmp_path)
    assert not {"pytorch_model.bin", "modeling_evil.py"} & files(tmp_path)
    blobs = [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and not p.is_symlink()]
    assert sum(p.stat().st_size > 50_000 for p in blobs) == 1  # one copy of the weights
    for offline in ("0", "1"):
        again = get("org/tiny", NOWHERE, tmp_path, HF_HUB_OFFLINE=offline)
        assert again.returncode == 0, again.stderr
    line = next(x for x in longctx(NOWHERE, tmp_path, "models").stdout.splitlines() if "org/tiny" in x)
    assert "downloaded" in line


def test_a_plan_fetches_no_weights(hub: Hub, tmp_path: Path) -> None:
    """If this fails a user downloads hundreds of gigabytes to learn that they do not fit."""
    result = longctx(hub.address, tmp_path, "plan", "--length", "32", "--model", "org/tiny")
    assert result.returncode == 0, result.stderr
    assert {"config.json", "tokenizer.json"} <= files(tmp_path)
    assert "model.safetensors" not in files(tmp_path)
    assert "org/tiny" not in longctx(hub.address, tmp_path, "models").stdout


def test_known_models_are_planned_without_a_network(tmp_path: Path) -> None:
    """If this fails nobody can look up what a published model needs before it is there."""
    name = "minimax-text-01"
    (tmp_path / "text.txt").write_text("The ferry left the quay at noon.\n")
    command = ("plan", str(tmp_path / "text.txt"), "--json", "--device", "cpu", "--max-tokens", "2")
    result = longctx(NOWHERE, tmp_path, *command, "--quant", "none", "--model", name)
    values = json.loads(result.stdout)
    assert (values["tokens"], values["exact"]) == (9 + 2, False)
    assert values["weights"] == pytest.approx(2 * known.known()[name].bytes, rel=0.001)  # float32 on a CPU
    assert result.returncode == (0 if values["fits"] else 5)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_where_it_broke(hub: Hub, tmp_path: Path, ranges: bool) -> None:
    """If this fails a connection that drops at 90 % of 30 GB costs 30 GB again, or never ends."""
    hub.cut, hub.ranges = 2 if ranges else 1, ranges
    result = get("org/tiny", hub.address, tmp_path)
    assert result.returncode == 0, result.stderr
    starts = (0, 30_000, 60_000) if ranges else (0, 30_000)
    assert [*hub.asked] == [f"model.safetensors from {start}" for start in starts]
    original = (hub.root / "org/tiny/model.safetensors").read_bytes()
    assert (Path(result.stdout.strip()) / "model.safetensors").read_bytes() == original


def test_a_killed_download_installs_nothing_and_goes_on(hub: Hub, tmp_path: Path) -> None:
    """If this fails half a model is taken for a whole one, or its half is thrown away."""
    hub.stall = Event()
    child = subprocess.Popen(
        [sys.executable, "-c", GET, "org/tiny"],
        env=environment(hub.address, tmp_path),
        stderr=subprocess.DEVNULL,
    )
    part, started = None, monotonic()
    while not (part and part.stat().st_size >= 30_000) and monotonic() - started < 60:
        sleep(0.05)
        part = next((tmp_path / "cache").rglob("*.incomplete"), None)
    child.kill()
    child.wait()
    hub.stall.set()
    hub.stall = None
    assert "model.safetensors" not in files(tmp_path)
    offline = get("org/tiny", NOWHERE, tmp_path)
    assert "longctx models pull org/tiny" in offline.stderr
    assert "in part" in longctx(NOWHERE, tmp_path, "models").stdout
    result = get("org/tiny", hub.address, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "model.safetensors from 30000" in hub.asked
    assert not any(name.endswith(".incomplete") for name in files(tmp_path))


def test_a_damaged_file_is_thrown_away(hub: Hub, tmp_path: Path) -> None:
    """If this fails a flipped bit becomes wrong answers that nobody can explain."""
    hub.damaged = True
    result = get("org/tiny", hub.address, tmp_path)
    assert "model.safetensors arrived damaged (sha256" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not any(name.endswith((".safetensors", ".incomplete")) for name in files(tmp_path))
    hub.damaged = False
    assert get("org/tiny", hub.address, tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("org/missing", "org/missing: cannot be downloaded: there is no such repository, or it is private"),
        ("org/gated", "ask for access on https://huggingface.co/org/gated, then set HF_TOKEN"),
        ("org/tiny@unheard-of", "has no revision 'unheard-of'"),
        ("org/half", "model-00002-of-00002.safetensors is not on the hub: the repository is incomplete"),
        ("org/pickled", "pickled weights (.bin, .pt) can run code and are not read"),
        ("org/gguf", "GGUF is for llama.cpp; take the repository it was made from"),
        ("hypnet-2b", "did you mean hypenet-2b?"),
    ],
)
def test_what_cannot_be_downloaded_is_one_line(hub: Hub, tmp_path: Path, model: str, words: str) -> None:
    """If this fails a mistyped name, a closed or a broken repository is a traceback, or leaves a part."""
    result = get(model, hub.address, tmp_path)
    assert words in result.stderr
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert not any(name.endswith((".safetensors", ".incomplete")) for name in files(tmp_path))


def test_failures_reach_the_user_as_one_line(tmp_path: Path) -> None:
    """If this fails a laptop on a train ends in a traceback."""
    result = ask("org/tiny", NOWHERE, tmp_path)
    assert result.returncode == 4
    assert "org/tiny: cannot be downloaded" in result.stderr
    assert result.stderr.count("\n") == 1
    offline = get("org/tiny", NOWHERE, tmp_path, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set, and it is not here whole" in offline.stderr


def test_the_token_is_sent(hub: Hub, tmp_path: Path) -> None:
    """If this fails models that ask for a login cannot be had."""
    assert get("org/tiny", hub.address, tmp_path, HF_TOKEN=TOKEN).returncode == 0
    assert hub.tokens == {f"Bearer {TOKEN}"}


def test_a_full_disk_is_refused_before_and_told_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a download fills the disk, and ends in a traceback."""
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=5 << 30))
    download.check_disk("org/tiny", 4 << 30)
    with pytest.raises(DoesNotFitError, match=r"6\.0 GiB are still to come, .* 5\.0 GiB free; .*HF_HOME"):
        download.check_disk("org/tiny", 6 << 30)
    with (
        pytest.raises(ModelError, match=r"is full; .* goes on where it stopped"),
        download.reasons("org/tiny"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_two_downloads_of_a_file_do_not_mix(tmp_path: Path) -> None:
    """If this fails two commands that download the same model write a file that is neither."""
    part = tmp_path / "part"
    with part.open("a+b") as first, part.open("a+b") as second:
        download.lock("org/tiny", first.fileno())
        with pytest.raises(ModelError, match="is being downloaded by another process"):
            download.lock("org/tiny", second.fileno())


def test_folders_and_the_bundled_model_are_found(tmp_path: Path) -> None:
    """If this fails --model FOLDER, or running without --model, does not work, or GGUF is not explained."""
    assert settings(None) == settings("bundled") == BUNDLED
    assert settings(str(tmp_path)) == tmp_path
    assert is_sketch(settings("ring-mini", to_plan=True))
    with pytest.raises(ModelError, match="no such folder"):
        settings(str(tmp_path / "a" / "b" / "missing"))
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for place in (tmp_path, tmp_path / "model.gguf"):
        with pytest.raises(ModelError, match=r"llama\.cpp"):
            settings(str(place))


def test_a_model_is_shown_pulled_used_and_deleted(hub: Hub, tmp_path: Path) -> None:
    """If this fails `models` loses a download, uses another model than asked for, or frees nothing."""
    pulled = longctx(hub.address, tmp_path, "models", "pull", "org/tiny", "--revision", REVISION)
    assert pulled.returncode == 0, pulled.stderr
    assert f"longctx ask --model org/tiny@{REVISION}" in pulled.stdout
    assert "memory for" in pulled.stderr  # what it needs was said first
    assert "Fetching" not in pulled.stderr
    shown = json.loads(longctx(NOWHERE, tmp_path, "models", "show", f"org/tiny@{REVISION}", "--json").stdout)
    assert (shown["downloaded"], shown["repo"], shown["fits"]) == (True, "org/tiny", True)
    used = longctx(NOWHERE, tmp_path, "models", "use", f"org/tiny@{REVISION}")
    assert f"org/tiny@{REVISION} is the default now" in used.stdout
    assert "models pull" not in used.stdout
    (tmp_path / "text.txt").write_text("The ferry left the quay at noon.\n")
    command = ("ask", "Why?", str(tmp_path / "text.txt"), "--max-tokens", "2", "-v")
    assert "models--org--tiny" in longctx(NOWHERE, tmp_path, *command).stderr
    named = longctx(NOWHERE, tmp_path, *command, LONGCTX_MODEL="bundled")
    assert "models--org--tiny" not in named.stderr
    gone = longctx(NOWHERE, tmp_path, "models", "rm", "org/tiny", "--json")
    assert json.loads(gone.stdout)["freed_bytes"] > (hub.root / "org/tiny/model.safetensors").stat().st_size
    assert not files(tmp_path) & {"model.safetensors", "config.json"}
    again = longctx(NOWHERE, tmp_path, "models", "rm", "org/tiny")
    assert (again.returncode, again.stderr.count("\n")) == (4, 1)


def test_a_model_that_cannot_run_here_is_not_downloaded(hub: Hub, tmp_path: Path) -> None:
    """If this fails a night of downloading ends with "does not fit"."""
    result = longctx(hub.address, tmp_path, "models", "pull", "org/huge")
    assert result.returncode == 5
    assert "does not fit this machine; on the CPU as int4, for 32k tokens, it needs" in result.stderr
    assert "add --anyway" in result.stderr
    assert "model.safetensors" not in files(tmp_path)
    assert longctx(hub.address, tmp_path, "models", "pull", "org/huge", "--anyway").returncode == 0
