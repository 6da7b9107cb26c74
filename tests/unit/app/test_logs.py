"""What a log line is, in a terminal and elsewhere."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from app import logs


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("aiokafka", "httpx", "httpcore", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()


_Captured = pytest.CaptureFixture[str]


def _facts(capsys: _Captured) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_fact_is_one_json_object_on_a_line(capsys: _Captured) -> None:
    logs.configure()
    structlog.get_logger("bridge.loop").info("poll done", topic="transactions", offset=7)

    (fact,) = _facts(capsys)
    assert fact.pop("timestamp").endswith("Z")
    assert fact == {
        "event": "poll done",
        "level": "info",
        "logger": "bridge.loop",
        "topic": "transactions",
        "offset": 7,
    }


def test_line_breaks_and_other_alphabets_stay_on_one_line(capsys: _Captured) -> None:
    logs.configure()
    structlog.get_logger("test").warning("dead letter", reason="zwei\nZeilen, größer, 取引")

    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert "größer" in written
    assert json.loads(written)["reason"] == "zwei\nZeilen, größer, 取引"


def test_an_exception_stays_on_one_line(capsys: _Captured) -> None:
    logs.configure()
    _fail_with_a_card()

    (fact,) = _facts(capsys)
    assert "ZeroDivisionError" in fact["exception"]


def test_libraries_log_in_the_same_way(capsys: _Captured) -> None:
    logs.configure()
    logging.getLogger("some.library").warning("a %s", "warning")

    (fact,) = _facts(capsys)
    assert (fact["logger"], fact["level"], fact["event"]) == ("some.library", "warning", "a warning")


def test_what_a_chatty_library_does_is_told_from_warnings_on(capsys: _Captured) -> None:
    logs.configure("debug")
    logging.getLogger("aiokafka.cluster").info("an inside")
    logging.getLogger("aiokafka.cluster").warning("a warning")

    assert [fact["event"] for fact in _facts(capsys)] == ["a warning"]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_is_the_least_that_is_told(capsys: _Captured, level: str, expected: list[str]) -> None:
    logs.configure(level)
    logger = structlog.get_logger("test")
    for name in ("debug", "info", "warning", "error"):
        getattr(logger, name)("something")

    assert [fact["level"] for fact in _facts(capsys)] == expected


def test_a_warning_that_is_repeated_is_told_once_and_then_counted(
    capsys: _Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.configure()
    for _ in range(5):
        structlog.get_logger("test").warning("no answer", partition=1)
        logging.getLogger("some.library").error("no %s", "connection")
    structlog.get_logger("test").warning("no answer", partition=2)
    at_once = [(fact["event"], fact.get("partition")) for fact in _facts(capsys)]

    monkeypatch.setattr(logs, "_COLLAPSE_SECONDS", -1)
    structlog.get_logger("test").info("something else")

    assert at_once == [("no answer", 1), ("no connection", None), ("no answer", 2)]
    assert [(fact["event"], fact.get("repeated")) for fact in _facts(capsys)] == [
        ("no answer", 4),
        ("no connection (repeated 4 times)", None),
        ("something else", None),
    ]


def test_news_are_told_as_often_as_they_come(capsys: _Captured) -> None:
    logs.configure()
    for _ in range(3):
        structlog.get_logger("test").info("something")

    assert len(_facts(capsys)) == 3


def test_standard_output_is_left_to_answers(capsys: _Captured) -> None:
    logs.configure()
    structlog.get_logger("test").error("something")

    written = capsys.readouterr()
    assert written.err
    assert written.out == ""


def test_configuring_twice_tells_a_fact_once(capsys: _Captured) -> None:
    logs.configure()
    logs.configure()
    structlog.get_logger("test").info("something")

    assert len(_facts(capsys)) == 1


def test_in_a_terminal_a_fact_is_written_for_people(capsys: _Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    logs.configure()
    structlog.get_logger("test").info("poll done", offset=7)

    line = capsys.readouterr().err
    assert "poll done" in line
    assert not line.startswith("{")


def test_in_a_terminal_an_exception_shows_no_variables(capsys: _Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    logs.configure()
    _fail_with_a_card()

    written = capsys.readouterr().err
    assert "ZeroDivisionError" in written
    assert "4111-4111" not in written


def _fail_with_a_card() -> None:
    card = "-".join(["4111"] * 4)
    try:
        len(card) / 0
    except ZeroDivisionError:
        structlog.get_logger("test").exception("it failed")
