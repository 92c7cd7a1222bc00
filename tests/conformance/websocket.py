"""The WebSocket of a PoP against another implementation, case by case as the Autobahn suite has them.

    PYTHONPATH=.venv/websockets python3 tests/conformance/websocket.py 127.0.0.1:8080 [WORD]

Needs a running Chorus and the package `websockets`. A word picks the cases whose name holds it. Ends with 1 when a case
fails, and names each that does.
"""

import json
import struct
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import deflate
from peer import Peer

TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
MESSAGE_BYTES_MAX = 8192
MSGPACK = "chorus.v1.msgpack"
CASES = []


def case(function):
    CASES.append((function.__name__, function))
    return function


def each(values):
    """One case for each value."""

    def add(function):
        for value in values:
            name = f"{function.__name__}[{value!r:.40}]"
            CASES.append((name, lambda address, value=value: function(address, value)))
        return function

    return add


def ping(text="x"):
    """A message whose answer carries the same text."""
    return json.dumps({"type": "ping", "payload": text}, ensure_ascii=False, separators=(",", ":")).encode()


def sized(size):
    return ping("x" * (size - len(ping(""))))


def ponged(peer, text="x"):
    answer = json.loads(peer.message())
    assert answer == {"type": "pong", "payload": text}, str(answer)[:200]


def alive(peer):
    peer.send(TEXT, ping("alive"))
    ponged(peer, "alive")


# --- 1: framing ------------------------------------------------------------------------------------------------------


@each([40, 125, 126, 127, 128, 1000, 4096, MESSAGE_BYTES_MAX])
def text_of_size(address, size):
    with Peer(address) as peer:
        message = sized(size)
        assert len(message) == size
        peer.send(TEXT, message)
        ponged(peer, json.loads(message)["payload"])


@each([0, 1, 125, 126, 127, 4000])
def binary_of_size(address, size):
    body = bytes(size)
    packed = b"\x82\xa4type\xa4ping\xa7payload\xc5" + struct.pack(">H", size) + body
    with Peer(address, MSGPACK) as peer:
        peer.send(BINARY, packed)
        assert peer.message() == packed.replace(b"ping", b"pong", 1)


@case
def message_byte_by_byte(address):
    with Peer(address) as peer:
        for byte in peer.raw(0x81, ping()):
            peer.bytes(bytes([byte]))
        ponged(peer)


@case
def many_messages_at_once(address):
    with Peer(address) as peer:
        peer.bytes(b"".join(peer.raw(0x81, ping(str(i))) for i in range(50)))
        for i in range(50):
            ponged(peer, str(i))


@case
def empty_text_is_no_message_and_no_end(address):
    with Peer(address) as peer:
        peer.send(TEXT, b"")
        assert json.loads(peer.message())["type"] == "error"
        alive(peer)


@case
def unmasked_frame(address):
    with Peer(address) as peer:
        peer.bytes(peer.raw(0x81, ping(), mask=False))
        assert peer.closed() == 1002


@case
def binary_on_a_text_connection(address):
    with Peer(address) as peer:
        peer.send(BINARY, ping())
        assert peer.closed() == 1003


@case
def text_on_a_binary_connection(address):
    with Peer(address, MSGPACK) as peer:
        peer.send(TEXT, ping())
        assert peer.closed() == 1003


# --- 2: pings and pongs ----------------------------------------------------------------------------------------------


@each([b"", b"hello", bytes([0, 255, 254, 253]), b"\xfe" * 125])
def ping_is_answered(address, data):
    with Peer(address) as peer:
        peer.send(PING, data)
        frame = peer.next()
        assert (frame.opcode, bytes(frame.data)) == (PONG, data)
        alive(peer)


@case
def ping_too_long(address):
    with Peer(address) as peer:
        peer.bytes(peer.raw(0x89, b"\xfe" * 126))
        assert peer.closed() == 1002


@case
def ping_byte_by_byte(address):
    with Peer(address) as peer:
        for byte in peer.raw(0x89, b"slowly"):
            peer.bytes(bytes([byte]))
        assert bytes(peer.next().data) == b"slowly"


@each([b"", b"unasked"])
def unasked_pong_is_passed_over(address, data):
    with Peer(address) as peer:
        peer.send(PONG, data)
        alive(peer)


@case
def of_many_pings_the_last_is_answered_and_none_out_of_order(address):
    with Peer(address) as peer:
        peer.bytes(b"".join(peer.raw(0x89, str(i).encode()) for i in range(10)))
        # A pong may stand for all pings before it (RFC 6455, 5.5.3).
        pongs = []
        while pongs[-1:] != [9]:
            frame = peer.next()
            assert frame.opcode == PONG, frame
            pongs.append(int(frame.data))
        assert pongs == sorted(pongs), pongs


