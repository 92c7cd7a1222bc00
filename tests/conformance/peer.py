"""One connection to a PoP through the `websockets` package: its handshake, its frames, its deflate.

What the package would never send goes out as bytes; what comes back is read, and held to the RFC, by the package.
"""

import socket
import time

from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Close, Frame, Opcode
from websockets.uri import parse_uri

SOON_S = 20.0


class Gone(Exception):
    """The connection ended without a close frame."""


class Peer:
    def __init__(self, address, subprotocol="chorus.v1.json", deflate=None, stays=False):
        host, port = address.rsplit(":", 1)
        self.tcp = socket.create_connection((host, int(port)), timeout=SOON_S)
        self.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        extensions = None if deflate is None else [ClientPerMessageDeflateFactory(**deflate)]
        self.protocol = ClientProtocol(
            parse_uri(f"ws://{address}/v1/ws"), subprotocols=[subprotocol], extensions=extensions, max_size=None
        )
        self.protocol.send_request(self.protocol.connect())
        self.flush()
        self.frames = []
        while not self.protocol.handshake_exc and self.protocol.state.name == "CONNECTING":
            self.read()
        if self.protocol.handshake_exc:
            raise self.protocol.handshake_exc
        assert self.protocol.subprotocol == subprotocol, self.protocol.subprotocol
        if stays:
            # Without a join the connection is closed after some seconds, which may be few on a busy machine.
            self.send(Opcode.TEXT, b'{"type":"join_stream","payload":{"stream_id":"none-of-these"}}')
            assert b"stream_not_found" in self.message()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tcp.close()

    @property
    def deflates(self):
        return bool(self.protocol.extensions)

    def flush(self):
        for data in self.protocol.data_to_send():
            if data:
                self.tcp.sendall(data)

    def read(self):
        try:
            data = self.tcp.recv(65536)
        except ConnectionError:
            data = b""
        if data:
            self.protocol.receive_data(data)
        elif self.protocol.state.name == "CONNECTING":
            raise Gone("in the handshake")
        else:
            raise Gone("no close frame")
        # What it would answer by itself is not sent: each case says what goes out.
        if self.protocol.state.name != "CONNECTING":
            self.protocol.data_to_send()
        events = self.protocol.events_received()
        if self.protocol.parser_exc:
            raise AssertionError(f"the server broke the protocol: {self.protocol.parser_exc!r}")
        self.frames.extend(event for event in events if isinstance(event, Frame))

    def next(self):
        """The next frame; the server's own pings are answered and passed over."""
        deadline = time.monotonic() + SOON_S
        while True:
            while not self.frames:
                assert time.monotonic() < deadline, "nothing came"
                self.read()
            frame = self.frames.pop(0)
            if frame.opcode is not Opcode.PING:
                return frame
            self.send(Opcode.PONG, frame.data)

    def message(self):
        """The next message, put together of its frames; control frames are not expected."""
        frame = self.next()
        assert frame.opcode in (Opcode.TEXT, Opcode.BINARY), frame
        data = bytes(frame.data)
        while not frame.fin:
            frame = self.next()
            assert frame.opcode is Opcode.CONT, frame
            data += bytes(frame.data)
        return data

    def closed(self):
        """The code of the close frame that comes next, and that the connection ends after it."""
        frame = self.next()
        assert frame.opcode is Opcode.CLOSE, frame
        code = Close.parse(frame.data).code
        self.tcp.settimeout(SOON_S)
        try:
            while self.tcp.recv(4096):
                pass
        except ConnectionError:
            pass
        return code

    def send(self, opcode, data, fin=True):
        """A frame as the package writes it, through the extension that was agreed on."""
        extensions = self.protocol.extensions if opcode < 8 else []
        self.tcp.sendall(Frame(Opcode(opcode), data, fin).serialize(mask=True, extensions=extensions))

    def raw(self, first, data, length=None, mask=True):
        """A frame by hand: any first byte, any length."""
        bit = 0x80 if mask else 0
        if length is None:
            size = len(data)
            if size < 126:
                length = bytes([bit | size])
            elif size < 1 << 16:
                length = bytes([bit | 126]) + size.to_bytes(2, "big")
            else:
                length = bytes([bit | 127]) + size.to_bytes(8, "big")
        key = b"\x37\xfa\x21\x3d" if mask else b""
        body = bytes(byte ^ key[i % 4] for i, byte in enumerate(data)) if mask else data
        return bytes([first]) + length + key + body

    def bytes(self, data):
        self.tcp.sendall(data)
