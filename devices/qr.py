"""The URL of this server as a QR code, for the phone that is being enrolled."""

import segno


def qr_code(address: str) -> str:
    """A data: URI of an SVG. It is dark on white in both colour schemes, because scanners need that."""
    uri: str = segno.make(address, error="m").svg_data_uri(scale=4, dark="#000", light="#fff")
    return uri
