"""The form that enqueues a job: made of type hints, checked as it is filled in, and usable by keyboard."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from mounting_kit import by_uvicorn
from playwright.sync_api import expect

from conveyor import Queue, result_of, results_of, webhook
from conveyor.dashboard import create_dashboard, known_tasks
from conveyor.dashboard.access.policy import Policy
from conveyor.dashboard.page import PageRequest
from conveyor.dashboard.pages.enqueue import ENQUEUE
from conveyor.monitor.snapshot import NOTHING
from conveyor.store import commands
from conveyor.wire.outcome import encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page


def view(client: Any = None, **filters: str) -> Any:
    """Return the form page for some filters."""
    wanted = PageRequest("/enqueue", {}, filters)
    query = ENQUEUE.question(wanted, NOTHING)
    return ENQUEUE.view(wanted, NOTHING, query.ask(client) if query.commands else query.read([]))


@pytest.fixture(autouse=True)
def _tasks() -> None:
    known_tasks.use(("api_tasks",))


def test_parameter_types_determine_the_fields() -> None:
    fields = {one.name: one for one in view(task="greet").form.fields}
    assert {name: one.kind for name, one in fields.items()} == {
        "name": "text",
        "times": "number",
        "loud": "checkbox",
        "tone": "select",
        "password": "secret",
    }
    assert (fields["name"].required, fields["name"].help) == (True, "who is greeted")
    assert (fields["times"].value, fields["times"].step) == ("1", "1")
    assert fields["tone"].choices == ("kind", "gruff")


def test_each_type_has_its_usual_form_control() -> None:
    fields = {one.name: one for one in view(task="arrange").form.fields}
    assert {name: one.kind for name, one in fields.items()} == {
        "when": "datetime-local",
        "names": "lines",
        "shade": "select",
        "sizes": "lines",
        "sure": "select",
        "level": "select",
    }
    assert (fields["shade"].default, fields["shade"].choices) == ("blue", ("red", "blue"))
    assert (fields["sizes"].default, fields["sizes"].lines) == ("[1,2]", "1\n2")
    (day,) = (one for one in view(task="visit").form.fields if one.name == "day")
    assert (day.kind, day.default) == ("date", "2026-03-01")
    assert (fields["sure"].default, fields["sure"].choices) == ("", ("yes", "no"))
    assert (fields["level"].default, fields["level"].choices) == ("2", ("1", "2", "null"))


def test_list_with_multiline_items_is_entered_as_json(one_server: Any) -> None:
    queue = Queue("alpha", store=one_server.client)
    when = dt.datetime(2026, 3, 1, 12, 0)  # noqa: DTZ001 - what people type has no zone
    job = queue.submit(known_tasks.task_named("arrange"), when, ["two\nlines", "b"], sizes=(7,))
    fields = {
        one.name: one for one in view(one_server.client, **{"from": job.id, "queue": "alpha"}).form.fields
    }
    assert (fields["names"].kind, fields["names"].value) == ("long", '["two\\nlines","b"]')
    assert (fields["sizes"].kind, fields["sizes"].lines) == ("lines", "7")
    assert fields["when"].value == "2026-03-01T12:00:00"


def test_split_order_has_separate_fields() -> None:
    assert [one.name for one in view(task="spread").form.fields] == ["parts"]
    assert [one.name for one in view(task="spread", split="0").form.fields] == ["part", "secret_token"]


def test_job_can_prefill_the_form_except_for_secrets(one_server: Any) -> None:
    task = known_tasks.task_named("greet")
    queue = Queue("alpha", store=one_server.client)
    job = queue.submit(task, "Bob", 3, loud=True, password="hush")
    shown = view(one_server.client, **{"from": job.id, "queue": "alpha"})
    assert shown.model == job.id
    values = {one.name: one.value for one in shown.form.fields}
    assert values == {"name": "Bob", "times": "3", "loud": "yes", "tone": "kind", "password": ""}
    assert shown.form.left_out == ["password"]


def test_results_of_other_jobs_are_left_out_of_the_form(one_server: Any) -> None:
    greet, arrange = map(known_tasks.task_named, ("greet", "arrange"))
    queue = Queue("alpha", store=one_server.client)
    names = queue.submit_many(greet, [("Ann",), ("Bob",)])

    def shown(task: Any, *args: Any, **kwargs: Any) -> tuple[dict[str, str], list[str]]:
        job = queue.submit(task, *args, **kwargs)
        form = view(one_server.client, **{"from": job.id, "queue": "alpha"}).form
        return {one.name: one.value for one in form.fields}, form.left_out

    values, left_out = shown(greet, result_of(names[0]), times=3)
    assert (values["name"], values["times"]) == ("", "3")
    assert left_out == [f"name (result of {names[0].id})"]
    values, left_out = shown(greet, "Eve", times=result_of(names[1]))
    assert (values["name"], left_out) == ("Eve", [f"times (result of {names[1].id})"])
    when = dt.datetime(2026, 3, 1, 12, 0)  # noqa: DTZ001 - as above
    values, left_out = shown(arrange, when, results_of(names))
    assert (values["when"], left_out) == ("2026-03-01T12:00:00", ["names (results of 2 jobs)"])
    values, left_out = shown(arrange, when, results_of(names[:1]))
    assert left_out == ["names (results of 1 job)"]


def test_end_of_a_job_is_left_out_of_the_form_of_its_hook(one_server: Any) -> None:
    queue = Queue("alpha", store=one_server.client)
    before = queue.submit(known_tasks.task_named("greet").options(on_success=webhook("http://x")), "Ann")
    batch = one_server.client.run(commands.claim("alpha", "ann", "n1", 1, 60.0))
    ended = [commands.Settlement(before.id, encode_settled("done"), 60.0)]
    one_server.client.run(commands.finish("alpha", batch.token, ended))
    (hook,) = one_server.client.run(commands.claim("alpha", "ann", "n2", 1, 60.0)).jobs
    form = view(one_server.client, **{"from": hook.id, "queue": "alpha"}).form
    assert (form.task.name, form.left_out) == ("conveyor.webhook", [f"end (end of {before.id})"])
    assert [one.value for one in form.fields] == ["", "http://x"]


def test_unknown_task_or_queue_is_reported() -> None:
    trouble = view(task="nope").trouble
    assert "unknown task 'nope'" in trouble
    assert "start the dashboard with --tasks MODULE" in trouble
    assert "consumer" not in trouble
    assert view(task="greet", queue="not a queue").queue == ""
    assert view(task="greet", queue="beta").queue == "beta"


@pytest.fixture
def address(one_server: Any) -> Iterator[str]:
    """Serve the page of the test's server, to every caller as an admin."""
    app = create_dashboard(one_server.url, auth=Policy(), tasks=["api_tasks"])
    with by_uvicorn(app, ws="none", proxy_headers=False) as port:
        yield f"http://localhost:{port}"


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """Provide a page of phone size and fail the test on any script error."""
    page = chromium.new_page(viewport={"width": 360, "height": 800})
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    page.close()
    assert faults == []


