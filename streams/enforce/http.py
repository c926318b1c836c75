"""One HTTP request, and what its answer means for an order."""

import urllib3

from streams.enforce.adapters.contract import Refused, Unavailable

MAY_PASS = frozenset({408, 425, 429})
"""Besides 5xx: statuses that ask to try again later."""

pool = urllib3.PoolManager(retries=False)


def post(url: str, body: bytes, headers: dict[str, str], timeout_seconds: float) -> int:
    """Post JSON and return the 2xx status; anything else is `Unavailable` or `Refused`.

    Of the answer only the status counts: its body is not read, a redirect is not followed.
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
