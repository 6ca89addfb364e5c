"""A web server of somebody else's, and what a page of it tries."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Each gives "blocked", or what the page got.
TRY_FETCH = """
([url, options]) => fetch(url, options).then(
    async answer => `${answer.type} ${answer.status} ${await answer.text()}`,
    () => "blocked",
)
"""
TRY_ELEMENT = """
([name, property, url]) => new Promise(resolve => {
    const element = document.createElement(name);
    if (name === "link") element.rel = "stylesheet";
    element.onload = () => resolve(`${name} loaded ${url}`);
    element.onerror = () => resolve("blocked");
    element[property] = url;
    document.body.append(element);
})
"""
TRY_SOCKET = """
url => new Promise(resolve => {
    const socket = new WebSocket(url);
    socket.onopen = () => resolve("opened");
    socket.onerror = () => resolve("blocked");
})
"""
TRY_EVENTS = """
url => new Promise(resolve => {
    const events = new EventSource(url, {withCredentials: true});
    events.onopen = () => resolve("opened");
    events.onerror = () => { events.close(); resolve("blocked"); };
})
"""
TRY_BEACON = """
([url, type]) => navigator.sendBeacon(url, new Blob(["{}"], {type}))
"""
SUBMIT_FORM = """
([action, enctype, fields]) => {
    const form = document.createElement("form");
    Object.assign(form, {action, method: "post", enctype});
    for (const [name, value] of Object.entries(fields)) {
        const input = document.createElement("input");
        Object.assign(input, {name, value});
        form.append(input);
    }
    document.body.append(form);
    HTMLFormElement.prototype.submit.call(form);
}
"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!DOCTYPE html><title>Cats</title><body>Look at these cats"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def hostile_server() -> Iterator[int]:
    """Give the port of a server whose every page is the same."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server.server_port
        server.shutdown()
        serving.join()