def test_form_is_validated_while_filled_in_and_sent_with_enter(
    address: str, page: Page, one_server: Any, eventually: Callable[..., Any]
) -> None:
    said: list[str] = []
    page.on("console", lambda one: said.append(one.text))
    page.goto(f"{address}/enqueue?task=greet")
    page.get_by_text("Missing: name").wait_for()
    page.locator("#a-name").fill("Bob's")
    page.locator("#a-times").fill("2.5")
    page.get_by_text("it takes a whole number").wait_for()
    assert page.locator("#a-times").get_attribute("aria-invalid") == "true"
    page.locator("#a-times").fill("2")
    page.locator("#a-loud").check()
    page.get_by_text(
        """conveyor produce greet 'name=Bob'"'"'s' times=2 loud=yes --tasks api_tasks"""
    ).wait_for()
    assert page.locator("#a-times").get_attribute("aria-invalid") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Priority, 0 to 255").fill("256")
    page.get_by_text("priority: ").wait_for()
    page.get_by_label("Priority, 0 to 255").fill("255")
    page.get_by_text("--priority 255").wait_for()
    assert said == []  # browsers write each answer that is a refusal to their console
    page.locator("#a-times").press("Enter")
    page.wait_for_url("**/jobs/*?queue=alpha")
    assert Queue("alpha", store=one_server.client).count().ready == 1


