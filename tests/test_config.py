"""Settings that cannot work are refused at boot, in one line."""

import pytest

from backend.config import ConfigurationError, Settings

GOOD = {"secret_key": "k" * 32, "database_url": "postgresql+asyncpg://x", "redis_url": "redis://x"}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def settings(**changes: object) -> Settings:
    return Settings(_env_file=None, **{**GOOD, **changes})  # type: ignore[arg-type]


def test_good_settings_pass() -> None:
    settings().check()
    settings(videos_api_url="http://gpu.internal:8000/v1", chat_api_url="https://[2001:db8::1]/v1/").check()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"secret_key": "k" * 31}, "SECRET_KEY"),
        ({"secret_key": ""}, "SECRET_KEY"),
        ({"database_url": ""}, "DATABASE_URL"),
        ({"redis_url": ""}, "REDIS_URL"),
        ({"public_url": "video.example.org"}, "PUBLIC_URL"),
        ({"public_url": "https://example.org/video"}, "PUBLIC_URL"),
        ({"videos_api_url": "gpu.internal:8000"}, "VIDEOS_API_URL"),
        ({"videos_api_url": "http://user:password@gpu.internal/v1"}, "VIDEOS_API_URL"),
        ({"chat_api_url": "https://api.example.org/v1?key=1"}, "CHAT_API_URL"),
    ],
)
def test_a_setting_that_cannot_work_is_named(changes: dict[str, object], name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        settings(**changes).check()


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    assert "k" * 32 not in repr(settings())
    assert "kkk" not in str(settings().model_dump())


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_QUEUES", "media, gpu")
    assert settings().worker_queues == ["media", "gpu"]


def test_slots_are_told_by_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings().worker_queue_slots == {"media_long": 1, "generation": 2, "gpu": 1, "outbound": 2, "analysis": 1}
    monkeypatch.setenv("WORKER_QUEUE_SLOTS", "media=3, media_long=2")
    assert settings().worker_queue_slots == {"media": 3, "media_long": 2}
    for wrong in ("media", "media=0", "media=many"):
        monkeypatch.setenv("WORKER_QUEUE_SLOTS", wrong)
        with pytest.raises(ValueError, match="worker_queue_slots"):
            settings()


def test_the_sizes_of_a_ladder_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LADDER_HEIGHTS", "360, 720")
    assert settings().ladder_heights == [360, 720]
    monkeypatch.setenv("LADDER_HEIGHTS", "")
    assert settings().ladder_heights == []


@pytest.mark.parametrize(
    ("changes", "origin"),
    [
        ({"s3_public_url": "https://files.example.org:9000/x"}, "https://files.example.org:9000"),
        ({"s3_endpoint_url": "http://minio:9000"}, "http://minio:9000"),
        ({"s3_region": "eu-west-1"}, "https://s3.eu-west-1.amazonaws.com"),
    ],
)
def test_the_storage_origin_is_the_one_browsers_use(changes: dict[str, object], origin: str) -> None:
    assert settings(**changes).storage_public_origin == origin
