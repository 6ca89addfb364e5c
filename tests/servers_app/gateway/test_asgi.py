import asyncio

import pytest

from servers_app.gateway.asgi import ClientWatch, Message
from servers_app.gateway.errors import ClientGoneError
from tests.servers_app.gateway.conftest import PATIENCE_S


async def _stays() -> Message:
    await asyncio.Event().wait()
    return {}


async def _leaves() -> Message:
    return {"type": "http.disconnect"}


async def test_work_for_a_client_that_left_is_cancelled() -> None:
    with pytest.raises(ClientGoneError), ClientWatch(_leaves):
        await asyncio.sleep(PATIENCE_S)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0  # the task may go on


async def test_a_cancellation_from_elsewhere_is_not_taken_for_the_clients_going() -> None:
    async def work() -> None:
        with ClientWatch(_stays):
            await asyncio.sleep(PATIENCE_S)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_that_is_done_is_left_alone() -> None:
    with ClientWatch(_stays):
        await asyncio.sleep(0)

    assert len(asyncio.all_tasks()) <= 2  # this one, and the watcher on its way out
