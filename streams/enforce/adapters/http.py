"""One HTTP request, and what its answer means for an instruction."""

import urllib3

from streams.enforce.adapters.contract import Refused, Unavailable

MAY_PASS = frozenset({408, 425, 429})
"""Statuses that, like 5xx, ask to try again later."""

pool = urllib3.PoolManager(retries=False)


def post(url: str, body: bytes, headers: dict[str, str], timeout_seconds: float) -> int:
    """Post JSON. The answer's body is not read, and a redirect is not followed.

    Parameters
    ----------
    url
        Where to.
    body
        The JSON.
    headers
        Headers besides the content type.
    timeout_seconds
        How long an answer may take.

    Returns
    -------
    The status of the answer, 200 to 299.

    Raises
    ------
    Refused
        `url` is malformed, or the answer says that the request will never be accepted.
    Unavailable
        There was no answer, or one that asks to try again later.
    """
    try:
        answer = pool.request(
            "POST",
            url,
            body=body,
            headers={"content-type": "application/json", **headers},
            timeout=urllib3.Timeout(total=timeout_seconds),
            redirect=False,
            preload_content=False,
        )
    except urllib3.exceptions.LocationValueError as error:
        raise Refused(f"{url} is no address ({error})") from None
    except urllib3.exceptions.HTTPError as error:
        raise Unavailable(f"{url} did not answer ({type(error).__name__})") from None
    status = answer.status
    answer.close()
    if 200 <= status < 300:
        return status
    fault = Unavailable if status >= 500 or status in MAY_PASS else Refused
    raise fault(f"{url} answered {status}")
