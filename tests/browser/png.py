"""Small pictures: a screenshot as a PNG of at most 256 colours, about a third of the size and the same to the eye.

The browser that took the picture counts its colours; what is written is RFC 2083's indexed form.
"""

from __future__ import annotations

import base64
import struct
import zlib

from playwright.sync_api import Page

SIGNATURE = b"\x89PNG\r\n\x1a\n"
INDEXED = 3
COLOURS = """async (url) => {
  const picture = new Image();
  picture.src = url;
  await picture.decode();
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, picture.width, picture.height).data.buffer);
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) || 0) + 1);
  const parts = (colour) => [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255];
  const near = (a, b) => (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2;
  // The most frequent colours, none too like another; the rest take the nearest of them.
  const kept = [];
  for (const [apart, room] of [[60, 240], [0, 256]]) {
    for (const [colour] of [...counts].sort((a, b) => b[1] - a[1])) {
      if (kept.length === room) break;
      const mine = parts(colour);
      if (kept.every((other) => near(mine, other) > apart)) kept.push(mine);
    }
  }
  const places = new Map();
  for (const colour of counts.keys()) {
    const mine = parts(colour);
    let best = 0;
    for (let n = 1; n < kept.length; n += 1) if (near(mine, kept[n]) < near(mine, kept[best])) best = n;
    places.set(colour, best);
  }
  let indices = "";
  for (let at = 0; at < pixels.length; at += 32768) {
    indices += String.fromCharCode(...Array.from(pixels.subarray(at, at + 32768), (pixel) => places.get(pixel)));
  }
  return [picture.width, picture.height, kept.flat(), btoa(indices)];
}"""


def compact(page: Page, picture: bytes) -> bytes:
    """Return a screenshot with at most 256 colours. `page` is any page that may load data addresses."""
    address = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    width, height, palette, told = page.evaluate(COLOURS, address)
    indices = base64.b64decode(told)
    rows = b"".join(b"\0" + indices[at : at + width] for at in range(0, len(indices), width))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, INDEXED, 0, 0, 0)),
        (b"PLTE", bytes(palette)),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
