package server

import (
	"errors"
	"net"
	"syscall"
)

// clientLeft tells whether the other side has closed the connection. It takes nothing of what the client may have sent.
func clientLeft(conn net.Conn) bool {
	source, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := source.SyscallConn()
	if err != nil {
		return true
	}
	left := false
	err = raw.Control(func(fd uintptr) {
		var next [1]byte
		n, _, err := syscall.Recvfrom(int(fd), next[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		nothingYet := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR)
		left = n <= 0 && !nothingYet
	})
	return left || err != nil
}
