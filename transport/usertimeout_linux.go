package transport

import sys "golang.org/x/sys/unix"

const userTimeoutSupported = true

func setUserTimeout(fd uintptr, milliseconds int) error {
	return sys.SetsockoptInt(int(fd), sys.IPPROTO_TCP, sys.TCP_USER_TIMEOUT, milliseconds)
}
