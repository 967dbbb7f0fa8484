package cache

import (
	"errors"
	"os"
	"syscall"
)

// errLocked means that another holder has the lock.
var errLocked = errors.New("is locked")

// lockExclusive locks a file, which is made if its folder exists, until the
// returned file is closed or the process ends. Without wait a lock that
// somebody else holds is errLocked.
func lockExclusive(path string, wait bool) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	for {
		err = syscall.Flock(int(file.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errLocked
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
