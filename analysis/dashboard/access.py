"""Access to the dashboard: one token, sessions in this process, and forms that only its own pages can send."""

import hmac
import secrets
import time
from collections import deque
from datetime import timedelta

from flask import Flask, Response, abort, redirect, render_template, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
from flask.typing import ResponseReturnValue

from analysis.dashboard import messages

LIFETIME_S = 12 * 3600
MAX_ATTEMPTS, PAUSE_S = 5, 60.0  # wrong tokens before a pause, and its length
_OPEN = ("get_login", "post_login", "get_style", "get_health")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class _Sessions(SecureCookieSessionInterface):
    """Session cookies that are limited to TLS where the browser uses TLS; the loopback address itself has none."""

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002
        return bool(request.is_secure)


class _OpenSessions:
    """The open sessions, and the wrong tokens of the last minute."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._expires_s: dict[str, float] = {}
        self._wrong: deque[float] = deque(maxlen=MAX_ATTEMPTS)

    def pause_s(self) -> int:
        """Return for how long no token is accepted, after too many wrong ones."""
        if len(self._wrong) < MAX_ATTEMPTS:
            return 0
        return max(0, round(self._wrong[0] + PAUSE_S - time.monotonic()))

    def open(self, token: str) -> str | None:
        """Return the id of a new session; None where the token is wrong."""
        if not hmac.compare_digest(token.strip().encode(), self._token):
            self._wrong.append(time.monotonic())
            return None
        now = time.monotonic()
        self._expires_s = {
            session_id: expires_s for session_id, expires_s in self._expires_s.items() if expires_s > now
        }
        session_id = secrets.token_urlsafe(24)
        self._expires_s[session_id] = now + LIFETIME_S
        return session_id

    def is_open(self, session_id: object) -> bool:
        return isinstance(session_id, str) and self._expires_s.get(session_id, 0.0) > time.monotonic()

    def close(self, session_id: object) -> None:
        self._expires_s.pop(str(session_id), None)


def add_access(app: Flask, token: str) -> None:
    """Require a session for every page; only `POST /login` and `POST /logout` change state."""
    sessions = _OpenSessions(token)
    app.secret_key = secrets.token_bytes(32)
    app.session_interface = _Sessions()
    app.config.update(
        SESSION_COOKIE_NAME="crosslift_dashboard",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=LIFETIME_S),
        MAX_CONTENT_LENGTH=10_000,
        # Against DNS rebinding: a foreign name that resolves to this machine is refused.
        TRUSTED_HOSTS=["127.0.0.1", "localhost", "[::1]"],
    )

    @app.before_request
    def check() -> ResponseReturnValue | None:
        if not request.host or request.endpoint in _OPEN:  # reading an untrusted host refuses it
            return None
        if not sessions.is_open(session.get("id")):
            return redirect(url_for("get_login"), 303) if request.method in ("GET", "HEAD") else abort(403)
        if request.method == "POST":
            _check_form()
        return None

    @app.after_request
    def guard(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    _add_forms(app, sessions)
    app.jinja_env.globals["form_token"] = form_token


def _add_forms(app: Flask, sessions: _OpenSessions) -> None:
    @app.get("/login")
    def get_login() -> str:
        """The form that asks for the token."""
        return _login_page("")

    @app.post("/login")
    def post_login() -> ResponseReturnValue:
        """Form with a token -> a session, and a redirect to the list; 403 for a wrong token, 429 after too many."""
        _check_form()
        pause_s = sessions.pause_s()
        if pause_s:
            return _login_page(messages.ACCESS_PAUSED.format(seconds=pause_s)), 429, {"Retry-After": str(pause_s)}
        session_id = sessions.open(request.form.get("token", ""))
        if session_id is None:
            return _login_page(messages.ACCESS_REFUSED), 403
        session.clear()
        session.permanent = True
        session["id"] = session_id
        return redirect(url_for("get_list"), 303)

    @app.post("/logout")
    def post_logout() -> ResponseReturnValue:
        """Close the session."""
        sessions.close(session.get("id"))
        session.clear()
        return redirect(url_for("get_login"), 303)


def form_token() -> str:
    """Return the secret that forms of this session carry, so that no other page can send them (CSRF)."""
    if "form" not in session:
        session["form"] = secrets.token_urlsafe(18)
    return str(session["form"])


def _login_page(fault: str) -> str:
    return render_template("dashboard/login.html", fault=fault)


def _check_form() -> None:
    sent, expected = request.form.get("form", ""), session.get("form")
    if not isinstance(expected, str) or not hmac.compare_digest(sent.encode(), expected.encode()):
        abort(403)
