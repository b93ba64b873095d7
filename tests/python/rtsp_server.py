# SPDX-License-Identifier: Apache-2.0
"""GStreamer's RTSP server, run by the system's Python: rtsp_server.py PORT COUNT USER PASSWORD [LAUNCH].

It has live pictures at /0 to /COUNT-1 and prints a line when it listens. USER may be empty; LAUNCH is what GStreamer
runs for each instead of a drawn ball.
"""

from __future__ import annotations

import sys

import gi  # pyright: ignore[reportMissingImports]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst  # noqa: E402  # pyright: ignore[reportMissingImports]
from gi.repository import GstRtspServer as Rtsp  # noqa: E402  # pyright: ignore[reportMissingImports]

BALL = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=120,framerate=25/1 ! "
    "x264enc tune=zerolatency threads=1 speed-preset=ultrafast key-int-max=10 ! "
    "rtph264pay name=pay0 pt=96 config-interval=-1 )"
)


def main() -> None:
    port, count, user, password = sys.argv[1:5]
    launch = sys.argv[5] if len(sys.argv) > 5 else BALL
    Gst.init(None)
    server = Rtsp.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    if user:
        token = Rtsp.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth = Rtsp.RTSPAuth()
        auth.add_basic(Rtsp.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
    for number in range(int(count)):
        factory = Rtsp.RTSPMediaFactory()
        factory.set_launch(launch)
        factory.set_shared(True)
        if user:
            permissions = Rtsp.RTSPPermissions()
            permissions.add_role("user")
            permissions.add_permission_for_role("user", "media.factory.access", True)
            permissions.add_permission_for_role("user", "media.factory.construct", True)
            factory.set_permissions(permissions)
        server.get_mount_points().add_factory(f"/{number}", factory)
    server.attach(None)
    print("listening", flush=True)
    GLib.MainLoop().run()


main()
