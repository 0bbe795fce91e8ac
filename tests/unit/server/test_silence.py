"""A silence lasts as long as the longest that was asked for, and ends once."""

import asyncio

from rivven.server.silence import Silence


async def test_the_longest_silence_counts_and_its_end_is_told_once() -> None:
    loop = asyncio.get_running_loop()
    ended: list[float] = []
    over = asyncio.Event()

    def end() -> None:
        ended.append(loop.time())
        over.set()

    silence = Silence(loop, end)
    assert not silence.active
    started = loop.time()
    silence.extend(1)
    silence.extend(60)
    silence.extend(5)
    assert silence.active
    await asyncio.wait_for(over.wait(), 10)
    assert not silence.active
    assert len(ended) == 1
    assert ended[0] - started >= 0.06 - 0.001  # a clock tick

    silence.extend(1)
    assert silence.active
    silence.cancel()
    assert not silence.active
    await asyncio.sleep(0.01)
    assert len(ended) == 1
