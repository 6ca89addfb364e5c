"""Who comes back to /api/events with Last-Event-ID gets what it missed, or is told `lost`."""

import asyncio

import pytest

from magi_site import kept_events
from magi_site.event_hub import EventHub
from magi_site.event_log import Entry
from magi_site.events import EventStream
from magi_site.kept_events import KeptEvents
from tests.magi_site.listening import Client, Connect, Happening, until
from tests.redis_server import RedisServer


async def left_after(client: Client, number: int) -> str:
    """Have a client leave when it has seen an event; return the id it comes back with."""
    await until(lambda: client.numbers[-1:] == [number])
    await client.leave()
    return client.last_event_id


async def test_what_was_missed_comes_first_and_then_what_happens(
    connect: Connect, stream: EventStream, happening: Happening
) -> None:
    first = connect(stream)
    await until(lambda: bool(first.text))
    happening.publish(2)
    seen = await left_after(first, 2)
    happening.publish(3)

    second = connect(stream, last_event_id=seen)
    await until(lambda: len(second.numbers) == 3)
    happening.publish()

    await until(lambda: second.numbers == [3, 4, 5, 6])


async def test_it_may_come_back_to_another_web_process(
    connect: Connect, stream: EventStream, other_stream: EventStream, happening: Happening
) -> None:
    """Whether that one had listeners before or not, and none of them hears anything twice."""
    client, neighbour = connect(stream), connect(stream)
    await until(lambda: bool(client.text) and bool(neighbour.text))
    happening.publish(2)
    seen = await left_after(client, 2)
    happening.publish(3)

    back = connect(other_stream, last_event_id=seen)
    await until(lambda: back.numbers == [3, 4, 5])
    late = connect(other_stream)
    await until(lambda: bool(late.text))
    earlier = connect(other_stream, last_event_id=neighbour.text.split("id: ")[1].split()[0])
    happening.publish()

    await until(lambda: earlier.numbers == [1, 2, 3, 4, 5, 6])
    await until(lambda: back.numbers == [3, 4, 5, 6] and late.numbers == [6])
    await until(lambda: neighbour.numbers == [1, 2, 3, 4, 5, 6])


async def test_who_left_before_anything_happened_misses_nothing(
    connect: Connect, stream: EventStream, happening: Happening
) -> None:
    """The stream begins with an id, so that there is one to come back with."""
    client = connect(stream)
    await until(lambda: bool(client.text))
    await client.leave()
    happening.publish(2)

    back = connect(stream, last_event_id=client.last_event_id)

    await until(lambda: back.numbers == [1, 2])


async def test_more_than_a_page_is_replayed_whole(
    connect: Connect, stream: EventStream, happening: Happening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_events, "PAGE", 7)
    client, stays = connect(stream), connect(stream)
    await until(lambda: bool(client.text) and bool(stays.text))
    await client.leave()
    happening.publish(300)
    await until(lambda: len(stays.numbers) == 300)
    await stays.leave()
    fresh = connect(stream)
    await until(lambda: fresh.status == 200)

    back = connect(stream, last_event_id=client.last_event_id)
    happening.publish(20)

    await until(lambda: back.numbers == [*range(1, 321)])
    await until(lambda: fresh.numbers[-1:] == [320])


