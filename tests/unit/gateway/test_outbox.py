"""Writes of one turn of the loop leave together, in order, and none is lost."""

import asyncio
import gc
import weakref
from unittest.mock import Mock

from confide.gateway.outbox import outbox
from confide.gateway.server import JoiningTransport


def transport(*, closing=False):
    return Mock(spec=asyncio.Transport, is_closing=Mock(return_value=closing))


async def turn():
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_writes_wait_for_the_end_of_the_turn_and_keep_their_order():
    written = []
    box = outbox(asyncio.get_running_loop())
    box.add(lambda: written.append(1))
    box.add(lambda: written.append(2))
    assert written == []
    await turn()
    assert written == [1, 2]
    box.add(lambda: written.append(3))
    await turn()
    assert written == [1, 2, 3]


async def test_a_loop_has_one_outbox():
    loop = asyncio.get_running_loop()
    assert outbox(loop) is outbox(loop)


async def test_head_and_body_of_an_answer_are_one_write():
    inner = transport()
    joined = JoiningTransport(inner, asyncio.get_running_loop())
    joined.write(b"HTTP/1.1 200 OK\r\n\r\n")
    joined.write(b"body")
    inner.write.assert_not_called()
    await turn()
    inner.write.assert_called_once_with(b"HTTP/1.1 200 OK\r\n\r\nbody")


async def test_what_waits_is_bounded():
    inner = transport()
    joined = JoiningTransport(inner, asyncio.get_running_loop())
    joined.write(b"x" * 32 * 1024)
    inner.write.assert_not_called()
    joined.write(b"y")
    inner.write.assert_called_once()


async def test_closing_writes_what_waits_first():
    inner = transport()
    joined = JoiningTransport(inner, asyncio.get_running_loop())
    joined.write(b"last")
    joined.close()
    assert [call[0] for call in inner.method_calls if call[0] != "is_closing"] == ["write", "close"]
    await turn()
    inner.write.assert_called_once_with(b"last")


async def test_nothing_is_written_to_a_connection_that_is_gone():
    inner = transport(closing=True)
    joined = JoiningTransport(inner, asyncio.get_running_loop())
    joined.write(b"too late")
    await turn()
    inner.write.assert_not_called()


async def test_a_write_that_raises_takes_no_other_with_it():
    loop = asyncio.get_running_loop()
    reported, written = [], []
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    box = outbox(loop)

    def broken():
        raise ZeroDivisionError

    for write in (broken, lambda: written.append(1), broken, lambda: written.append(2)):
        box.add(write)
    for _ in range(3):
        await turn()
    assert written == [1, 2]
    assert [type(error) for error in reported] == [ZeroDivisionError, ZeroDivisionError]


def test_the_outbox_of_a_loop_goes_with_it():
    loop = asyncio.new_event_loop()
    outbox(loop)
    gone = weakref.ref(loop)
    loop.close()
    del loop
    gc.collect()
    assert gone() is None
