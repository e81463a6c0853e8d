"""A server that obeys the rules of `confide.daemon`, or breaks one: python FILE PID_FILE MODE."""

import http.server
import signal
import sys
import threading
import time
from pathlib import Path

from confide.daemon.presence import Presence


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "ok", "verified": true, "simulated": false}')

    def log_message(self, *_):
        pass


def main(pid_file, mode):
    if mode == "refuses":
        sys.exit("confide: error: it does not like this\nconfide: hint: change it")
    if mode == "dies":
        sys.exit(9)
    presence = Presence.claim(Path(pid_file), host="127.0.0.1", shutdown_timeout_s=0.2)
    if mode == "never-ready":
        time.sleep(60)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stopping = threading.Event()
    hurry = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, lambda *_: hurry.set())
    if mode in ("deaf", "mute"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    presence.note("serving", port=server.server_port)
    if mode == "mute":
        server.shutdown()
        server.server_close()
    stopping.wait()
    presence.draining()
    if mode == "drains":
        hurry.wait(60)
    if mode == "drains-for-ever":
        while True:
            time.sleep(60)
    presence.ended()


if __name__ == "__main__":
    main(*sys.argv[1:])