async def test_an_id_that_this_process_has_not_read_yet_is_waited_for(
    connect: Connect,
    stream: EventStream,
    happening: Happening,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process was quicker: the event is on its way here."""
    client = connect(stream)
    await until(lambda: bool(client.text))
    read, may_read = KeptEvents._range, asyncio.Event()

    async def read_later(kept: KeptEvents, first: str, last: str, count: int) -> list[Entry]:
        if last == "+":
            await may_read.wait()
        else:
            asyncio.get_running_loop().call_later(0.01, may_read.set)
        return await read(kept, first, last, count)

    monkeypatch.setattr(KeptEvents, "_range", read_later)
    happening.publish()
    newest = happening.ids()[-1]

    back = connect(stream, last_event_id=newest)
    await until(lambda: back.status == 200)
    happening.publish()

    await until(lambda: back.numbers == [2])
    await until(lambda: client.numbers == [1, 2])


async def test_an_id_in_the_query_does_for_who_can_send_no_header(
    connect: Connect, stream: EventStream, happening: Happening
) -> None:
    client = connect(stream)
    await until(lambda: bool(client.text))
    happening.publish(2)
    await until(lambda: len(client.numbers) == 2)
    first, second = [line for line in client.text.split("\n") if line.startswith("id: ")][1:]
    query = f"last_event_id={first.removeprefix('id: ')}"

    by_query = connect(stream, query=query)
    by_header = connect(stream, query=query, last_event_id=second.removeprefix("id: "))
    await until(lambda: by_query.status == by_header.status == 200)
    happening.publish()

    await until(lambda: by_query.numbers == [2, 3])
    await until(lambda: by_header.numbers == [3])


async def test_an_id_that_is_kept_no_more_is_lost(
    connect: Connect, stream: EventStream, other_stream: EventStream, happening: Happening
) -> None:
    client = connect(stream)
    await until(lambda: bool(client.text))
    happening.publish(2)
    seen = await left_after(client, 2)
    happening.publish(5)
    happening.trim(3)

    back = connect(other_stream, last_event_id=seen)
    await until(lambda: back.numbers == [None])
    happening.publish()

    await until(lambda: back.numbers == [None, 8])
    assert back.events[0][1]["count"] is None


async def test_who_was_told_lost_and_comes_back_is_not_told_so_again(
    connect: Connect, stream: EventStream, happening: Happening
) -> None:
    happening.publish(5)
    client = connect(stream, last_event_id="1-1")
    await until(lambda: client.numbers == [None])
    await client.leave()
    happening.publish()

    back = connect(stream, last_event_id=client.last_event_id)

    await until(lambda: back.numbers == [6])


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param("", id="empty"),
        pytest.param("0", id="a beginning"),
        pytest.param("$", id="Redis's own sign"),
        pytest.param("-", id="Redis's other sign"),
        pytest.param("1-2-3", id="three numbers"),
        pytest.param("٣-٤", id="other digits"),
        pytest.param("99999999999999999999-0", id="more than 64 bits"),
        pytest.param("18446744073709551615-18446744073709551615", id="the last one there is"),
        pytest.param("9" * 6000, id="long"),
    ],
)
async def test_an_id_that_never_was_is_lost_too(
    connect: Connect, stream: EventStream, happening: Happening, nonsense: str
) -> None:
    """A browser gives up for good on a status that is not 200."""
    happening.publish(2)

    client = connect(stream, last_event_id=nonsense)
    await until(lambda: client.numbers == [None])
    happening.publish()

    await until(lambda: client.numbers == [None, 3])
    assert client.status == 200


async def test_a_redis_that_was_emptied_is_told_to_all(
    connect: Connect, stream: EventStream, other_stream: EventStream, happening: Happening
) -> None:
    gone, stays = connect(stream), connect(stream)
    await until(lambda: bool(gone.text) and bool(stays.text))
    happening.publish(2)
    seen = await left_after(gone, 2)
    await until(lambda: stays.numbers == [1, 2])

    happening.redis.flushall()
    await asyncio.sleep(0.002)  # ids are milliseconds: none of the old ones comes again
    happening.publish()
    back, elsewhere = (connect(there, last_event_id=seen) for there in (stream, other_stream))
    await until(lambda: bool(back.numbers) and bool(elsewhere.numbers))
    happening.publish()

    await until(lambda: stays.numbers == [1, 2, None, 3, 4])
    await until(lambda: back.numbers[0] is None and back.numbers[-1] == 4)
    await until(lambda: elsewhere.numbers == [None, 4])


async def test_a_redis_that_was_emptied_and_stays_silent_is_noticed(
    connect: Connect,
    stream: EventStream,
    happening: Happening,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if its clock went back, and it gives ids that were before those it gave."""
    monkeypatch.setattr(kept_events, "BLOCK_S", 0.005)
    client = connect(stream)
    await until(lambda: bool(client.text))

    happening.redis.flushall()
    happening.redis.xadd(happening.key, {"event": '{"kind": "scan", "number": 1}'}, id="5-1")

    await until(lambda: client.numbers == [None, 1])


async def test_a_redis_that_was_started_anew_is_told_to_who_comes_back(
    connect: Connect, stream: EventStream, redis_server: RedisServer, happening: Happening
) -> None:
    client = connect(stream)
    await until(lambda: bool(client.text))
    happening.publish(2)
    seen = await left_after(client, 2)
    redis_server.kill()
    await asyncio.to_thread(redis_server.start)
    happening.publish()

    back = connect(stream, last_event_id=seen)
    await until(lambda: back.numbers == [None])
    happening.publish()

    await until(lambda: back.numbers == [None, 4])


async def test_a_connection_that_is_cut_costs_no_event(
    connect: Connect, stream: EventStream, happening: Happening
) -> None:
    client = connect(stream)
    await until(lambda: bool(client.text))
    for _ in range(3):
        happening.cut()
        happening.publish(2)
    await until(lambda: "available" in client.kinds)
    happening.publish()

    await until(lambda: client.numbers == [1, 2, 3, 4, 5, 6, 7])
    assert client.kinds.count("unavailable") == client.kinds.count("available")


async def test_when_redis_cannot_be_asked_the_call_is_refused(
    connect: Connect, stream: EventStream, redis_server: RedisServer, happening: Happening
) -> None:
    happening.publish(2)
    oldest = happening.ids()[0]
    stays = connect(stream)
    await until(lambda: bool(stays.text))
    redis_server.kill()

    back = connect(stream, last_event_id=oldest)
    await back.until_ended()

    assert back.status == 503


async def test_what_could_not_be_published_is_lost(
    connect: Connect,
    stream: EventStream,
    redis_server: RedisServer,
    happening: Happening,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("models_app.events.QUIET_S", 0.0)
    client = connect(stream)
    await until(lambda: bool(client.text))
    with redis_server.hanging():
        happening.publish()
    await until(happening.redis.ping)
    before = len(client.events)

    happening.publish()

    await until(lambda: client.numbers[-2:] == [None, 2])
    assert {"kind": "lost", "count": 1}.items() <= client.events[-2][1].items()
    assert before <= 1  # Redis may have taken what the publisher did not wait for


async def test_five_hundred_come_back_at_once_over_one_connection(
    connect: Connect, redis_server: RedisServer, happening: Happening
) -> None:
    happening.publish(20)
    ids = happening.ids()
    stream = EventStream(EventHub())
    fresh = connect(stream)
    await until(lambda: bool(fresh.text))

    clients = [connect(stream, last_event_id=ids[number % 10]) for number in range(500)]
    await until(lambda: all(client.numbers[-1:] == [20] for client in clients))
    readers = happening.readers()
    happening.publish()

    await until(lambda: all(client.numbers[-1:] == [21] for client in clients))
    for number, client in enumerate(clients):
        assert client.numbers == [*range(number % 10 + 2, 22)]
    assert len(readers) == 1
    await stream.shutdown()
