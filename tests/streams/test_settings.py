"""Settings of a worker and of enforcement share one file and one environment."""

import pytest

from streams.settings import EnforcementSettings, SettingsError, WorkerSettings, load_settings


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "fairuse.toml"
    path.write_text('broker = "file:1"\napp_id = "file"\nstandbys = 2\nadapter = "radius"\n')
    return path


def test_a_flag_overrides_the_environment_and_that_the_file(file):
    environment = {"FAIRUSE_BROKER": "environment:1", "FAIRUSE_PORT": "7000"}
    flags = {"broker": "flag:1", "port": None}
    settings = load_settings(WorkerSettings, flags, environment, file)
    expected = WorkerSettings(broker="flag:1", port=7000, app_id="file", standbys=2)
    assert expected == settings


def test_each_command_takes_its_own_settings_from_the_file(file):
    """A setting of the other command is no mistake."""
    worker = load_settings(WorkerSettings, {}, {}, file)
    assert worker == WorkerSettings(broker="file:1", app_id="file", standbys=2)
    enforcement = load_settings(EnforcementSettings, {}, {}, file)
    assert enforcement == EnforcementSettings(broker="file:1", app_id="file", adapter="radius")


@pytest.mark.parametrize("kind", [WorkerSettings, EnforcementSettings])
def test_a_name_that_is_no_setting_is_refused(kind, file):
    file.write_text("standby = 2\n")
    with pytest.raises(SettingsError, match="`standby`"):
        load_settings(kind, {}, {}, file)
