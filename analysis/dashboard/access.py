"""Who may look: one token, sessions that this process keeps, and forms that only its own pages can send."""

import hmac
import secrets
import time
from collections import deque
from datetime import timedelta

from flask import Flask, Response, abort, redirect, render_template, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
from flask.typing import ResponseReturnValue

LIFETIME_S = 12 * 3600
TRIES, TRIES_S = 5, 60.0  # wrong tokens before a pause, and how long it lasts
_OPEN = ("get_login", "post_login", "get_style", "get_health")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class _Sessions(SecureCookieSessionInterface):
    """Cookies that a browser sends over TLS only, where TLS is; on the loopback address itself there is none."""

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002
        return bool(request.is_secure)


class _Door:
    """The sessions that are open, and the wrong tokens of the last minute."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._ends: dict[str, float] = {}
        self._wrong: deque[float] = deque(maxlen=TRIES)

    def pause_s(self) -> int:
        """Give how long no token is taken, after too many wrong ones."""
        if len(self._wrong) < TRIES:
            return 0
        return max(0, round(self._wrong[0] + TRIES_S - time.monotonic()))

    def opened(self, token: str) -> str | None:
        """Give a new session's id where the token is right."""
        if not hmac.compare_digest(token.strip().encode(), self._token):
            self._wrong.append(time.monotonic())
            return None
        now = time.monotonic()
        self._ends = {one: end for one, end in self._ends.items() if end > now}
        opened = secrets.token_urlsafe(24)
        self._ends[opened] = now + LIFETIME_S
        return opened

    def is_open(self, name: object) -> bool:
        return isinstance(name, str) and self._ends.get(name, 0.0) > time.monotonic()

    def close(self, name: object) -> None:
        self._ends.pop(str(name), None)


def add_access(app: Flask, token: str) -> None:
    """Let nobody see anything without the token; `POST /login` and `POST /logout` are all that changes state."""
    door = _Door(token)
    app.secret_key = secrets.token_bytes(32)
    app.session_interface = _Sessions()
    app.config.update(
        SESSION_COOKIE_NAME="crosslift_dashboard",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=LIFETIME_S),
        MAX_CONTENT_LENGTH=10_000,
        # A page elsewhere whose name is made to lead here is not let in.
        TRUSTED_HOSTS=["127.0.0.1", "localhost", "[::1]"],
    )

    @app.before_request
    def check() -> ResponseReturnValue | None:
        if not request.host or request.endpoint in _OPEN:  # a host that is not trusted is refused by being asked for
            return None
        if not door.is_open(session.get("id")):
            return redirect(url_for("get_login"), 303) if request.method in ("GET", "HEAD") else abort(403)
        if request.method == "POST":
            _check_form()
        return None

    @app.after_request
    def guard(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    _add_forms(app, door)
    app.jinja_env.globals["form_mark"] = form_mark


def _add_forms(app: Flask, door: _Door) -> None:
    @app.get("/login")
    def get_login() -> str:
        """Ask for the token."""
        return _login_page("")

    @app.post("/login")
    def post_login() -> ResponseReturnValue:
        """Form with token -> a session, and on to the list; 403 for a wrong one, 429 after too many."""
        _check_form()
        pause_s = door.pause_s()
        if pause_s:
            return _login_page(f"Too many wrong tokens: try again in {pause_s} s."), 429, {"Retry-After": str(pause_s)}
        opened = door.opened(request.form.get("token", ""))
        if opened is None:
            return _login_page("That is not the token that `crosslift dashboard` printed."), 403
        session.clear()
        session.permanent = True
        session["id"] = opened
        return redirect(url_for("get_list"), 303)

    @app.post("/logout")
    def post_logout() -> ResponseReturnValue:
        """Close the session."""
        door.close(session.get("id"))
        session.clear()
        return redirect(url_for("get_login"), 303)


def form_mark() -> str:
    """Give what a form of this session carries, so that no other page can send it."""
    if "form" not in session:
        session["form"] = secrets.token_urlsafe(18)
    return str(session["form"])


def _login_page(fault: str) -> str:
    return render_template("dashboard/login.html", fault=fault)


def _check_form() -> None:
    sent, kept = request.form.get("form", ""), session.get("form")
    if not isinstance(kept, str) or not hmac.compare_digest(sent.encode(), kept.encode()):
        abort(403)
