"""From the first prompt to the exact time: producer and consumer, each on a separate terminal."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

# pytest itself may have threads of earlier tests, which Python 3.12 and newer do not like to see in a fork.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def answer(child: Any, prompt: str, text: str = "") -> None:
    """Wait for a prompt and answer it."""
    child.expect_exact(prompt)
    child.sendline(text)


def test_five_workers_sleep_five_seconds_in_one(
    consumer: Any, open_terminal: Any, exit_code: Any, eventually: Any, one_server: Any
) -> None:
    eventually(lambda: one_server.raw.zcard("conveyor:consumers"))
    producer = open_terminal("producer_main.py")
    producer.expect_exact("Choose a task")
    for number, task in enumerate(("sleep", "csv_search", "video_split", "web_scrape", "heavy_math")):
        producer.expect(rf"  {number}  {task}\s")
    answer(producer, "Number or name [0]: ", "0")
    answer(producer, "seconds (seconds that each job sleeps) [10]: ", "1")
    answer(producer, "times (number of jobs) [5]: ")
    producer.expect("5 workers on queue_zero, 0 busy")
    producer.expect_exact("5 jobs enqueued on queue_zero. To repeat: conveyor produce sleep seconds=1 --wait")
    producer.expect(r"Execution time: (\d+\.\d{6}) s\r\n")
    assert 1.0 <= float(producer.match[1]) < 4.0
    producer.expect(r"Work of 5 jobs: (\d+\.\d{6}) s")
    assert 5.0 <= float(producer.match[1]) < 6.0
    producer.expect(r"Result:\s+times\s+5\s+seconds\s+5")
    assert exit_code(producer) == 0
    consumer.sendintr()
    consumer.expect_exact("has exited, 6 jobs done")
    assert exit_code(consumer) == 0


def test_consumer_rejects_invalid_answers_and_asks_again(open_terminal: Any, exit_code: Any) -> None:
    child = open_terminal("consumer_main.py")
    prompt = "How many workers? 1 to 10"
    for text, reason in {
        "0": "must be between 1 and 10, got 0",
        "-3": "must be between 1 and 10, got -3",
        "11": "must be between 1 and 10, got 11",
        "abc": "'abc' is not a whole number",
        "2.5": "'2.5' is not a whole number",
    }.items():
        answer(child, prompt, text)
        child.expect_exact(reason)
    answer(child, prompt, "3")
    child.expect(r"0  queue_zero .*4  queue_four ")
    answer(child, "Number, or any name [0]: ", "9")
    child.expect_exact("the number must be between 0 and 4, got 9")
    answer(child, "Number, or any name [0]: ", "no such name")
    child.expect_exact("invalid queue name")
    answer(child, "Number, or any name [0]: ", "brand_new")
    child.expect_exact("No jobs were ever put on brand_new")
    child.expect_exact("conveyor consume brand_new -n 3")
    child.expect_exact("3 workers on brand_new")
    child.sendintr()
    assert exit_code(child) == 0


def test_producer_reports_missing_workers_and_may_stop(
    open_terminal: Any, exit_code: Any, one_server: Any
) -> None:
    child = open_terminal("producer_main.py")
    answer(child, "Number or name [0]: ", "heavy_math")
    for prompt in ("[primes]: ", "takes some seconds): ", "[8]: ", "heavy_math): "):
        answer(child, prompt)
    child.expect_exact("No workers on queue_four")
    answer(child, "Enqueue the jobs anyway? (y/n) [y]: ", "perhaps")
    child.expect_exact("type y or n")
    answer(child, "Enqueue the jobs anyway? (y/n) [y]: ", "n")
    child.expect_exact("Nothing was enqueued.")
    assert exit_code(child) == 0
    assert one_server.raw.exists("conveyor:{queue_four}:jobs") == 0


def test_jobs_put_without_workers_wait_and_can_be_left(
    open_terminal: Any, exit_code: Any, one_server: Any
) -> None:
    child = open_terminal("producer_main.py")
    answer(child, "Number or name [0]: ", "sleep")
    answer(child, "[10]: ", "0")
    answer(child, "[5]: ", "2")
    answer(child, "Enqueue the jobs anyway? (y/n) [y]: ")
    child.expect_exact("2 jobs enqueued on queue_zero")
    child.expect_exact("0 of 2 jobs done")
    child.sendintr()
    child.expect(r"the jobs continue\. To cancel them: conveyor cancel \w{14} \w{14}")
    assert exit_code(child) == 130
    assert one_server.raw.zcard("conveyor:{queue_zero}:ready") == 2


def test_producer_reports_invalid_input_and_asks_again(
    consumer: Any, open_terminal: Any, exit_code: Any, one_server: Any
) -> None:
    child = open_terminal("producer_main.py")
    answer(child, "Number or name [0]: ", "0")
    answer(child, "[10]: ", "long")
    child.expect_exact("seconds='long' does not fit, it takes a number")
    answer(child, "[10]: ", "0")
    answer(child, "[5]: ", "0")
    child.expect_exact("Invalid order: times must be between 1 and 100,000, got 0")
    child.expect_exact("Nothing was enqueued. Try again:")
    assert one_server.raw.exists("conveyor:{queue_zero}:meta") == 0
    answer(child, "[10]: ", "0")
    answer(child, "[5]: ", "1")
    child.expect_exact("Execution time: 0.")
    assert exit_code(child) == 0


@pytest.mark.parametrize("script", ["producer_main.py", "consumer_main.py"])
@pytest.mark.parametrize("way", ["interrupt", "end of input"])
def test_exit_at_a_prompt_has_no_effect(
    open_terminal: Any, exit_code: Any, eventually: Any, one_server: Any, script: str, way: str
) -> None:
    child = open_terminal(script)
    child.expect(r"\]: ")
    if way == "interrupt":
        # Between the prompt and its wait for a key, readline's loop in CPython sees no signal until a key comes.
        eventually(lambda: psutil.Process(child.pid).status() == psutil.STATUS_SLEEPING)
        child.sendintr()
    else:
        child.sendeof()
    child.expect_exact("left at a prompt; nothing was done")
    assert exit_code(child) == 130
    assert one_server.raw.keys("*") == []


def test_menus_are_offered_on_capable_terminals(consumer: Any, open_terminal: Any, exit_code: Any) -> None:
    child = open_terminal("conveyor", "produce", terminal="xterm")
    child.expect_exact("Choose a task")
    child.send("sle\r")
    child.expect_exact("seconds that each job sleeps")
    child.send("\x7f\x7f0\r")
    child.expect_exact("number of jobs")
    child.send("\r")
    child.expect_exact("5 jobs enqueued on queue_zero")
    child.expect_exact("Execution time:")
    assert exit_code(child) == 0


def test_capable_terminal_shows_a_progress_bar(consumer: Any, open_terminal: Any, exit_code: Any) -> None:
    child = open_terminal("conveyor", "produce", "sleep", "0.5", "5", "--wait", terminal="xterm")
    child.expect_exact("━")
    child.expect_exact("5/5 jobs")
    child.expect_exact("Execution time:")
    assert exit_code(child) == 0
