"""Answers the calls of seccomp's SCMP_ACT_NOTIFY: argv is a socket to listen on, and a log.

Each connection's JSON becomes a line of the log. mkdir fails with ENOSPC, and every other call goes
on (seccomp_unotify(2)).
"""

import errno
import fcntl
import select
import socket
import struct
import sys
import threading

RECEIVE, SEND = 0xC0502100, 0xC0182101
MKDIR, MKDIRAT = 83, 258
GO_ON = 1


def answer(listener):
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        if poll.poll()[0][1] & select.POLLHUP:
            return
        request = bytearray(80)
        try:
            fcntl.ioctl(listener, RECEIVE, request)
            number, call = struct.unpack_from("=Q8xi", request)
            refuse = call in (MKDIR, MKDIRAT)
            error, flags = (-errno.ENOSPC, 0) if refuse else (0, GO_ON)
            fcntl.ioctl(listener, SEND, struct.pack("=QqiI", number, 0, error, flags))
        except OSError as error:
            # The caller was killed meanwhile.
            if error.errno not in (errno.ENOENT, errno.EINTR):
                raise


server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
while True:
    connection, _ = server.accept()
    text, fds, _, _ = socket.recv_fds(connection, 65536, 1)
    while more := connection.recv(65536):
        text += more
    with open(sys.argv[2], "ab") as log:
        log.write(text + b"\n")
    if fds:
        threading.Thread(target=answer, args=fds, daemon=True).start()
