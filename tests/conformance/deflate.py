"""`permessage-deflate` with the compressor of zlib behind the package `websockets`, for each set of parameters."""

import asyncio
import itertools
import json
import zlib

from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from peer import Peer

TEXT, CONT, PING = 1, 0, 9
FIN = 0x80
# A text with the first reserved bit.
COMPRESSED = 0x41
MESSAGE_BYTES_MAX = 8192

# What a client may offer and a server of window 15 can take: `websockets` checks that the answer fits the offer.
OFFERS = [
    dict(server_no_context_takeover=server, client_no_context_takeover=client, server_max_window_bits=window, client_max_window_bits=own)
    for server, client, window, own in itertools.product([False, True], [False, True], [None, 15], [None, True, 9, 12, 15])
]
# A smaller window than ours is declined: the connection goes on without compression.
DECLINED = [dict(server_max_window_bits=bits) for bits in range(8, 15)]


def ping(text):
    return json.dumps({"type": "ping", "payload": text}, ensure_ascii=False, separators=(",", ":")).encode()


def ponged(peer, text):
    answer = json.loads(peer.message())
    assert answer == {"type": "pong", "payload": text}, str(answer)[:200]


def said(parameters):
    return " ".join(f"{name}={value}" for name, value in parameters.items() if value)


def with_offer(address, parameters):
    """Messages of all sizes, back and forth, twice: a context that was promised not to be used is not used."""
    with Peer(address, deflate=parameters, stays=True) as peer:
        assert peer.deflates
        for text in ["", "x", "abc" * 30, "🙂 κόσμε " * 40, "x" * 8000, "x" * 8000, "abc" * 30]:
            peer.send(TEXT, ping(text))
            ponged(peer, text)


def declined(address, parameters):
    with Peer(address, deflate=parameters) as peer:
        assert not peer.deflates
        peer.send(TEXT, ping("x" * 300))
        ponged(peer, "x" * 300)


def deflated(data, level=9):
    engine = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (engine.compress(data) + engine.flush(zlib.Z_SYNC_FLUSH))[:-4]


def in_fragments(address):
    # Numbers, so that it stays longer than the longest part: only an unfinished message lets a ping be answered first.
    text = "€".join(str(i) for i in range(200))
    with Peer(address, deflate={}, stays=True) as peer:
        whole = deflated(ping(text))
        for size in (1, 3, 64):
            parts = [whole[at : at + size] for at in range(0, len(whole), size)]
            assert len(parts) > 1
            for i, part in enumerate(parts):
                last = i == len(parts) - 1
                first = COMPRESSED if i == 0 else CONT
                peer.bytes(peer.raw(first | (FIN if last else 0), part))
                if i == 0:
                    peer.send(PING, b"between")
                    assert bytes(peer.next().data) == b"between"
            ponged(peer, text)


def not_compressed_is_taken_too(address):
    with Peer(address, deflate={}) as peer:
        peer.bytes(peer.raw(FIN | TEXT, ping("plain")))
        ponged(peer, "plain")


def stored_and_empty_blocks(address):
    with Peer(address, deflate={}) as peer:
        message = ping("stored " * 30)
        for data in (deflated(message, 0), b"\x00\x00\x00\xff\xff" + deflated(message)):
            peer.bytes(peer.raw(FIN | COMPRESSED, data))
            ponged(peer, "stored " * 30)


def bit_of_compression_where_it_must_not_be(address):
    with Peer(address, deflate={}) as peer:
        peer.bytes(peer.raw(COMPRESSED, deflated(b"{")) + peer.raw(0xC0, b""))
        assert peer.closed() == 1002
    for first in (0xC9, 0xC8, 0xA1, 0x91):
        with Peer(address, deflate={}) as peer:
            peer.bytes(peer.raw(first, b""))
            assert peer.closed() == 1002, hex(first)
    with Peer(address) as peer:
        peer.bytes(peer.raw(FIN | COMPRESSED, deflated(ping("x"))))
        assert peer.closed() == 1002


def what_is_not_deflate(address):
    for data in (b"\xff" * 40, b"\x07", deflated(ping("x" * 500))[:-3] + b"\xff\xff\xff"):
        with Peer(address, deflate={}) as peer:
            peer.bytes(peer.raw(FIN | COMPRESSED, data))
            assert peer.closed() == 1007, data


def what_is_not_utf8_inside(address):
    with Peer(address, deflate={}) as peer:
        peer.bytes(peer.raw(FIN | COMPRESSED, deflated(b'"\xc3\x28"')))
        assert peer.closed() == 1007


def counted_after_inflating(address):
    longest = ping("x" * (MESSAGE_BYTES_MAX - len(ping(""))))
    with Peer(address, deflate={}) as peer:
        assert len(longest) == MESSAGE_BYTES_MAX
        peer.bytes(peer.raw(FIN | COMPRESSED, deflated(longest)))
        assert len(peer.message()) == MESSAGE_BYTES_MAX
        peer.bytes(peer.raw(FIN | COMPRESSED, deflated(longest + b" ")))
        assert peer.closed() == 1009
    with Peer(address, deflate={}) as peer:
        peer.bytes(peer.raw(FIN | COMPRESSED, deflated(bytes(1 << 22))))
        assert peer.closed() == 1009


def whole_client(address):
    """The package as its users have it: handshake, subprotocol, compression, close."""

    async def talk(subprotocol, compression, extensions):
        async with connect(
            f"ws://{address}/v1/ws", subprotocols=[subprotocol], compression=compression, extensions=extensions
        ) as socket:
            assert socket.subprotocol == subprotocol
            await (await socket.ping())
            for text in ("hi", "🙂" * 500):
                await socket.send(ping(text).decode())
                assert json.loads(await socket.recv())["payload"] == text
            await socket.close()
            assert socket.close_code == 1000, socket.close_code

    async def all_of_them():
        window = [ClientPerMessageDeflateFactory(server_max_window_bits=15, client_max_window_bits=15)]
        for compression, extensions in [("deflate", None), (None, None), (None, window)]:
            await talk("chorus.v1.json", compression, extensions)

    asyncio.run(all_of_them())


CASES = [
    *((f"deflate[{said(offer)}]", lambda address, offer=offer: with_offer(address, offer)) for offer in OFFERS),
    *((f"deflate_declined[{said(offer)}]", lambda address, offer=offer: declined(address, offer)) for offer in DECLINED),
    *(
        (f"deflate_{run.__name__}", run)
        for run in [
            in_fragments,
            not_compressed_is_taken_too,
            stored_and_empty_blocks,
            bit_of_compression_where_it_must_not_be,
            what_is_not_deflate,
            what_is_not_utf8_inside,
            counted_after_inflating,
            whole_client,
        ]
    ),
]