# --- 3: reserved bits ------------------------------------------------------------------------------------------------


@each([rsv for rsv in range(1, 8)])
def reserved_bits(address, rsv):
    for opcode in (TEXT, PING, CLOSE):
        with Peer(address) as peer:
            peer.bytes(peer.raw(0x80 | rsv << 4 | opcode, b""))
            assert peer.closed() == 1002, opcode


@case
def reserved_bits_after_good_messages(address):
    with Peer(address) as peer:
        good, bad = peer.raw(0x81, ping()), peer.raw(0xA1, ping())
        peer.send(TEXT, ping())
        ponged(peer)
        peer.bytes(bad + good + peer.raw(0x89, b"never"))
        assert peer.closed() == 1002


# --- 4: opcodes ------------------------------------------------------------------------------------------------------


@each([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def reserved_opcode(address, opcode):
    with Peer(address) as peer:
        peer.bytes(peer.raw(0x80 | opcode, b"x"))
        assert peer.closed() == 1002


# --- 5: fragments ----------------------------------------------------------------------------------------------------


@each([PING, PONG, CLOSE])
def fragmented_control(address, opcode):
    with Peer(address) as peer:
        peer.bytes(peer.raw(opcode, b""))
        assert peer.closed() == 1002


@each([1, 2, 7, 1000])
def text_in_fragments(address, size):
    message = ping("x€🙂" * 100)
    with Peer(address, stays=True) as peer:
        parts = [message[at : at + size] for at in range(0, len(message), size)]
        for i, part in enumerate(parts):
            peer.send(TEXT if i == 0 else CONT, part, fin=i == len(parts) - 1)
        ponged(peer, "x€🙂" * 100)


@case
def empty_fragments(address):
    with Peer(address) as peer:
        for opcode, part, fin in [(TEXT, b"", False), (CONT, b"", False), (CONT, ping(), False), (CONT, b"", True)]:
            peer.send(opcode, part, fin=fin)
        ponged(peer)


@case
def control_between_fragments(address):
    message = ping()
    with Peer(address) as peer:
        peer.send(TEXT, message[:9], fin=False)
        peer.send(PING, b"between")
        frame = peer.next()
        assert (frame.opcode, bytes(frame.data)) == (PONG, b"between")
        peer.send(PONG, b"")
        peer.send(CONT, message[9:])
        ponged(peer)


@case
def close_between_fragments(address):
    with Peer(address) as peer:
        peer.send(TEXT, b"{", fin=False)
        peer.send(CLOSE, struct.pack(">H", 1000))
        assert peer.closed() == 1000


@each([True, False])
def continuation_of_nothing(address, fin):
    with Peer(address) as peer:
        peer.send(CONT, b"x", fin=fin)
        assert peer.closed() == 1002


@case
def continuation_after_a_whole_message(address):
    with Peer(address) as peer:
        peer.send(TEXT, ping())
        ponged(peer)
        peer.send(CONT, b"x")
        assert peer.closed() == 1002


@each([TEXT, BINARY])
def message_within_a_message(address, opcode):
    with Peer(address) as peer:
        peer.send(TEXT, b"{", fin=False)
        peer.send(opcode, b"}")
        assert peer.closed() in (1002, 1003)


# --- 6: UTF-8 --------------------------------------------------------------------------------------------------------

WRONG = [
    b"\x80", b"\xbf", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf",
    b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80", b"\xfe", b"\xff", b"\xc3\x28", b"\xe2\x82\x28", b"\xf0\x9f\x98\x28", b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80",
]
CUT = [b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98"]


@each(["κόσμε", "\u007f\u0080\u07ff\u0800\ud7ff\ue000\ufffd\uffff", "\U00010000\U0010ffff", "\ufdd0\ufffe", "🙂"])
def utf8(address, text):
    with Peer(address, stays=True) as peer:
        message = ping(text)
        # Cut anywhere, within characters too.
        cuts = range(1, len(message))
        for at in cuts:
            peer.send(TEXT, message[:at], fin=False)
            peer.send(CONT, message[at:])
        for _ in cuts:
            ponged(peer, text)


@each(WRONG + CUT)
def not_utf8(address, wrong):
    with Peer(address) as peer:
        peer.send(TEXT, b'"' + wrong + b'"')
        assert peer.closed() == 1007


@each(CUT)
def utf8_that_ends_too_early(address, cut):
    with Peer(address) as peer:
        peer.send(TEXT, b'"' + cut)
        assert peer.closed() == 1007


@each(WRONG)
def not_utf8_fails_before_the_message_ends(address, wrong):
    with Peer(address) as peer:
        peer.send(TEXT, b'"', fin=False)
        peer.send(CONT, wrong + b"x", fin=False)
        assert peer.closed() == 1007


# --- 7: the end ------------------------------------------------------------------------------------------------------

GOOD_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
BAD_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@each(GOOD_CODES)
def close_code_comes_back(address, code):
    with Peer(address) as peer:
        peer.send(CLOSE, struct.pack(">H", code))
        assert peer.closed() == code


@each(BAD_CODES)
def close_code_that_is_none(address, code):
    with Peer(address) as peer:
        peer.bytes(peer.raw(0x88, struct.pack(">H", code)))
        assert peer.closed() == 1002


@case
def close_without_a_code(address):
    with Peer(address) as peer:
        peer.send(CLOSE, b"")
        # 1005 stands for no code at all.
        assert peer.closed() in (1000, 1005)


@case
def close_of_one_byte(address):
    with Peer(address) as peer:
        peer.bytes(peer.raw(0x88, b"\x03"))
        assert peer.closed() == 1002


@each([0, 4, 123])
def close_with_a_reason(address, size):
    with Peer(address) as peer:
        peer.send(CLOSE, struct.pack(">H", 1000) + b"x" * size)
        assert peer.closed() == 1000


@case
def close_with_a_reason_too_long(address):
    with Peer(address) as peer:
        peer.bytes(peer.raw(0x88, struct.pack(">H", 1000) + b"x" * 124))
        assert peer.closed() == 1002


@case
def close_with_a_reason_that_is_not_utf8(address):
    with Peer(address) as peer:
        peer.bytes(peer.raw(0x88, struct.pack(">H", 1000) + b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80"))
        assert peer.closed() == 1007


@each([TEXT, PING, CLOSE])
def what_follows_a_close_is_not_answered(address, opcode):
    with Peer(address) as peer:
        follows = peer.raw(0x80 | opcode, b"" if opcode == CLOSE else ping())
        peer.bytes(peer.raw(0x88, struct.pack(">H", 1000)) + follows)
        assert peer.closed() == 1000


# --- 9: limits -------------------------------------------------------------------------------------------------------


@case
def message_of_a_byte_too_many(address):
    with Peer(address) as peer:
        peer.send(TEXT, sized(MESSAGE_BYTES_MAX + 1))
        assert peer.closed() == 1009


@each([1, 1000, MESSAGE_BYTES_MAX])
def fragments_of_a_byte_too_many(address, size):
    message = sized(MESSAGE_BYTES_MAX + 1)
    with Peer(address) as peer:
        parts = [message[at : at + size] for at in range(0, len(message), size)]
        frames = [peer.raw((TEXT if i == 0 else CONT) | (0x80 if i == len(parts) - 1 else 0), part) for i, part in enumerate(parts)]
        peer.bytes(b"".join(frames))
        assert peer.closed() == 1009


@each([1 << 16, 1 << 31, 1 << 32, (1 << 63) - 1])
def length_that_is_only_said(address, size):
    with Peer(address) as peer:
        peer.bytes(peer.raw(0x81, b"", length=b"\xff" + size.to_bytes(8, "big")))
        assert peer.closed() == 1009


@each([b"\xff" + (1 << 63).to_bytes(8, "big"), b"\xfe\x00\x05", b"\xff\x00\x00\x00\x00\x00\x00\x00\x05"])
def length_in_a_wrong_form(address, length):
    with Peer(address) as peer:
        peer.bytes(peer.raw(0x81, b"12345", length=length))
        assert peer.closed() in (1002, 1009)


def outcome(run, address):
    try:
        run(address)
    except Exception:
        return traceback.format_exc(limit=-2)
    return None


def main():
    address = sys.argv[1]
    word = sys.argv[2] if len(sys.argv) > 2 else ""
    cases = [(name, run) for name, run in CASES + deflate.CASES if word in name]
    begin = time.monotonic()
    # They wait for the server most of the time.
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda case: outcome(case[1], address), cases))
    failed = 0
    for (name, _), trouble in zip(cases, outcomes):
        if trouble:
            failed += 1
            print(f"FAILED {name}\n{trouble}")
    print(f"{len(cases) - failed} of {len(cases)} cases in {time.monotonic() - begin:.1f} s")
    sys.exit(1 if failed or not cases else 0)


if __name__ == "__main__":
    main()