def test_dates_lists_and_choices_are_put_as_selected(address: str, page: Page, one_server: Any) -> None:
    page.goto(f"{address}/enqueue?task=arrange")
    page.get_by_label("when").fill("2026-03-01T12:00")
    page.locator("#a-names").fill("Ann\n\n Bob \n")
    page.locator("#a-sizes").fill("3")
    page.locator("#a-shade").select_option("red")
    page.locator("#a-sure").select_option("no")
    page.locator("#a-level").select_option("null")
    page.get_by_text("level=null").wait_for()
    command = page.locator("[data-command]").inner_text()
    assert """when=2026-03-01T12:00:00 'names=["Ann","Bob"]' shade=red 'sizes=[3]' sure=no""" in command
    page.get_by_role("button", name="Enqueue", exact=True).click()
    page.wait_for_url("**/jobs/*?queue=alpha")
    assert Queue("alpha", store=one_server.client).count().ready == 1


def test_equivalent_command_hides_secrets(address: str, page: Page) -> None:
    page.goto(f"{address}/enqueue?task=visit")
    page.locator("#a-token").fill("hush")
    page.locator("#a-address").fill("https://me:hush@shop.example")
    page.get_by_text("marks secret values").wait_for()
    command, python = page.locator("[data-command]"), page.locator("[data-python]")
    expect(command).to_contain_text("https://me:•••@shop.example")  # the first preview may lack the address
    assert "hush" not in f"{command.text_content()} {python.text_content()}"


def test_preview_keeps_valid_values_and_copies_only_if_complete(address: str, page: Page) -> None:
    page.goto(f"{address}/enqueue?task=greet")
    note, copy = page.get_by_text("marks missing or invalid values"), page.get_by_label("Copy the command")
    command = page.locator("[data-command]")
    page.get_by_text("Missing: name").wait_for()
    page.locator("#a-times").fill("3")
    expect(command).to_have_text("conveyor produce greet times=3 name=… --tasks api_tasks")
    page.locator("#a-name").fill("Bob")
    expect(command).to_have_text("conveyor produce greet name=Bob times=3 --tasks api_tasks")
    expect(note).to_be_hidden()
    expect(copy).to_be_visible()
    page.locator("#a-times").fill("2.5")
    expect(command).to_have_text("conveyor produce greet name=Bob times=… --tasks api_tasks")
    expect(note).to_be_visible()
    expect(copy).to_be_hidden()
    page.locator("#a-times").fill("2")
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Priority, 0 to 255").fill("256")
    page.get_by_text("This shows the last valid input").wait_for()


def test_form_without_javascript_shows_no_dead_fields(address: str, chromium: Browser) -> None:
    page = chromium.new_page(java_script_enabled=False)
    page.goto(f"{address}/enqueue?task=greet")
    form = page.locator("form[data-enqueue]")
    expect(form.get_by_text("who is greeted; text")).to_be_visible()
    assert [one.is_visible() for one in form.locator("input, select, textarea, button").all()].count(
        True
    ) == 0
    page.close()


def test_server_error_is_shown_at_the_focused_field(address: str, page: Page) -> None:
    page.goto(f"{address}/enqueue?task=greet")
    page.get_by_role("button", name="Enqueue", exact=True).click()
    page.get_by_text("is missing, it takes text").wait_for()
    assert page.evaluate("document.activeElement.id") == "a-name"
    assert "a-name-error" in str(page.locator("#a-name").get_attribute("aria-describedby"))
