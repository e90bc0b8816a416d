"""The `aws` that the tests put on PATH: hands its call to aws_cli_server.py and exits as it says.

aws_cli.py copies this file under the name `aws`, with a first line that starts Python without
site-packages. The server listens beside it, at `aws.socket`. Built-in modules only: importing
`socket` or `struct` would double the 15 ms that this takes to start.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import posix
import sys

SERVER_GONE = 70


def main() -> int:
    """The exit code of the call."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # ends as if nothing stood between
    encoding = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    arguments = [argument.encode(*encoding) for argument in sys.argv[1:]]
    environment = [name + b"=" + value for name, value in posix.environ.items()]
    fields = [
        *(b"call", b"%d" % posix.getpgrp(), posix.getcwdb(), b"%d" % len(arguments)),
        *(*arguments, *environment),
    ]
    body = b"\0".join(fields)
    message = len(body).to_bytes(4, "big") + body
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.connect(sys.argv[0] + ".socket")
    files = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    sent = connection.sendmsg([message], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
    if sent < len(message):  # else the answer may be here and the other end closed
        connection.sendall(message[sent:])
    code = connection.recv(1)
    return code[0] if code else SERVER_GONE


if __name__ == "__main__":
    posix._exit(main())
