"""Reads what package track wrote with the programs that it is for (pip install tensorboard wandb):

    check.py tensorboard FOLDER    what TensorBoard sees below logs/PROJECT
    check.py wandb FOLDER          what "wandb sync" uploads of an offline run; this script plays the server on loopback
"""

import gzip
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading


def tensorboard(folder):
    from tensorboard.backend.event_processing import event_accumulator

    events = event_accumulator.EventAccumulator(folder, size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    for tag in events.Tags()["scalars"]:
        print(tag, [(e.step, round(e.value, 6)) for e in events.Scalars(tag)])
    for tag in events.Tags()["images"]:
        print(tag, [(e.step, e.width, e.height, len(e.encoded_image_string)) for e in events.Images(tag)])
    for tag in events.Tags()["tensors"]:
        print(tag, [(e.step, e.tensor_proto.string_val[0].decode()) for e in events.Tensors(tag)])


class Server(http.server.BaseHTTPRequestHandler):
    """As much of the W&B server as "wandb sync" needs."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def read(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer({})

    def do_PUT(self):
        print("file", self.path, len(self.read()), "bytes")
        self.answer({})

    def do_POST(self):
        body = json.loads(self.read())
        if not self.path.startswith("/graphql"):
            print("stream", json.dumps(body, indent=1))
            self.answer({"limits": {}})
            return
        name, variables = body.get("operationName"), body.get("variables") or {}
        data = {}
        if name == "UpsertBucket":
            print("run", variables["name"], variables["displayName"], variables["config"])
            project = {"id": "1", "name": variables["project"], "entity": {"id": "1", "name": "me"}}
            bucket = {"id": "1", "name": variables["name"], "displayName": variables["displayName"], "description": "", "config": "{}",
                      "sweepName": None, "project": project, "historyLineCount": 0}
            data = {"upsertBucket": {"bucket": bucket, "inserted": True}}
        elif name == "CreateRunFiles":
            files = [{"name": f, "uploadUrl": f"http://{self.headers['Host']}/{f}"} for f in variables["files"]]
            data = {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
        self.answer({"data": data})


def wandb(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as home:
        copy = os.path.join(home, "wandb", os.path.basename(os.path.normpath(folder)))
        shutil.copytree(folder, copy)
        environment = dict(os.environ, WANDB_BASE_URL=f"http://127.0.0.1:{server.server_port}", WANDB_API_KEY="0" * 40,
                           WANDB_ERROR_REPORTING="false", HOME=home)
        sys.exit(subprocess.run(["wandb", "sync", "--yes", copy], cwd=home, env=environment, timeout=120).returncode)


if __name__ == "__main__":
    {"tensorboard": tensorboard, "wandb": wandb}[sys.argv[1]](sys.argv[2])
