"""Speaks to one MLflow server: only calls that MLflow 2.7 knows, each short, none hidden.

MLflow's own client repeats a call for minutes and reads its login from the environment; here a
call ends soon, says what went wrong in words that decide what is done next, and takes its login
along. Nothing here knows what has been delivered.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import IO, Any, Final
from urllib.parse import quote

from mlflow.exceptions import MlflowException
from requests import Response

from asl_exp.compat.mlflow import MlflowHostCreds, http_request
from asl_exp.config.redact import scrubbed

API: Final = "/api/2.0/mlflow"
_FILES: Final = "/api/2.0/mlflow-artifacts/artifacts"
_CONNECT_S, _ANSWER_S = 5.0, 15.0
_BYTES_A_SECOND: Final = 500_000  # an upload may be this slow before it is given up
_SLOW_S: Final = 4.0
_WAITS_S: Final = (0.2, 0.6, 1.5)
_LATER: Final = (408, 425, 429)


class ReplicaError(Exception):
    """The server did not do what it was asked."""


class NotNowError(ReplicaError):
    """No answer, or one that may be better later; the call may or may not have been done."""


class DeniedError(ReplicaError):
    """The server knows no such user, or the user may not do this."""


class MissingError(ReplicaError):
    """MLflow knows no such run or experiment."""


class RejectedError(ReplicaError):
    """The server will not take this, however often it is asked."""


class Server:
    """One server, or one repository of DagsHub, with the login to it.

    Args:
        address: without a slash at its end.
        login: username and password or token, as MLflow keeps them.
        patience: waits between the tries of a call, in seconds.
    """

    def __init__(
        self, address: str, login: MlflowHostCreds, patience: Sequence[float] = _WAITS_S
    ) -> None:
        self.address = address
        self.patience = patience
        self.login = login

    def get(self, path: str, /, **query: str) -> dict[str, Any]:
        """Ask for something; repeated at once where it may help."""
        answer: dict[str, Any] = self.repeated(lambda: self._json("GET", API + path, params=query))
        return answer

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Tell something whose repetition does no harm; repeated at once where it may help."""
        answer: dict[str, Any] = self.repeated(lambda: self.post_once(path, body))
        return answer

    def post_once(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Tell something whose repetition would make a double."""
        return self._json("POST", API + path, json=body)

    def put_file(self, path: str, size: int, open_file: Callable[[], IO[bytes]]) -> None:
        """Upload a file under its path in the server's store of artifacts."""

        def upload() -> None:
            with open_file() as file:
                self._call(
                    "PUT",
                    f"{_FILES}/{quote(path)}",
                    more_s=size / _BYTES_A_SECOND,
                    data=file if size else b"",  # without a length, requests would send chunks
                    extra_headers={"Content-Type": "application/octet-stream"},
                )

        self.repeated(upload)

    def get_beginning(self, path: str, count: int) -> bytes | None:
        """Download the first bytes of a file; None where the server does not give them.

        It is asked once: MLflow 2.7 takes files of any name and fails to give some back.
        """
        got = b""
        try:
            with self._call("GET", f"{_FILES}/{quote(path)}", stream=True) as response:
                for part in response.iter_content(count):
                    got += part
                    if len(got) >= count:
                        break
        except (ReplicaError, OSError):
            return None
        return got[:count]

    @cached_property
    def value_lengths(self) -> tuple[int, int]:
        """Return how many characters a param and a tag may have on this server."""
        try:
            said = self.repeated(lambda: self._call("GET", "/version")).text.strip()
            version = tuple(int(part) for part in said.split(".")[:2])
        except (RejectedError, MissingError, DeniedError, ValueError):
            version = (0, 0)  # DagsHub does not say; it has been a 2.7
        return (500 if version < (2, 8) else 6000), (5000 if version < (3, 0) else 8000)

    def repeated(self, call: Callable[[], Any]) -> Any:
        """Return what the call does, after as many tries as patience has.

        One that failed slowly is not repeated: the server takes calls and does not answer.
        """
        for wait_s in self.patience:
            began = time.monotonic()
            try:
                return call()
            except NotNowError:
                if time.monotonic() - began > _SLOW_S:
                    raise
                time.sleep(wait_s)
        return call()

    def _json(self, method: str, endpoint: str, **content: Any) -> dict[str, Any]:
        response = self._call(method, endpoint, **content)
        try:
            answer = response.json()
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise self._no_mlflow()
        return answer

    def _no_mlflow(self) -> RejectedError:
        return RejectedError(f"{self.address} answers, but not as an MLflow server does")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Take what answers inside, and is of another shape, for no answer of an MLflow server."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            raise self._no_mlflow() from None

    def _call(self, method: str, endpoint: str, *, more_s: float = 0.0, **content: Any) -> Response:
        """Call once.

        Raises:
            ReplicaError: one of the four.
        """
        try:
            response = http_request(  # type: ignore[no-untyped-call]
                self.login, endpoint, method,
                max_retries=0, raise_on_status=False, timeout=(_CONNECT_S, _ANSWER_S + more_s),
                allow_redirects=False,  # a POST would arrive as a GET
                **self._authorization(), **content,
            )  # fmt: skip
        except MlflowException as error:
            raise NotNowError(f"{self.address}: {_reason(error)}") from None
        assert isinstance(response, Response)
        if response.status_code == 200:
            return response
        raise self._error(response)

    def _authorization(self) -> dict[str, Any]:
        """Return the login in a form that a line of ~/.netrc does not replace."""
        if self.login.username and self.login.password:
            return {"auth": (self.login.username, self.login.password)}
        if self.login.token:
            return {"auth": Bearer(self.login.token)}
        return {}

    def _error(self, response: Response) -> ReplicaError:
        status, words = response.status_code, _words(response)
        said = f"{self.address}: status {status}{f' ({words})' if words else ''}"
        if status in (401, 403):
            return DeniedError(said)
        if status >= 500 or status in _LATER:
            return NotNowError(said)
        if status == 404 and _error_code(response) == "RESOURCE_DOES_NOT_EXIST":
            return MissingError(said)
        if 300 <= status < 400:
            return RejectedError(f"{said}: it sends on to {response.headers.get('Location')}")
        if status == 413:
            return RejectedError(f"over the server's limit of size (status {status})")
        return RejectedError(said)


def paged(ask: Callable[[dict[str, str]], dict[str, Any]], name: str) -> Iterator[Any]:
    """Yield what a call lists under a name, page by page; it is given the page to ask for."""
    token, seen = "", set[str]()
    while token not in seen:
        seen.add(token)
        answer = ask({"page_token": token} if token else {})
        yield from answer.get(name, [])
        token = answer.get("next_page_token", "")
        if not token:
            return
    raise ValueError(f"the page {token} comes a second time")


class Bearer:
    """Sends the token, also where ~/.netrc has a line for the host."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: Any) -> Any:
        """Add it to a request."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _error_code(response: Response) -> str | None:
    try:
        return str(response.json().get("error_code"))
    except (ValueError, AttributeError):
        return None


def _words(response: Response) -> str:
    """Return what the server said, on one line, without pages of HTML."""
    try:
        said = str(response.json().get("message", ""))
    except (ValueError, AttributeError):
        said = "" if "<" in response.text else response.text
    return scrubbed(" ".join(said.split())[:200])


def _reason(error: MlflowException) -> str:
    said = str(error)
    known = {
        "Read timed out": "does not answer",
        "timeout": "does not answer",
        "resolve": "no such host",
        "refused": "nothing listens there",
        "certificate": "its certificate is not accepted",
    }
    return next((plain for word, plain in known.items() if word in said), "the connection broke")
