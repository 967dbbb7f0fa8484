// Package child waits for processes that this one has started.
package child

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// AwaitExit returns when a child process has ended, and does not reap it: its number, which is also that of its group and
// session, stays its own until somebody waits for it, so that what it left behind can be killed by that number.
func AwaitExit(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			if err != nil {
				err = fmt.Errorf("wait for process %d: %w", pid, err)
			}
			return err
		}
	}
}
