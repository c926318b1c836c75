"""What all tests share: servers, seeds, and how hard hypothesis tries."""

import os
import random
import signal

import pytest
from hypothesis import HealthCheck, Phase, settings

pytest.register_assert_rewrite("tests.support")

# Assertions of modules that are imported later are shown with their values.
from tests.support.harness.kafka_cluster import KafkaCluster, kafka_available  # noqa: E402
from tests.support.harness.radius_server import RadiusServer, radius_available  # noqa: E402

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores Ctrl-C for what runs in its background, and so would the tests' processes.
    signal.signal(signal.SIGINT, signal.default_int_handler)

NOT_BY_DEFAULT = ("long",)
"""Markers of tests that run only when `-m` names them."""

settings.register_profile(
    "unshrunk",
    derandomize=False,
    deadline=None,
    print_blob=True,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("shrink", settings.get_profile("unshrunk"), phases=tuple(Phase))
settings.load_profile("unshrunk")


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, help="play the random story of a failed test again")


def pytest_xdist_auto_num_workers(config):
    """Run the whole suite on all processors, and single files in this process."""
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return len(os.sched_getaffinity(0)) if is_whole else 0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Leave out what does not run by default; what waits most, tests with a broker, comes first."""
    for item in items:
        if "kafka" in item.fixturenames:
            item.add_marker("broker")
    items.sort(key=lambda item: item.get_closest_marker("broker") is None)
    left_out = [name for name in NOT_BY_DEFAULT if name not in config.option.markexpr]
    kept, dropped = [], []
    for item in items:
        is_left_out = any(item.get_closest_marker(name) for name in left_out)
        (dropped if is_left_out else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=dropped)


def need(missing):
    """Skip a test that can't run here; in CI that is a failure."""
    if missing is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)


@pytest.fixture
def seed(request):
    """A new number for each run, or the one of `--seed`; a failure shows it."""
    given = request.config.option.seed
    drawn = random.SystemRandom().randrange(1_000_000) if given is None else given
    marked = "-m long " if request.node.get_closest_marker("long") else ""
    print(f"to play it again: pytest {marked}'{request.node.nodeid}' --seed {drawn}")
    return drawn


@pytest.fixture
def chance(seed):
    """Random numbers that follow from the seed."""
    return random.Random(seed)


@pytest.fixture(scope="session")
def running_kafka(tmp_path_factory):
    need(kafka_available())
    cluster = KafkaCluster(folder=tmp_path_factory.mktemp("kafka"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def kafka(running_kafka):
    """A Kafka of one node without topics and groups; each process of pytest has a single one."""
    running_kafka.start()
    running_kafka.wipe()
    return running_kafka


@pytest.fixture
def radius(tmp_path_factory):
    """A started FreeRADIUS that knows of no restriction yet."""
    need(radius_available())
    server = RadiusServer(tmp_path_factory.mktemp("radius"))
    server.start()
    yield server
    server.stop()
